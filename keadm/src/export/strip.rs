//! What of an object is the server's, and would be wrong or refused in another cluster.

use serde_json::{Map, Value};

use super::kinds::Kind;

const METADATA: [&str; 10] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];
/// Annotations that controllers and kubectl keep their own books in.
const ANNOTATIONS: [&str; 5] = [
    "control-plane.alpha.kubernetes.io/",
    "deployment.kubernetes.io/",
    "kubectl.kubernetes.io/last-applied-configuration",
    "pv.kubernetes.io/",
    "volume.kubernetes.io/",
];
/// Kubernetes v1.36 pkg/registry/batch/job/strategy.go generateSelector
const JOB_LABELS: [&str; 4] =
    ["batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"];
/// Kubernetes v1.36 plugin/pkg/admission/serviceaccount
const TOKEN_VOLUME: &str = "kube-api-access-";
const TOKEN_MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn map<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    path.iter().try_fold(value, |place, name| place.get_mut(*name))?.as_object_mut()
}

fn remove(value: &mut Value, path: &[&str], names: &[&str]) {
    if let Some(map) = map(value, path) {
        map.retain(|name, _| !names.contains(&name.as_str()));
    }
}

fn remove_if_empty(value: &mut Value, path: &[&str], name: &str) {
    if let Some(map) = map(value, path)
        && map.get(name).is_some_and(|inner| {
            inner.as_object().is_some_and(Map::is_empty) || inner.as_array().is_some_and(Vec::is_empty)
        })
    {
        map.remove(name);
    }
}

fn keep_items(list: Option<&mut Value>, keep: impl Fn(&Value) -> bool) {
    if let Some(list) = list.and_then(Value::as_array_mut) {
        list.retain(keep);
    }
}

/// Leaves of an object's metadata what a user would have written.
pub(crate) fn strip_metadata(object: &mut Value) {
    remove(object, &["metadata"], &METADATA);
    if let Some(annotations) = map(object, &["metadata", "annotations"]) {
        annotations.retain(|name, _| !ANNOTATIONS.iter().any(|own| name.starts_with(own)));
    }
    keep_items(map(object, &["metadata"]).and_then(|metadata| metadata.get_mut("finalizers")), |name| {
        name.as_str().is_some_and(|name| !name.starts_with("kubernetes.io/") && name.contains('/'))
    });
    for name in ["annotations", "labels", "finalizers"] {
        remove_if_empty(object, &["metadata"], name);
    }
}

/// Leaves of `object` what a user would have written.
pub(super) fn strip(kind: &Kind, object: &mut Value) {
    object["apiVersion"] = kind.resource.api_version.clone().into();
    object["kind"] = kind.resource.kind.clone().into();
    remove(object, &[], &["status"]);
    strip_metadata(object);
    match kind.name().as_str() {
        "namespaces" => {
            remove(object, &["spec"], &["finalizers"]);
            remove(object, &["metadata", "labels"], &["kubernetes.io/metadata.name"]);
        }
        "services" => {
            if object["spec"]["clusterIP"] != "None" {
                remove(object, &["spec"], &["clusterIP", "clusterIPs"]);
            }
            remove(object, &["spec"], &["healthCheckNodePort"]);
        }
        "serviceaccounts" => remove(object, &[], &["secrets"]),
        "persistentvolumes" => remove(object, &["spec", "claimRef"], &["uid", "resourceVersion"]),
        "pods" => pod(object),
        "jobs.batch" if object["spec"]["manualSelector"] != true => {
            remove(object, &["spec"], &["selector"]);
            remove(object, &["metadata", "labels"], &JOB_LABELS);
            remove(object, &["spec", "template", "metadata", "labels"], &JOB_LABELS);
            remove_if_empty(object, &["spec", "template", "metadata"], "labels");
        }
        _ => {}
    }
    if let Some(template) = object.get_mut("spec").and_then(|spec| spec.get_mut("template")) {
        remove(template, &["metadata"], &["creationTimestamp"]);
        remove_if_empty(template, &[], "metadata");
    }
    remove_if_empty(object, &["metadata"], "labels");
    remove_if_empty(object, &[], "spec");
    sort(object);
}

