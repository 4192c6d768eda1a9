//! Any configuration on any pod: the first line of the input is the object, the rest is what is applied to it.
#![no_main]

use std::sync::LazyLock;

use controlplane::fieldmanager::{self, Claim};
use controlplane::registry::Registry;
use libfuzzer_sys::fuzz_target;

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let parse = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    let (Some(live), Some(config)) = (parse(&input[..end]), parse(&input[end + 1..])) else { return };
    let Some(pods) = REGISTRY.resolve("", "v1", "pods") else { return };
    for subresource in ["", "status"] {
        let claim = Claim {
            shape: pods.shape(),
            manager: "kubectl",
            api_version: "v1",
            subresource,
            ignored: &pods.unreached(subresource, &config),
            now: "2026-01-02T03:04:05Z",
        };
        fieldmanager::problems(claim.shape, &config);
        let _ = fieldmanager::apply(&claim, &live, &config, false).map_err(|error| error.status());
        // What was forced once stays as it is when it is applied again.
        if let Ok(once) = fieldmanager::apply(&claim, &live, &config, true) {
            let _ = fieldmanager::apply(&claim, &once, &config, false);
        }
        let mut new = config.clone();
        fieldmanager::update(&claim, Some(&live), &mut new);
    }
});
