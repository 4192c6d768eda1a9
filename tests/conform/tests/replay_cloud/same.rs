//! What must be the same in our cloud's words and KubeEdge's, and what may differ.

use std::collections::BTreeMap;

use proto::message::{Content, Message, Operation};
use proto::resource::{Resource, ResourceKind};
use serde_json::{Map, Value, json};

type Difference = Result<(), String>;

/// Recorded names of things to ours: uids, and versions of objects that are sent back.
#[derive(Default)]
pub(crate) struct Names {
    uids: BTreeMap<String, String>,
    versions: BTreeMap<(String, String), String>,
}

impl Names {
    /// What the recorded edge said, in our names.
    pub(crate) fn ours(&self, mut message: Message) -> Message {
        let mut text = message.content.get().to_owned();
        for (recorded, ours) in &self.uids {
            text = text.replace(recorded, ours);
        }
        let resource = message.route.resource.to_string();
        if let Ok(mut value) = serde_json::from_str::<Value>(&text) {
            let version =
                value.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned);
            if let Some(ours) = version.and_then(|v| self.versions.get(&(resource, v))) {
                value["metadata"]["resourceVersion"] = json!(ours);
                text = value.to_string();
            }
        }
        message.content = Content::from_json_text(text).unwrap();
        message
    }

    /// Remembers what two messages call the same thing.
    pub(crate) fn learn(&mut self, recorded: &Message, ours: &Message) {
        let (recorded_object, our_object) = (object(recorded), object(ours));
        let text = |object: &Value, field: &str| object["metadata"][field].as_str().map(str::to_owned);
        if let (Some(theirs), Some(ours)) = (text(&recorded_object, "uid"), text(&our_object, "uid")) {
            self.uids.insert(theirs, ours);
        }
        let versions = (text(&recorded_object, "resourceVersion"), text(&our_object, "resourceVersion"));
        if let (Some(theirs), Some(ours)) = versions {
            self.versions.insert((recorded.route.resource.to_string(), theirs), ours);
        }
    }
}

fn value(message: &Message) -> Value {
    message.content.parse().unwrap()
}

/// The object in a message, out of its envelope.
fn object(message: &Message) -> Value {
    let mut value = value(message);
    match value.get_mut("Object") {
        Some(object) => object.take(),
        None => value,
    }
}

pub(crate) fn is_failure(message: &Message) -> bool {
    value(message).get("ErrStatus").is_some()
}

pub(crate) fn failed_in_words(message: &Message) {
    assert!(message.content.as_str().is_some_and(|why| why.contains("not found")), "{message:?}");
}

pub(crate) fn answers(recorded: &Message, ours: &Message, names: &mut Names) -> Difference {
    if recorded.route != ours.route {
        return Err("another route".into());
    }
    if recorded.header.resource_version.is_some() != ours.header.resource_version.is_some() {
        return Err("a version in the header of only one".into());
    }
    let (theirs, mine) = (value(recorded), value(ours));
    if theirs.is_string() || mine.is_string() {
        return equal("the content", &theirs, &mine);
    }
    keys("the content", &theirs, &mine)?;
    for field in ["kind", "apiVersion"] {
        equal(field, &theirs[field], &mine[field])?;
    }
    if theirs.get("Err").is_some() {
        for field in ["status", "reason", "code"] {
            equal(field, &theirs["Err"]["ErrStatus"][field], &mine["Err"]["ErrStatus"][field])?;
        }
        if theirs["Object"].is_null() {
            return equal("Object", &theirs["Object"], &mine["Object"]);
        }
        keys("Object", &theirs["Object"], &mine["Object"])?;
    }
    let (theirs, mine) = (object(recorded), object(ours));
    for field in ["name", "namespace"] {
        equal(field, &theirs["metadata"][field], &mine["metadata"][field])?;
    }
    for field in ["uid", "resourceVersion"] {
        if theirs["metadata"][field].is_string()
            && !mine["metadata"][field].is_string()
            && kind(recorded) != Some(ResourceKind::ServiceAccountToken)
        {
            return Err(format!("no {field}"));
        }
    }
    match kind(recorded) {
        Some(ResourceKind::ServiceAccountToken) => {
            equal(
                "boundObjectRef's name",
                &theirs["spec"]["boundObjectRef"]["name"],
                &mine["spec"]["boundObjectRef"]["name"],
            )?;
            keys("status", &theirs["status"], &mine["status"])?;
        }
        Some(ResourceKind::PodPatch) => {
            equal("phase", &theirs["status"]["phase"], &mine["status"]["phase"])?;
            equal("container states", &states(&theirs), &states(&mine))?;
            equal("deletion", &deleted(&theirs), &deleted(&mine))?;
        }
        Some(ResourceKind::NodePatch | ResourceKind::Node) => {
            equal("ready", &ready(&theirs), &ready(&mine))?;
            for field in ["capacity", "addresses", "nodeInfo", "daemonEndpoints"] {
                equal(field, &theirs["status"][field], &mine["status"][field])?;
            }
        }
        Some(ResourceKind::Lease) => {
            for field in ["holderIdentity", "leaseDurationSeconds", "renewTime"] {
                equal(field, &theirs["spec"][field], &mine["spec"][field])?;
            }
        }
        Some(ResourceKind::ConfigMap | ResourceKind::Secret)
            if theirs["metadata"]["name"] != "kube-root-ca.crt" =>
        {
            equal("data", &theirs["data"], &mine["data"])?;
        }
        _ => {}
    }
    names.learn(recorded, ours);
    Ok(())
}

