//! The roles that every cluster has, with Kubernetes' names.
//!
//! As in Kubernetes, they are brought up to date at every start unless their annotation `rbac.authorization.kubernetes.io/autoupdate`
//! was set to `false`. `admin` may not touch roles and bindings: that is safe only with a check that nobody grants more than they
//! have, which this server does not make.

use serde_json::{Value, json};

use super::bootstrap::create;
use super::place;
use crate::apiserver::Api;
use crate::apiserver::objects::Part;
use crate::status::Status;

const RBAC: &str = "rbac.authorization.k8s.io";
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];

/// What `view` shows, by group. Secrets are not among it, for they hold the tokens of service accounts with more rights.
const VISIBLE: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "bindings",
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "namespaces",
            "namespaces/status",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "pods",
            "pods/log",
            "pods/status",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "replicationcontrollers/status",
            "resourcequotas",
            "resourcequotas/status",
            "serviceaccounts",
            "services",
            "services/status",
        ],
    ),
    ("discovery.k8s.io", &["endpointslices"]),
    (
        "apps",
        &[
            "controllerrevisions",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
    ("batch", &["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
    ("policy", &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
    ("networking.k8s.io", &["ingresses", "ingresses/status", "networkpolicies"]),
];

/// What `edit` may write besides, by group.
const WRITABLE: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "configmaps",
            "events",
            "persistentvolumeclaims",
            "pods",
            "pods/attach",
            "pods/eviction",
            "pods/exec",
            "pods/portforward",
            "pods/proxy",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "secrets",
            "serviceaccounts",
            "serviceaccounts/token",
            "services",
            "services/proxy",
        ],
    ),
    (
        "apps",
        &[
            "daemonsets",
            "deployments",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["cronjobs", "jobs"]),
    ("policy", &["poddisruptionbudgets"]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
];

fn grants(table: &[(&str, &[&str])], verbs: &[&str]) -> Vec<Value> {
    let rule = |(group, resources): &(&str, &[&str])| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    table.iter().map(rule).collect()
}

/// Name and rules of each.
fn roles() -> Vec<(&'static str, Vec<Value>)> {
    let view = grants(VISIBLE, READ);
    let reads = json!({
        "apiGroups": [""],
        "resources": ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"],
        "verbs": READ,
    });
    let edit = [view.clone(), vec![reads], grants(WRITABLE, WRITE)].concat();
    let asks = json!({"apiGroups": ["authorization.k8s.io"], "resources": ["localsubjectaccessreviews"], "verbs": ["create"]});
    let admin = [edit.clone(), vec![asks]].concat();
    let paths = |paths: &[&str]| vec![json!({"nonResourceURLs": paths, "verbs": ["get"]})];
    vec![
        (
            "cluster-admin",
            vec![
                json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}),
                json!({"nonResourceURLs": ["*"], "verbs": ["*"]}),
            ],
        ),
        ("admin", admin),
        ("edit", edit),
        ("view", view),
        (
            "system:basic-user",
            vec![
                json!({
                    "apiGroups": ["authorization.k8s.io"],
                    "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                    "verbs": ["create"],
                }),
                json!({"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]}),
            ],
        ),
        (
            "system:discovery",
            paths(&[
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ]),
        ),
        ("system:public-info-viewer", paths(&["/healthz", "/livez", "/readyz", "/version", "/version/"])),
    ]
}

/// Role, and the groups that have it from the start.
const BINDINGS: &[(&str, &[&str])] = &[
    ("cluster-admin", &["system:masters"]),
    ("system:basic-user", &["system:authenticated"]),
    ("system:discovery", &["system:authenticated"]),
    ("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
];

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {AUTOUPDATE: "true"},
    })
}

/// Creates what is missing and brings the rest up to date.
pub(super) async fn bootstrap(api: &Api) -> Result<(), Status> {
    for (name, rules) in roles() {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": metadata(name), "rules": rules,
        });
        ensure(api, "clusterroles", name, role, "rules").await?;
    }
    for (name, groups) in BINDINGS {
        let subject = |group: &&str| json!({"kind": "Group", "apiGroup": RBAC, "name": group});
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": metadata(name),
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
            "subjects": groups.iter().map(subject).collect::<Vec<_>>(),
        });
        ensure(api, "clusterrolebindings", name, binding, "subjects").await?;
    }
    Ok(())
}

async fn ensure(api: &Api, plural: &str, name: &str, object: Value, part: &str) -> Result<(), Status> {
    let Some(target) = place(api, RBAC, "v1", plural, "", name) else { return Ok(()) };
    if api.store.get(&target.id()).is_none() {
        return create(api, (RBAC, "v1", plural), "", name, object).await;
    }
    let newest = |old: &Value| {
        let mut new = old.clone();
        if new["metadata"]["annotations"][AUTOUPDATE] == "true" {
            new[part] = object[part].clone();
        }
        Ok(new)
    };
    api.modify(&target, Part::Main, false, newest).await.map(drop)
}
