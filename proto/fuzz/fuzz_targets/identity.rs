//! Keys, certificates, requests and tokens from strangers.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use proto::pki::{Authority, EcKey, JoinToken, peer_node, validity};

fuzz_target!(|bytes: &[u8]| {
    static CA: OnceLock<Authority> = OnceLock::new();
    let ca = CA
        .get_or_init(|| Authority::generate("2026-01-01T00:00:00Z".parse().expect("a time")).expect("a CA"));
    let now = "2026-01-02T00:00:00Z".parse().expect("a time");
    let node = "edge1".parse().expect("a name");
    let _ = EcKey::read(bytes, "fuzz");
    let _ = peer_node(bytes);
    let _ = validity(bytes);
    let _ = ca.issue_edge(&node, bytes, Duration::from_secs(60), now);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = text.parse::<JoinToken>();
        assert!(ca.verify_bearer(text, &node, now).is_err());
    }
});
