//! Health in the API: a merge patch of the Device's status, and an event when it changes.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tracing::warn;

use super::judge::{Condition, HEALTHY, KINDS, OFFLINE, Verdict};
use crate::devicecontroller::index::DeviceId;
use crate::kubeapi::{Failure, Kind, status_of};

/// Writes what is shown of a device.
pub(super) async fn write(
    client: &Client,
    id: &DeviceId,
    verdict: &Verdict,
    reported: Option<i64>,
) -> Result<(), Failure> {
    let api = Kind::device().api(client, Some(&id.namespace));
    let found = api.get(&id.name).await.map_err(status_of)?;
    let before = found.data.pointer("/status/conditions").cloned().unwrap_or_default();
    let now = Timestamp::now().to_string();
    let conditions: Vec<Value> =
        verdict.conditions.iter().map(|condition| written(condition, &before, &now)).collect();
    let mut status = json!({"health": verdict.health, "conditions": conditions});
    if let Some(at) = reported.and_then(|at| Timestamp::from_millisecond(at).ok()) {
        status["lastReportTime"] = seconds(at).into();
    }
    let patch = Patch::Merge(json!({"status": status}));
    api.patch(&id.name, &PatchParams::default(), &patch).await.map(drop).map_err(status_of)
}

/// What an object's status says that was written here, and of when its last report is (Unix milliseconds).
pub(super) fn read(status: &Value) -> Option<(Verdict, Option<i64>)> {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let health = status["health"].as_str()?.to_owned();
    let conditions = status["conditions"].as_array().into_iter().flatten().filter_map(|condition| {
        let one_of = |field: &str, words: &[&'static str]| {
            words.iter().find(|word| condition[field] == **word).copied()
        };
        Some(Condition {
            kind: one_of("type", &KINDS)?,
            status: one_of("status", &["True", "False", "Unknown"])?,
            reason: text(condition, "reason"),
            message: text(condition, "message"),
        })
    });
    let reported: Option<Timestamp> = status["lastReportTime"].as_str().and_then(|text| text.parse().ok());
    Some((Verdict { health, conditions: conditions.collect() }, reported.map(Timestamp::as_millisecond)))
}

/// RFC 3339 with whole seconds, as Kubernetes writes times.
pub(super) fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// A condition, whose time stays while its status stays.
fn written(condition: &Condition, before: &Value, now: &str) -> Value {
    let known = before.as_array().into_iter().flatten().find(|known| known["type"] == condition.kind);
    let since = known.filter(|known| known["status"] == condition.status);
    let since = since.and_then(|known| known["lastTransitionTime"].as_str()).unwrap_or(now);
    json!({
        "type": condition.kind,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": since,
    })
}

/// Tells of a change, once for each reason: what comes again is counted. A node that goes and comes has events of its
/// own, and a thousand devices behind it need none.
pub(super) async fn event(
    client: &Client,
    id: &DeviceId,
    uid: &str,
    before: Option<&Verdict>,
    after: &Verdict,
) {
    let was = before.map(|before| before.health.as_str());
    let known_well = after.health == HEALTHY && was.is_none_or(|was| was == OFFLINE);
    if was == Some(after.health.as_str()) || after.health == OFFLINE || known_well {
        return;
    }
    let message = after.conditions.last().map(|ready| ready.message.clone()).unwrap_or_default();
    warn_of(client, id, uid, &after.health, message).await;
}

/// An event on the device. One that cannot be written is told to the log.
pub(super) async fn warn_of(client: &Client, id: &DeviceId, uid: &str, reason: &str, message: String) {
    let events: Api<Event> = Api::namespaced(client.clone(), &id.namespace);
    if let Err(failure) = tell(&events, id, uid, reason, message).await {
        warn!(device = %id, "an event cannot be written: {}", failure.message);
    }
}

/// Longest name of an object.
const LONGEST_NAME: usize = 253;

/// The name of a device's event. Names of devices may be as long as names can be.
fn event_name(device: &str, hash: u64) -> String {
    let tail = format!(".{hash:016x}");
    let head = device.get(..LONGEST_NAME - tail.len()).unwrap_or(device);
    // What is cut must still end as a label of a name ends.
    format!("{}{tail}", head.trim_end_matches(['-', '.']))
}

async fn tell(
    events: &Api<Event>,
    id: &DeviceId,
    uid: &str,
    reason: &str,
    message: String,
) -> Result<(), Failure> {
    let mut hasher = DefaultHasher::new();
    (uid, reason).hash(&mut hasher);
    let name = event_name(&id.name, hasher.finish());
    let now = Time(Timestamp::now());
    let kind = Kind::device().api;
    let event = Event {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(id.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(kind.api_version),
            kind: Some(kind.kind),
            namespace: Some(id.namespace.clone()),
            name: Some(id.name.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        },
        type_: Some(if reason == HEALTHY { "Normal" } else { "Warning" }.into()),
        reason: Some(reason.to_owned()),
        message: Some(message.clone()),
        count: Some(1),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now.clone()),
        source: Some(EventSource { component: Some("devicecontroller".into()), ..EventSource::default() }),
        ..Event::default()
    };
    match events.create(&PostParams::default(), &event).await.map_err(status_of) {
        Err(failure) if failure.is_already_exists() => {
            let known = events.get(&name).await.map_err(status_of)?;
            let patch =
                json!({"count": known.count.unwrap_or(1) + 1, "lastTimestamp": now, "message": message});
            events
                .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .map(drop)
                .map_err(status_of)
        }
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_a_name_that_the_api_takes_however_long_the_devices_name_is() {
        assert_eq!(event_name("boiler-1", 255), "boiler-1.00000000000000ff");
        let labels =
            [["a"; 63].concat(), ["b"; 63].concat(), ["c"; 63].concat(), ["d"; 43].concat()].join(".");
        for device in [["x"; 253].concat(), format!("{labels}-.{}", ["y"; 15].concat())] {
            let name = event_name(&device, u64::MAX);
            assert!(name.len() <= LONGEST_NAME && name.ends_with(".ffffffffffffffff"), "{name}");
            assert!(!name.contains("-.") && !name.contains(".."), "{name}");
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_strange_statuses_are_none() {
        let condition = |kind, status| Condition { kind, status, reason: "R".into(), message: "m".into() };
        let verdict = Verdict {
            health: "NoMapper".into(),
            conditions: vec![condition("Valid", "True"), condition("Ready", "False")],
        };
        let conditions: Vec<Value> =
            verdict.conditions.iter().map(|condition| written(condition, &Value::Null, "now")).collect();
        let status = json!({"health": verdict.health, "conditions": conditions, "lastReportTime": "2026-01-01T00:00:00Z"});
        assert_eq!(read(&status), Some((verdict, Some(1_767_225_600_000))));
        assert_eq!(read(&json!({})), None);
        let strange = json!({"health": "x", "conditions": [{"type": 5}, 7], "lastReportTime": "soon"});
        assert_eq!(read(&strange), Some((Verdict { health: "x".into(), conditions: Vec::new() }, None)));
    }
}
