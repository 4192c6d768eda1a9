//! Admission plugin DefaultStorageClass: a claim that names no class gets the cluster's.
//!
//! Source: Kubernetes v1.36 `plugin/pkg/admission/storage/storageclass/setdefault`. Claims that are older than the default class get it by
//! the controller of volumes.

use std::cmp::Reverse;

use serde_json::{Value, json};

use super::{Api, Target, all};
use crate::schema::Json;

/// Where claims named their class before they had a field for it.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULTS: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// Gives a new claim its class.
pub(super) fn admit(api: &Api, target: &Target, claim: &mut Value) {
    let named = claim.has("/spec/storageClassName") || annotation(claim, OLD_CLASS).is_some();
    if !target.is_core("persistentvolumeclaims") || named {
        return;
    }
    let classes = all(api, "storage.k8s.io", "storageclasses", None);
    let classes: Vec<Value> = classes.into_iter().map(|(_, class)| class).collect();
    if let (Some(class), Some(spec)) = (default(&classes), claim.child("spec")) {
        spec.put("storageClassName", json!(class));
    }
}

/// The newest of those that say so.
fn default(classes: &[Value]) -> Option<&str> {
    let says = |class: &&Value| DEFAULTS.iter().any(|key| annotation(class, key) == Some("true"));
    let newest = classes.iter().filter(says).max_by(|one, other| age(one).cmp(&age(other)));
    newest.map(|class| class.text("/metadata/name"))
}

fn age(class: &Value) -> (&str, Reverse<&str>) {
    (class.text("/metadata/creationTimestamp"), Reverse(class.text("/metadata/name")))
}

fn annotation<'o>(object: &'o Value, key: &str) -> Option<&'o str> {
    object["metadata"]["annotations"].get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_defaults_the_newest_counts() {
        let class = |name: &str, time: &str, says: &str| {
            let annotations = json!({DEFAULTS[0]: says});
            json!({"metadata": {"name": name, "creationTimestamp": time, "annotations": annotations}})
        };
        let (old, new) = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
        let classes = [
            class("a", old, "true"),
            class("c", new, "true"),
            class("b", new, "true"),
            class("z", new, "false"),
        ];
        assert_eq!(default(&classes), Some("b"));
        assert_eq!(default(&classes[3..]), None);
    }
}
