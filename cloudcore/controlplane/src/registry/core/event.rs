//! Events: one object, served in two shapes. Stored in the core shape.

use k8s_openapi::api::core::v1::Event as CoreEvent;
use k8s_openapi::api::events::v1::Event;
use serde_json::Value;

use super::super::descriptor::{Dependents, Descriptor};
use crate::schema::{Errors, Json, Path};
use crate::table;

pub(super) const CORE_EVENT: Descriptor = Descriptor {
    short_names: &["ev"],
    create_on_update: true,
    dependents: Dependents::None,
    default: default_core,
    validate: validate_core,
    printer: table::EVENT,
    ..Descriptor::of::<CoreEvent>()
};

pub(super) const EVENT: Descriptor = Descriptor {
    short_names: &["ev"],
    create_on_update: true,
    dependents: Dependents::None,
    stored_as: Some(("", "events")),
    to_stored,
    from_stored,
    validate,
    printer: table::EVENT,
    ..Descriptor::of::<Event>()
};

/// Name in events.k8s.io, name in core.
const NAMES: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn rename(event: &mut Value, names: impl Iterator<Item = (&'static str, &'static str)>) {
    let Some(map) = event.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = map.shift_remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

fn to_stored(event: &mut Value) {
    rename(event, NAMES.iter().copied());
    // Required in the core shape.
    event.default_to("involvedObject", serde_json::Map::new());
    if let Some(map) = event.as_object_mut() {
        map.insert("apiVersion".to_owned(), "v1".into());
    }
}

fn from_stored(event: &mut Value) {
    rename(event, NAMES.iter().map(|(new, old)| (*old, *new)));
}

fn default_core(event: &mut Value) {
    event.default_to("involvedObject", serde_json::Map::new());
    event.default_to("source", serde_json::Map::new());
    for field in ["reportingComponent", "reportingInstance"] {
        event.default_to(field, "");
    }
}

fn same_namespace(event: &Value, field: &str, errors: &mut Errors) {
    let namespace = event.text("/metadata/namespace");
    let about = event.get(field).map(|object| object.text("/namespace")).unwrap_or_default();
    // Events about cluster-scoped objects live in `default`.
    let wanted = if about.is_empty() { "default" } else { about };
    if namespace != wanted && !(about.is_empty() && namespace == "kube-system") {
        let root = Path::Root;
        let path = root.field(field);
        errors.invalid(&path.field("namespace"), about, "does not match event.namespace");
    }
}

fn validate_core(event: &Value, errors: &mut Errors) {
    same_namespace(event, "involvedObject", errors);
}

fn validate(event: &Value, errors: &mut Errors) {
    let root = Path::Root;
    same_namespace(event, "regarding", errors);
    for field in ["eventTime", "reportingController", "reportingInstance", "action", "reason"] {
        if event.get(field).and_then(Value::as_str).unwrap_or_default().is_empty() {
            errors.required(&root.field(field), "");
        }
    }
    if !matches!(event.text("/type"), "Normal" | "Warning") {
        errors.invalid(&root.field("type"), event.text("/type"), "has invalid value: ");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_the_same_in_both_shapes() {
        let new = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "note": "hello",
            "regarding": {"kind": "Pod"}, "reportingController": "c", "deprecatedCount": 3});
        let mut stored = new.clone();
        to_stored(&mut stored);
        assert_eq!(stored["message"], "hello");
        assert_eq!(stored["involvedObject"], json!({"kind": "Pod"}));
        assert_eq!(stored["count"], 3);
        from_stored(&mut stored);
        assert_eq!(stored["note"], "hello");
        assert_eq!(stored["regarding"], json!({"kind": "Pod"}));
        assert!(stored.get("message").is_none());
    }
}
