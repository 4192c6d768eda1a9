//! Which objects are the user's.

use serde_json::Value;

use super::kinds::Kind;

/// Namespaces whose objects every cluster makes by itself.
const SYSTEM: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Whether somebody wrote this object, and another cluster does not make it by itself.
pub(super) fn is_users(kind: &Kind, object: &Value) -> bool {
    let metadata = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (name, namespace) = (text(&metadata["name"]), text(&metadata["namespace"]));
    let owners = metadata["ownerReferences"].as_array();
    let has_controller = owners.is_some_and(|owners| owners.iter().any(|owner| owner["controller"] == true));
    if has_controller || !metadata["deletionTimestamp"].is_null() || SYSTEM.contains(&namespace.as_str()) {
        return false;
    }
    let made_by_the_cluster = match kind.name().as_str() {
        "namespaces" => name == "default" || SYSTEM.contains(&name.as_str()),
        "serviceaccounts" => name == "default",
        "configmaps" => name == "kube-root-ca.crt",
        "services" => name == "kubernetes" && namespace == "default",
        "priorityclasses.scheduling.k8s.io" => name.starts_with("system-"),
        "secrets" => object["type"] == "kubernetes.io/service-account-token",
        // A pod that has ended would run again.
        "pods" => matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed")),
        _ => false,
    };
    !made_by_the_cluster && metadata["labels"]["kubernetes.io/bootstrapping"] != "rbac-defaults"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::kinds::kind;
    use super::*;

    #[test]
    fn what_controllers_and_clusters_make_is_not_the_users() {
        let pods = kind("", "Pod", "pods");
        assert!(is_users(&pods, &json!({"metadata": {"name": "a", "namespace": "default"}})));
        for object in [
            json!({"metadata": {"name": "a", "ownerReferences": [{"kind": "ReplicaSet", "controller": true}]}}),
            json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            json!({"metadata": {"name": "a", "namespace": "kube-system"}}),
            json!({"metadata": {"name": "a"}, "status": {"phase": "Succeeded"}}),
        ] {
            assert!(!is_users(&pods, &object), "{object}");
        }
        let owned = json!({"metadata": {"name": "a", "ownerReferences": [{"kind": "Mine"}]}});
        assert!(is_users(&pods, &owned), "an owner that is no controller does not make it anew");
        assert!(!is_users(
            &kind("", "ConfigMap", "configmaps"),
            &json!({"metadata": {"name": "kube-root-ca.crt"}})
        ));
        let role =
            json!({"metadata": {"name": "edit", "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}});
        assert!(!is_users(&kind("rbac.authorization.k8s.io", "ClusterRole", "clusterroles"), &role));
    }
}
