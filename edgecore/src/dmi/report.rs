//! What mappers report, as the twins take it: the same messages that devices send over MQTT.

use bytes::Bytes;
use dmi::v1beta1::Twin;
use serde_json::{Map, Value, json};

/// Values of properties.
///
/// # Errors
/// A twin lacks one of its two values.
pub(super) fn twins(twins: &[Twin]) -> Result<Bytes, String> {
    let mut update = Map::new();
    for twin in twins {
        let name = &twin.property_name;
        let missing = |field: &str| format!("twin {name}: {field} is missing");
        let reported = twin.reported.as_ref().ok_or_else(|| missing("reported"))?;
        let observed = twin.observed_desired.as_ref().ok_or_else(|| missing("observedDesired"))?;
        let mut entry = json!({"actual": {"value": reported.value}});
        // Empty is what mappers say about a property that nothing is wanted of.
        if !observed.value.is_empty() {
            entry["expected"] = json!({"value": observed.value});
        }
        update.insert(name.clone(), entry);
    }
    Ok(message("twin", update.into()))
}

/// Whether it is online.
pub(super) fn state(state: &str) -> Bytes {
    message("state", state.into())
}

fn message(key: &str, value: Value) -> Bytes {
    json!({"event_id": "", "timestamp": tasks::clock::unix_ms(), key: value}).to_string().into()
}
