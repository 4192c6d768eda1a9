//! What of an object selectors can ask for, taken out once when it is written.

use serde_json::Value;

/// Fields beside name and namespace that a collection can be selected by. Aliases are resolved by the field selector.
pub(super) fn selectable(collection: &str) -> &'static [&'static str] {
    match collection {
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "nodes" => &["spec.unschedulable"],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "namespaces" => &["status.phase"],
        "secrets" => &["type"],
        "services" => &["spec.clusterIP", "spec.type"],
        "jobs.batch" => &["status.successful"],
        "replicationcontrollers" => &["status.replicas"],
        "certificatesigningrequests.certificates.k8s.io" => &["spec.signerName"],
        _ => &[],
    }
}

/// What an object can be selected by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// Name.
    pub name: Box<str>,
    /// Namespace, or empty.
    pub namespace: Box<str>,
    /// The version in which the document is written, as in `apps/v1`.
    pub api_version: Box<str>,
    /// Sorted by key.
    labels: Box<[(Box<str>, Box<str>)]>,
    /// In the order of `selectable`.
    fields: Box<[Box<str>]>,
}

impl Index {
    /// Takes the index out of a document.
    pub fn of(collection: &str, object: &Value) -> Self {
        let metadata = &object["metadata"];
        let text = |key: &str| metadata[key].as_str().unwrap_or_default().into();
        let mut labels: Vec<(Box<str>, Box<str>)> = metadata["labels"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str().into(), value.as_str().unwrap_or_default().into()))
            .collect();
        labels.sort();
        Self {
            name: text("name"),
            namespace: text("namespace"),
            api_version: object["apiVersion"].as_str().unwrap_or_default().into(),
            labels: labels.into(),
            fields: selectable(collection).iter().map(|path| field(collection, object, path)).collect(),
        }
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        self.labels.get(at).map(|(_, value)| &**value)
    }

    pub(super) fn field(&self, at: usize) -> &str {
        self.fields.get(at).map_or("", |value| value)
    }
}

fn field(collection: &str, object: &Value, path: &str) -> Box<str> {
    let found = path.split('.').fold(object, |value, key| &value[key]);
    match (collection, path, found) {
        ("events", "source", _) => {
            let component = object["source"]["component"].as_str().filter(|text| !text.is_empty());
            component.or(object["reportingComponent"].as_str()).unwrap_or_default().into()
        }
        (_, "spec.unschedulable" | "spec.hostNetwork", Value::Null) => "false".into(),
        (_, "status.successful" | "status.replicas", Value::Null) => "0".into(),
        (_, _, Value::String(text)) => text.as_str().into(),
        (_, _, Value::Bool(truth)) => truth.to_string().into(),
        (_, _, Value::Number(number)) => number.to_string().into(),
        _ => "".into(),
    }
}
