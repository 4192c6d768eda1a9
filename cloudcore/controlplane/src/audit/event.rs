//! An event as a document.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Level;

/// When in the life of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The answer of a watch has begun.
    ResponseStarted,
    /// The request is done.
    ResponseComplete,
}

impl Stage {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
        }
    }
}

/// The object or collection that a request is about; empty parts are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) subresource: String,
}

/// One line of the log.
#[derive(Clone, Debug)]
pub(crate) struct Event<'a> {
    pub(crate) level: Level,
    pub(crate) id: &'a str,
    pub(crate) stage: Stage,
    pub(crate) uri: &'a str,
    pub(crate) verb: &'a str,
    /// `userInfo` of whoever sent it.
    pub(crate) user: Value,
    /// `userInfo` of whoever it was sent for, if that is somebody else.
    pub(crate) impersonated: Option<Value>,
    pub(crate) source: &'a str,
    pub(crate) agent: &'a str,
    pub(crate) object: Option<&'a Reference>,
    /// `metadata`, `code`, and for failures `status`, `message`, `reason`.
    pub(crate) status: Value,
    pub(crate) request: Option<Value>,
    pub(crate) response: Option<Value>,
    pub(crate) received: Timestamp,
    pub(crate) now: Timestamp,
    /// Whether it was allowed, and why; none when that was never asked.
    pub(crate) decision: Option<(bool, &'a str)>,
    /// Annotations by admission.
    pub(crate) noted: &'a [(String, String)],
}

fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

impl Event<'_> {
    pub(super) fn to_value(&self) -> Value {
        let mut event = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": self.level.as_str(),
            "auditID": self.id, "stage": self.stage.as_str(), "requestURI": self.uri, "verb": self.verb,
            "user": self.user,
        });
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                event[key] = value;
            }
        };
        put("impersonatedUser", self.impersonated.clone());
        put("sourceIPs", Some(json!([self.source])));
        put("userAgent", (!self.agent.is_empty()).then(|| json!(self.agent)));
        put("objectRef", self.object.map(Reference::to_value));
        put("responseStatus", Some(self.status.clone()));
        put("requestObject", self.request.clone());
        put("responseObject", self.response.clone());
        put("requestReceivedTimestamp", Some(json!(stamp(self.received))));
        put("stageTimestamp", Some(json!(stamp(self.now))));
        let mut annotations = Map::new();
        if let Some((allowed, reason)) = self.decision {
            let decision = if allowed { "allow" } else { "forbid" };
            annotations.insert("authorization.k8s.io/decision".to_owned(), json!(decision));
            annotations.insert("authorization.k8s.io/reason".to_owned(), json!(reason));
        }
        annotations.extend(self.noted.iter().map(|(key, value)| (key.clone(), json!(value))));
        put("annotations", (!annotations.is_empty()).then_some(Value::Object(annotations)));
        event
    }
}

impl Reference {
    fn to_value(&self) -> Value {
        let parts = [
            ("resource", &self.resource),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("apiGroup", &self.group),
            ("apiVersion", &self.version),
            ("subresource", &self.subresource),
        ];
        let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
        Value::Object(parts.map(|(key, text)| (key.to_owned(), json!(text))).collect::<Map<_, _>>())
    }
}
