//! What a cluster begins with.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::place;
use crate::apiserver::{API_SERVICE, Api, Target, Write};
use crate::status::{Reason, Status};

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// The classes of what a cluster cannot do without.
const PRIORITIES: &[(&str, i64, &str)] = &[
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

/// Creates what is missing: the namespaces, the API's own service and its endpoints at `address`, the default roles and priorities, `crds`. What is there is left as it is; CRDs are brought up to
/// the manifests at hand.
pub(crate) async fn bootstrap(api: &Api, address: SocketAddr, crds: &[Value]) -> Result<(), Status> {
    for crd in stored_crds(api) {
        api.sync_crd(&crd).await;
    }
    for name in NAMESPACES {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        create(api, ("", "v1", "namespaces"), "", name, namespace).await?;
        api.furnish(name).await;
    }
    own_service(api, address.port()).await?;
    super::endpoint::publish(api, address).await?;
    super::roles::bootstrap(api).await?;
    for (name, value, what) in PRIORITIES {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": what,
        });
        create(api, ("scheduling.k8s.io", "v1", "priorityclasses"), "", name, class).await?;
    }
    for crd in crds {
        install(api, crd).await?;
    }
    Ok(())
}

/// The service under which pods find the API. It comes back when it was deleted (`kubectl delete all --all` does).
pub(super) async fn own_service(api: &Api, port: u16) -> Result<(), Status> {
    create(api, ("", "v1", "services"), "default", "kubernetes", service(port)).await
}

fn stored_crds(api: &Api) -> Vec<String> {
    let Some(crds) = place(api, "apiextensions.k8s.io", "v1", "customresourcedefinitions", "", "") else {
        return Vec::new();
    };
    super::all(api, &crds, None).into_iter().map(|(key, _)| key.name.into()).collect()
}

fn service(port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": API_SERVICE,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    })
}

pub(super) async fn create(
    api: &Api,
    kind: (&str, &str, &str),
    namespace: &str,
    name: &str,
    object: Value,
) -> Result<(), Status> {
    let (group, version, plural) = kind;
    let Some(target) = place(api, group, version, plural, namespace, name) else { return Ok(()) };
    if api.store.get(&target.id()).is_some() {
        return Ok(());
    }
    match api.create(&target, object, &Write::by_server()).await {
        Err(status) if status.reason != Reason::AlreadyExists => Err(status),
        _ => Ok(()),
    }
}

async fn install(api: &Api, crd: &Value) -> Result<(), Status> {
    let name = crd["metadata"]["name"].as_str().unwrap_or_default();
    let Some(target) = place(api, "apiextensions.k8s.io", "v1", "customresourcedefinitions", "", name) else {
        return Err(Status::internal("custom resource definitions are not served"));
    };
    if api.store.get(&target.id()).is_none() {
        return api.create(&target, crd.clone(), &Write::by_server()).await.map(drop);
    }
    update(api, &target, crd).await
}

async fn update(api: &Api, target: &Target, crd: &Value) -> Result<(), Status> {
    let newest = |old: &Value| {
        let mut new = old.clone();
        new["spec"] = crd["spec"].clone();
        Ok(new)
    };
    api.modify(target, crate::apiserver::objects::Part::Main, &Write::by_server(), newest).await.map(drop)
}
