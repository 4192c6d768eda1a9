//! The newer style of events, which the scheduler writes: a time, an action and who reports, and a series once it repeats.
//! `kubectl describe` shows the reporting controller in the column From. Source: Kubernetes v1.36 `client-go/tools/events`.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use serde_json::{Value, json};

/// Who did what.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) action: &'static str,
    /// The reporting controller's instance.
    pub(super) instance: Arc<str>,
    pub(super) related: Option<ObjectReference>,
}

/// The event as it is first written.
pub(super) fn event(
    metadata: ObjectMeta,
    (component, act): (&str, Act),
    about: ObjectReference,
    (kind, reason, note): (&str, &str, String),
    at: Timestamp,
) -> Event {
    Event {
        metadata,
        action: Some(act.action.to_owned()),
        event_time: Some(MicroTime(at)),
        note: Some(note),
        reason: Some(reason.to_owned()),
        regarding: Some(about),
        related: act.related,
        reporting_controller: Some(component.to_owned()),
        reporting_instance: Some(act.instance.to_string()),
        type_: Some(kind.to_owned()),
        ..Event::default()
    }
}

/// What changes in it when it happens again.
pub(super) fn again(count: i32, at: Timestamp) -> Value {
    json!({"series": {"count": count, "lastObservedTime": MicroTime(at)}})
}