/// A recorded push and one of ours say the same. After a break KubeEdge repairs with `update` what it would else `insert`;
/// edges take both as "this is how it is".
pub(crate) fn pushes(recorded: &Message, ours: &Message, names: &Names, resumed: bool) -> Difference {
    let (a, b) = (&recorded.route, &ours.route);
    let upserts = [Operation::Insert, Operation::Update];
    let operation = a.operation == b.operation
        || resumed && upserts.contains(&a.operation) && upserts.contains(&b.operation);
    if ours.header.parent.is_some()
        || a.source != b.source
        || a.group != b.group
        || a.resource != b.resource
        || !operation
    {
        return Err("another route".into());
    }
    if recorded.header.resource_version.is_some() != ours.header.resource_version.is_some() {
        return Err("a version in the header of only one".into());
    }
    let theirs = essence(&names.ours(recorded.clone()));
    let mine = essence(ours);
    match kind(recorded) {
        // What the node's object holds is up to the answers; that it is sent is what counts.
        Some(ResourceKind::Node) => equal("labels", &theirs["labels"], &mine["labels"]),
        _ => equal("what it says", &theirs, &mine),
    }
}

/// The part of a push that someone decided, without what changes by itself.
pub(crate) fn essence(message: &Message) -> Value {
    let value = value(message);
    if !matches!(message.route.resource, Resource::Object(_)) {
        let mut fields = value.as_object().cloned().unwrap_or_default();
        fields.retain(|name, _| name != "event_id" && name != "timestamp");
        return fields.into();
    }
    // A delete may carry a skeleton: its name and uid are what counts.
    if message.route.operation == Operation::Delete {
        return json!({"name": value["metadata"]["name"]});
    }
    let mut essence = Map::new();
    for field in ["kind", "apiVersion", "spec", "data", "type"] {
        essence.insert(field.into(), value[field].clone());
    }
    for field in ["name", "namespace", "labels"] {
        essence.insert(field.into(), value["metadata"][field].clone());
    }
    essence.insert("deletion".into(), deleted(&value));
    essence.into()
}

/// A push that only brings back what the edge itself had reported.
pub(crate) fn echoes(message: &Message, before: &Value, now: &Value) -> bool {
    kind(message) == Some(ResourceKind::Node) || message.route.operation == Operation::Update && before == now
}

fn kind(message: &Message) -> Option<ResourceKind> {
    message.route.resource.object().map(|key| key.kind.clone())
}

fn deleted(object: &Value) -> Value {
    json!(object["metadata"]["deletionTimestamp"].is_string())
}

fn ready(node: &Value) -> Value {
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|c| c["type"] == "Ready").map_or(Value::Null, |c| c["status"].clone())
}

/// Which state each container is in.
fn states(pod: &Value) -> Value {
    let containers = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
    let state = |c: &Value| c["state"].as_object().map(|s| s.keys().cloned().collect::<Vec<_>>());
    containers.iter().map(|c| json!([c["name"], state(c)])).collect()
}

fn equal(what: &str, recorded: &Value, ours: &Value) -> Difference {
    if recorded == ours { Ok(()) } else { Err(format!("{what}: recorded {recorded}, ours {ours}")) }
}

fn keys(what: &str, recorded: &Value, ours: &Value) -> Difference {
    let names = |v: &Value| {
        let mut names: Vec<String> = v.as_object().map(|o| o.keys().cloned().collect()).unwrap_or_default();
        names.sort();
        names
    };
    let (recorded, ours) = (names(recorded), names(ours));
    if recorded == ours {
        Ok(())
    } else {
        Err(format!("keys of {what}: recorded {recorded:?}, ours {ours:?}"))
    }
}