/// Keys in order of the alphabet, as kubectl writes them: the same object gives the same text, whoever wrote it.
fn sort(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.sort_keys();
            map.values_mut().for_each(sort);
        }
        Value::Array(items) => items.iter_mut().for_each(sort),
        _ => {}
    }
}

fn pod(object: &mut Value) {
    // Priority follows from the class, the account's old name from its new one; the token's volume is made for each pod.
    remove(object, &["spec"], &["priority", "serviceAccount"]);
    let Some(spec) = object.get_mut("spec") else { return };
    keep_items(spec.get_mut("volumes"), |volume| {
        volume["name"].as_str().is_none_or(|name| !name.starts_with(TOKEN_VOLUME))
    });
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            keep_items(container.get_mut("volumeMounts"), |mount| mount["mountPath"] != TOKEN_MOUNT);
            remove_if_empty(container, &[], "volumeMounts");
        }
    }
    remove_if_empty(spec, &[], "volumes");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::kinds::kind;
    use super::*;

    fn stripped(kind: &Kind, mut object: Value) -> Value {
        strip(kind, &mut object);
        object
    }

    #[test]
    fn an_object_is_left_as_a_user_would_have_written_it() {
        let pod = stripped(
            &kind("", "Pod", "pods"),
            json!({
                "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "5", "managedFields": [{}],
                    "creationTimestamp": "x", "generation": 1, "labels": {"app": "a"},
                    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}},
                "spec": {"priority": 0, "serviceAccount": "default", "serviceAccountName": "default", "nodeName": "edge1",
                    "containers": [{"name": "c", "volumeMounts": [
                        {"name": "kube-api-access-x", "mountPath": TOKEN_MOUNT}]}],
                    "volumes": [{"name": "kube-api-access-x"}]},
                "status": {"phase": "Running"},
            }),
        );
        assert_eq!(
            pod,
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "a", "namespace": "n", "labels": {"app": "a"}},
                "spec": {"serviceAccountName": "default", "nodeName": "edge1", "containers": [{"name": "c"}]},
            })
        );
    }

    #[test]
    fn a_service_gets_an_address_of_its_new_cluster_but_stays_headless() {
        let services = kind("", "Service", "services");
        let plain = json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": []}});
        assert_eq!(stripped(&services, plain)["spec"], json!({"ports": []}));
        let headless = json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "None"}});
        assert_eq!(stripped(&services, headless)["spec"], json!({"clusterIP": "None"}));
    }

    #[test]
    fn a_job_gets_a_selector_of_its_new_cluster() {
        let job = json!({"metadata": {"name": "a", "labels": {"job-name": "a"}}, "spec": {
            "selector": {"matchLabels": {"controller-uid": "u"}},
            "template": {"metadata": {"creationTimestamp": null, "labels": {"controller-uid": "u", "job-name": "a"}}, "spec": {}}}});
        let job = stripped(&kind("batch", "Job", "jobs"), job);
        assert_eq!(job["spec"], json!({"template": {"spec": {}}}));
        assert_eq!(job["metadata"], json!({"name": "a"}));
    }

    proptest! {
        #[test]
        fn stripping_any_document_twice_is_stripping_it_once(
            name in "[a-z]{1,5}", plural in prop::sample::select(vec!["pods", "services", "jobs", "namespaces"]),
            spec in prop_oneof![Just(Value::Null), Just(json!("text")), Just(json!([1])), Just(json!({"template": 1, "containers": [2]}))],
        ) {
            let kind = kind("", "Kind", plural);
            let once = stripped(&kind, json!({"metadata": {"name": name, "annotations": 3}, "spec": spec}));
            prop_assert_eq!(stripped(&kind, once.clone()), once);
        }
    }
}
