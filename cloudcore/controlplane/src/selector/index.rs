//! What of an object selectors can ask for, taken out once when it is written.

use serde_json::Value;

use super::skeleton::Skeleton;

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

    /// Takes the index out of a document that is not parsed yet.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn read(collection: &str, json: &[u8]) -> Result<Self, serde_json::Error> {
        let everywhere = ["apiVersion", "metadata.name", "metadata.namespace", "metadata.labels"];
        let paths = everywhere.into_iter().chain(selectable(collection).iter().copied());
        Ok(Self::of(collection, &Skeleton::of(paths).read(json)?))
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        self.labels.get(at).map(|(_, value)| &**value)
    }

    /// A field that objects of this collection can be selected by; empty if it is not set.
    pub fn selectable(&self, collection: &str, path: &str) -> &str {
        let at = selectable(collection).iter().position(|known| *known == path);
        at.map_or("", |at| self.field(at))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn leaf() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,6}".prop_map(Value::from),
        ]
    }

    fn document() -> impl Strategy<Value = Value> {
        let keys = prop::sample::select(vec![
            "apiVersion",
            "metadata",
            "name",
            "namespace",
            "labels",
            "spec",
            "nodeName",
            "hostNetwork",
            "status",
            "phase",
            "source",
            "component",
            "reportingComponent",
            "involvedObject",
            "type",
            "other",
        ]);
        leaf().prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                4 => prop::collection::btree_map(keys.clone(), inner.clone(), 0..6).prop_map(|map| json!(map)),
                1 => prop::collection::vec(inner, 0..3).prop_map(Value::Array),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_document_has_the_same_index_read_in_part_and_parsed_whole(
            object in document(),
            collection in prop::sample::select(vec!["pods", "events", "secrets", "namespaces", "configmaps", "jobs.batch"]),
        ) {
            let text = object.to_string();
            // Parsed again, because the last digit of a number may change on its way through text.
            let whole: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(Index::read(collection, text.as_bytes()).unwrap(), Index::of(collection, &whole));
        }

        #[test]
        fn bytes_that_are_no_document_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let whole: Result<Value, _> = serde_json::from_slice(&bytes);
            let read = Index::read("pods", &bytes);
            prop_assert!(whole.is_err() || read.is_ok());
        }
    }
}
