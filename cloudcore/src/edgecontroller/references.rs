//! Which config maps, secrets and claims a pod uses, read from its spec.

use std::collections::BTreeSet;

use proto::resource::{ObjectKey, ResourceKind};
use serde_json::Value;

/// Everything that the pod's containers and volumes name, in the pod's namespace.
#[must_use]
pub(super) fn of_pod(namespace: &str, spec: &Value) -> BTreeSet<ObjectKey> {
    let mut found = Found { namespace, keys: BTreeSet::new() };
    for secret in list(spec, "imagePullSecrets") {
        found.add(ResourceKind::Secret, secret.get("name"));
    }
    for containers in ["containers", "initContainers", "ephemeralContainers"] {
        for container in list(spec, containers) {
            found.container(container);
        }
    }
    for volume in list(spec, "volumes") {
        found.volume(volume);
    }
    found.keys
}

struct Found<'a> {
    namespace: &'a str,
    keys: BTreeSet<ObjectKey>,
}

impl Found<'_> {
    fn add(&mut self, kind: ResourceKind, name: Option<&Value>) {
        if let Some(name) = name.and_then(Value::as_str).filter(|name| !name.is_empty()) {
            self.keys.insert(ObjectKey::namespaced(self.namespace, kind, name));
        }
    }

    fn container(&mut self, container: &Value) {
        for source in list(container, "envFrom") {
            self.add(ResourceKind::ConfigMap, source.pointer("/configMapRef/name"));
            self.add(ResourceKind::Secret, source.pointer("/secretRef/name"));
        }
        for variable in list(container, "env") {
            self.add(ResourceKind::ConfigMap, variable.pointer("/valueFrom/configMapKeyRef/name"));
            self.add(ResourceKind::Secret, variable.pointer("/valueFrom/secretKeyRef/name"));
        }
    }

    fn volume(&mut self, volume: &Value) {
        self.add(ResourceKind::ConfigMap, volume.pointer("/configMap/name"));
        self.add(ResourceKind::Secret, volume.pointer("/secret/secretName"));
        self.add(ResourceKind::PersistentVolumeClaim, volume.pointer("/persistentVolumeClaim/claimName"));
        for source in volume.pointer("/projected/sources").and_then(Value::as_array).into_iter().flatten() {
            self.add(ResourceKind::ConfigMap, source.pointer("/configMap/name"));
            self.add(ResourceKind::Secret, source.pointer("/secret/name"));
        }
        // Drivers that take credentials by reference: csi, flexVolume, cephfs, rbd, iscsi, scaleIO, storageos.
        for driver in volume.as_object().into_iter().flat_map(|fields| fields.values()) {
            self.add(ResourceKind::Secret, driver.pointer("/nodePublishSecretRef/name"));
            self.add(ResourceKind::Secret, driver.pointer("/secretRef/name"));
        }
    }
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_to_use_a_config_map_or_a_secret_is_found() {
        let spec = json!({
            "imagePullSecrets": [{"name": "registry"}],
            "initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "init-env", "key": "k"}}}]}],
            "containers": [{
                "envFrom": [{"configMapRef": {"name": "all-env"}}, {"secretRef": {"name": "all-secret-env"}}],
                "env": [{"name": "A", "value": "plain"}, {"valueFrom": {"configMapKeyRef": {"name": "one-env"}}}],
            }],
            "volumes": [
                {"name": "a", "configMap": {"name": "files"}},
                {"name": "b", "secret": {"secretName": "keys"}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "d", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "csi-login"}}},
                {"name": "e", "emptyDir": {}},
                {"name": "f", "projected": {"sources": [
                    {"configMap": {"name": "kube-root-ca.crt"}}, {"secret": {"name": "mixed"}}, {"serviceAccountToken": {}}
                ]}},
            ],
        });
        let found: Vec<String> = of_pod("shop", &spec).iter().map(ToString::to_string).collect();
        let expected = [
            "shop/configmap/all-env",
            "shop/configmap/files",
            "shop/configmap/kube-root-ca.crt",
            "shop/configmap/one-env",
            "shop/secret/all-secret-env",
            "shop/secret/csi-login",
            "shop/secret/init-env",
            "shop/secret/keys",
            "shop/secret/mixed",
            "shop/secret/registry",
            "shop/persistentvolumeclaim/data",
        ];
        let mut expected: Vec<String> = expected.map(str::to_owned).to_vec();
        let mut found_sorted = found.clone();
        expected.sort();
        found_sorted.sort();
        assert_eq!(found_sorted, expected);
    }

    #[test]
    fn a_spec_of_wrong_types_names_nothing() {
        assert!(of_pod("shop", &json!({"volumes": "x", "containers": [1, {"env": {}}]})).is_empty());
    }
}
