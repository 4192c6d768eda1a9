//! Any patch on any pod: the first line of the input is the object, the rest is the patch.
#![no_main]

use std::sync::LazyLock;

use controlplane::patch::{self, PatchType};
use controlplane::registry::Registry;
use libfuzzer_sys::fuzz_target;

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(object) = serde_json::from_slice::<serde_json::Value>(&input[..end]) else { return };
    if !object.is_object() {
        return;
    }
    let Some(pods) = REGISTRY.resolve("", "v1", "pods") else { return };
    for kind in [PatchType::Json, PatchType::Merge, PatchType::Strategic] {
        let Ok(mut patched) = patch::apply(kind, &pods, &object, &input[end + 1..]) else { continue };
        assert!(patched.is_object());
        // Whatever a patch makes goes on to the rules.
        if pods.decode(&mut patched).is_ok() {
            pods.prepare_update(&object, &mut patched);
            pods.validate_update(&object, &patched);
        }
    }
});
