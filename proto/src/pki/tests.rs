use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn now() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

fn authority() -> Authority {
    Authority::generate(now()).unwrap()
}

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

#[test]
fn the_ca_has_kubeedges_shape() {
    let authority = authority();
    let (_, ca) = X509Certificate::from_der(authority.certificate()).unwrap();
    assert_eq!(ca.subject().to_string(), "CN=KubeEdge");
    assert_eq!(ca.raw_serial_as_string(), "04:00");
    assert!(ca.is_ca());
    let usage = ca.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.digital_signature() && usage.key_encipherment());
    let days = (ca.validity().not_after.timestamp() - now().as_second()) / 86_400;
    assert_eq!(days, 36_400);
}

#[test]
fn keys_survive_every_form_that_kubeedge_or_openssl_write() {
    let key = EcKey::generate().unwrap();
    for form in
        [key.sec1_der(), key.sec1_pem().into_bytes(), key.pair().unwrap().serialize_pem().into_bytes()]
    {
        assert_eq!(EcKey::read(&form, "key").unwrap().sec1_der(), key.sec1_der());
    }
    assert!(key.sec1_pem().starts_with("-----BEGIN EC PRIVATE KEY-----\n"));
    let mut swapped = key.sec1_der();
    let other = EcKey::generate().unwrap().sec1_der();
    swapped[7..39].copy_from_slice(&other[7..39]);
    for bad in [&b""[..], b"x", b"\x30", &key.sec1_der()[..60], &swapped] {
        assert!(matches!(EcKey::read(bad, "the key"), Err(PkiError::Key { .. })));
    }
}

#[test]
fn an_edge_gets_a_certificate_of_its_own_name_and_client_use_only() {
    let authority = authority();
    let edge1 = node("edge1");
    let request = NodeRequest::new(&edge1).unwrap();
    let der = authority.issue_edge(&edge1, &request.csr, 365 * DAY, now()).unwrap();
    let (_, leaf) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(leaf.subject().to_string(), "O=system:nodes, CN=system:node:edge1");
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    assert!(leaf.subject_alternative_name().unwrap().is_none());
    assert!(authority.signed(&der) && !super::tests::authority().signed(&der));
    assert_eq!(peer_node(&der).unwrap(), edge1);
    let life = validity(&der).unwrap();
    assert_eq!(life.not_before.as_second(), now().as_second() - 300);
    assert!(life.renewal(0.0) < life.renewal(1.0) && life.renewal(1.0) < life.not_after);
    assert!(!life.expired(now()) && life.expired("2030-01-01T00:00:00Z".parse().unwrap()));
    assert!(request.clone().accept(&der, &node("edge2")).is_err());
    assert!(NodeRequest::new(&edge1).unwrap().accept(&der, &edge1).is_err());
    request.accept(&der, &edge1).unwrap();
}

#[test]
fn a_request_for_anothers_name_use_or_addresses_is_refused() {
    let authority = authority();
    let refuse = |params: CertificateParams| {
        let csr = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
        authority.issue_edge(&node("edge1"), csr.der(), DAY, now()).unwrap_err().to_string()
    };
    let ours = || {
        let mut params = CertificateParams::default();
        params.distinguished_name = super::authority::subject("system:node:edge1", Some(NODES_GROUP));
        params
    };
    let mut other = ours();
    other.distinguished_name = super::authority::subject("system:node:edge2", Some(NODES_GROUP));
    assert!(refuse(other).contains("\"system:node:edge2\", but the sender is system:node:edge1"));
    let mut masters = ours();
    masters.distinguished_name = super::authority::subject("system:node:edge1", Some("system:masters"));
    assert!(refuse(masters).contains("\"system:masters\""));
    let mut server = ours();
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert!(refuse(server).contains("more than client use"));
    let mut named = ours();
    named.subject_alt_names.push(rcgen::SanType::IpAddress([10, 0, 0, 1].into()));
    assert!(refuse(named).contains("alternative names"));
    let mut ca = ours();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    assert!(refuse(ca).contains("authority"));
    for garbage in [&b""[..], b"\x30\x03abc", &[0x30; 3000]] {
        assert!(matches!(
            authority.issue_edge(&node("edge1"), garbage, DAY, now()),
            Err(PkiError::Request(_))
        ));
    }
}

