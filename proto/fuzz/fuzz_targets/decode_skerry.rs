//! Any bytes are a message or an error, and a message survives another round.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::session::{Codec, Dialect, Limits};
use tokio_tungstenite::tungstenite::Message as Frame;

fuzz_target!(|bytes: &[u8]| {
    let codec = Codec::new(Dialect::SkerryV1, Limits::default());
    let Ok(items) = codec.decode(Frame::binary(bytes.to_vec())) else { return };
    let frames = codec.encode(&items).expect("what was read can be written");
    let back: Vec<_> =
        frames.into_iter().flat_map(|f| codec.decode(f).expect("what was written can be read")).collect();
    assert_eq!(back, items);
});
