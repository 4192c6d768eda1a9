//! Any bytes as a protobuf body; what can be read goes on to the decoder of its kind.
#![no_main]

use std::sync::LazyLock;

use controlplane::registry::Registry;
use libfuzzer_sys::fuzz_target;

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

fuzz_target!(|input: &[u8]| {
    let Some(pods) = REGISTRY.resolve("", "v1", "pods") else { return };
    if let Ok(mut object) = pods.decode_protobuf(input)
        && pods.decode(&mut object).is_ok()
    {
        pods.prepare_create(&mut object);
        pods.default(&mut object);
        pods.validate_create(&object);
    }
});
