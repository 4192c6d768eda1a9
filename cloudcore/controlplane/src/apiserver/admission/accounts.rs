//! Admission plugin ServiceAccount: a pod runs as somebody, and holds a token that says so.

use serde_json::{Value, json};

use super::super::metadata::suffix;
use super::{Api, Target, forbidden, one};
use crate::schema::Json;
use crate::status::Status;

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An hour and a bit: the API knows by it that the token is for such a volume.
const TOKEN_SECONDS: i64 = 3607;

pub(super) fn admit(api: &Api, target: &Target, pod: &mut Value) -> Result<(), Status> {
    if pod["metadata"]["annotations"].get("kubernetes.io/config.mirror").is_some() {
        return mirror(target, pod);
    }
    let named = |key: &str| pod["spec"][key].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    let name =
        named("serviceAccountName").or(named("serviceAccount")).unwrap_or_else(|| "default".to_owned());
    let Some(account) = one(api, "", "serviceaccounts", &target.namespace, &name) else {
        let why = format!(
            "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
            target.namespace
        );
        return Err(forbidden(target, pod, &why));
    };
    let Some(spec) = pod.get_mut("spec").filter(|spec| spec.is_object()) else { return Ok(()) };
    spec.put("serviceAccountName", json!(name));
    spec.put("serviceAccount", json!(name));
    if !account.list("/imagePullSecrets").is_empty() && spec.list("/imagePullSecrets").is_empty() {
        spec.put("imagePullSecrets", account["imagePullSecrets"].clone());
    }
    let automount = |object: &Value| object["automountServiceAccountToken"].as_bool();
    if automount(spec).or(automount(&account)).unwrap_or(true) {
        mount_token(spec);
    }
    Ok(())
}

/// The pod that an agent shows for a file of its own may not lean on the API.
fn mirror(target: &Target, pod: &Value) -> Result<(), Status> {
    if !pod.text("/spec/serviceAccountName").is_empty() {
        return Err(forbidden(target, pod, "a mirror pod may not reference service accounts"));
    }
    let volumes = pod.list("/spec/volumes").iter();
    let tokens = volumes.flat_map(|volume| volume.list("/projected/sources"));
    if tokens.into_iter().any(|source| source.get("serviceAccountToken").is_some()) {
        return Err(forbidden(
            target,
            pod,
            "a mirror pod may not use ServiceAccountToken volume projections",
        ));
    }
    Ok(())
}

/// A volume with token, CA and namespace for every container that has nothing at that place.
fn mount_token(spec: &mut Value) {
    let mut known = spec.list("/volumes").iter().map(|volume| volume.text("/name"));
    let there = known.find(|name| name.starts_with("kube-api-access-")).map(str::to_owned);
    let name = there.clone().unwrap_or_else(|| format!("kube-api-access-{}", suffix()));
    let mut mounted = false;
    for list in ["/initContainers", "/containers"] {
        for container in spec.list_mut(list) {
            if container.list("/volumeMounts").iter().any(|mount| mount.text("/mountPath") == MOUNT) {
                continue;
            }
            container.default_to("volumeMounts", Vec::<Value>::new());
            if let Some(mounts) = container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT}));
                mounted = true;
            }
        }
    }
    if !mounted || there.is_some() {
        return;
    }
    spec.default_to("volumes", Vec::<Value>::new());
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        let namespace = json!({"apiVersion": "v1", "fieldPath": "metadata.namespace"});
        volumes.push(json!({"name": name, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
        ]}}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_without_its_own_gets_the_token() {
        let mut spec = json!({
            "initContainers": [{"name": "i"}],
            "containers": [
                {"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
                {"name": "own", "volumeMounts": [{"name": "v", "mountPath": MOUNT}]},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
        });
        mount_token(&mut spec);
        let name = spec["volumes"][1]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("kube-api-access-") && name.len() == "kube-api-access-".len() + 5);
        let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT});
        assert_eq!(spec["initContainers"][0]["volumeMounts"], json!([mount]));
        assert_eq!(spec["containers"][0]["volumeMounts"][1], mount);
        assert_eq!(spec["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn no_volume_comes_that_nobody_mounts() {
        let mut spec =
            json!({"containers": [{"name": "own", "volumeMounts": [{"name": "v", "mountPath": MOUNT}]}]});
        mount_token(&mut spec);
        assert!(spec.get("volumes").is_none());
    }
}