#[test]
fn a_server_certificate_is_kept_until_an_address_is_added() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join("pki").join(name);
    let authority = Authority::load_or_create(&at("ca.crt"), &at("ca.key"), now()).unwrap();
    let again = Authority::load_or_create(&at("ca.crt"), &at("ca.key"), now()).unwrap();
    assert_eq!(authority.fingerprint(), again.fingerprint());
    let mode = |name: &str| std::fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca.key"), mode("ca.crt"), mode("")), (0o600, 0o644, 0o700));
    let mut names =
        ServerNames { dns: BTreeSet::from([String::new()]), ips: BTreeSet::from([[127, 0, 0, 1].into()]) };
    let load =
        |names: &ServerNames| again.load_or_issue_server(&at("s.crt"), &at("s.key"), names, now()).unwrap();
    let first = load(&names);
    assert_eq!(load(&names).certificate, first.certificate);
    names.dns.insert("cloud.example.org".into());
    let second = load(&names);
    assert_ne!(second.certificate, first.certificate);
    names.ips.clear();
    assert_eq!(load(&names).certificate, second.certificate);
    std::fs::remove_file(at("s.key")).unwrap();
    let error = Identity::load(&at("s.crt"), &at("s.key")).unwrap_err().to_string();
    assert!(error.contains("s.crt exists but") && error.contains("restore the missing file"), "{error}");
}

#[test]
fn a_token_lets_in_whom_it_should() {
    let authority = authority();
    let token = authority.mint_token(DAY, None, now());
    let text = token.to_string();
    assert_eq!(text.split('.').count(), 4);
    assert!(text.split('.').nth(1) == Some("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"));
    let read: JoinToken = format!("  {text}\n").parse().unwrap();
    assert_eq!(read, token);
    read.check_ca(authority.certificate()).unwrap();
    assert!(matches!(
        read.check_ca(super::tests::authority().certificate()),
        Err(TokenError::OtherCa { .. })
    ));
    assert_eq!(authority.verify_bearer(read.bearer(), &node("any"), now()).unwrap(), read.claims().unwrap());
    let later = now() + 2 * jiff::SignedDuration::from_hours(24);
    assert!(matches!(
        authority.verify_bearer(read.bearer(), &node("any"), later),
        Err(TokenError::Expired(_))
    ));
    let other = super::tests::authority();
    assert_eq!(other.verify_bearer(read.bearer(), &node("any"), now()), Err(TokenError::WrongSignature));
    let bound = authority.mint_token(DAY, Some(&node("edge1")), now());
    authority.verify_bearer(bound.bearer(), &node("edge1"), now()).unwrap();
    assert!(matches!(
        authority.verify_bearer(bound.bearer(), &node("edge2"), now()),
        Err(TokenError::OtherNode { .. })
    ));
    assert!(!format!("{token:?}").contains(token.bearer()));
}

#[test]
fn text_that_is_no_token_is_told_apart() {
    let good = authority().mint_token(DAY, None, now()).to_string();
    let parts: Vec<&str> = good.split('.').collect();
    for bad in [
        String::new(),
        "abc".into(),
        good[1..].to_owned(),
        parts[..3].join("."),
        format!("{good}.x"),
        [parts[0], "e30", parts[2], parts[3]].join("."),
        [parts[0], parts[1], "e30", parts[3]].join("."),
        "x".repeat(20_000),
    ] {
        assert!(matches!(bad.parse::<JoinToken>(), Err(TokenError::Malformed(_))), "{bad}");
    }
    // {"alg":"none"}
    let none = [parts[0], "eyJhbGciOiJub25lIn0", parts[2], ""].join(".");
    assert!(none.parse::<JoinToken>().is_err());
}

#[test]
fn only_a_nodes_certificate_proves_a_node() {
    let authority = authority();
    for (user, group) in [
        ("system:node:edge1", "system:masters"),
        ("edge1", NODES_GROUP),
        ("system:node:", NODES_GROUP),
        ("system:node:A_b", NODES_GROUP),
        ("kubeedge.io", "KubeEdge"),
    ] {
        let identity = authority.issue_client(user, group, DAY, now()).unwrap();
        assert!(matches!(peer_node(&identity.certificate), Err(PkiError::NotANode(_))), "{user} {group}");
    }
    assert!(peer_node(b"junk").is_err());
}

#[test]
fn a_renewal_cut_short_leaves_the_old_pair_usable() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("server.crt"), directory.path().join("server.key"));
    let authority = authority();
    let [old, new] = [(); 2].map(|()| authority.issue_client("u", "g", DAY, now()).unwrap());
    old.store(&certificate, &key).unwrap();
    // As if the power went after the key was replaced and before the certificate was.
    std::fs::copy(&key, directory.path().join("server.key.previous")).unwrap();
    write_private(&key, new.key.sec1_pem().as_bytes()).unwrap();
    let found = Identity::load(&certificate, &key).unwrap().unwrap();
    assert_eq!((found.certificate, found.key.sec1_der()), (old.certificate, old.key.sec1_der()));
    new.store(&certificate, &key).unwrap();
    assert_eq!(Identity::load(&certificate, &key).unwrap().unwrap().certificate, new.certificate);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}
