//! The roles that every cluster has, with Kubernetes' names.
//!
//! As in Kubernetes, they are brought up to date at every start unless their annotation `rbac.authorization.kubernetes.io/autoupdate`
//! was set to `false`. `admin`, `edit` and `view` are gathered from roles with the labels `aggregate-to-*`, so that other kinds can join.

use serde_json::{Map, Value, json};

use super::bootstrap::create;
use super::place;
use crate::apiserver::auth::{everything, nodes};
use crate::apiserver::objects::Part;
use crate::apiserver::{Api, Write};
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

/// What a default role is made of.
enum Content {
    Rules(Vec<Value>),
    /// Whatever roles add to the role of this name.
    Gathered,
}

/// Name and content of each, and the role that it adds to.
fn roles() -> Vec<(&'static str, Content, Option<&'static str>)> {
    use Content::{Gathered, Rules};
    let paths = |paths: &[&str]| Rules(vec![json!({"nonResourceURLs": paths, "verbs": ["get"]})]);
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    let mut edit = vec![
        rule(
            "",
            &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"],
            READ,
        ),
        rule("", &["serviceaccounts"], &["impersonate"]),
    ];
    edit.extend(grants(WRITABLE, WRITE));
    let admin = vec![
        rule("authorization.k8s.io", &["localsubjectaccessreviews"], &["create"]),
        rule(RBAC, &["roles", "rolebindings"], &[READ, WRITE].concat()),
    ];
    let own = vec![
        rule("authorization.k8s.io", &["selfsubjectaccessreviews", "selfsubjectrulesreviews"], &["create"]),
        rule("authentication.k8s.io", &["selfsubjectreviews"], &["create"]),
    ];
    vec![
        ("cluster-admin", Rules(everything().to_vec()), None),
        ("admin", Gathered, None),
        ("edit", Gathered, Some("admin")),
        ("view", Gathered, Some("edit")),
        ("system:aggregate-to-admin", Rules(admin), Some("admin")),
        ("system:aggregate-to-edit", Rules(edit), Some("edit")),
        ("system:aggregate-to-view", Rules(grants(VISIBLE, READ)), Some("view")),
        ("system:basic-user", Rules(own), None),
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
            None,
        ),
        ("system:node", Rules(nodes::rules()), None),
        (
            "system:public-info-viewer",
            paths(&["/healthz", "/livez", "/readyz", "/version", "/version/"]),
            None,
        ),
        (
            "system:service-account-issuer-discovery",
            paths(&[
                "/.well-known/openid-configuration",
                "/.well-known/openid-configuration/",
                "/openid/v1/jwks",
                "/openid/v1/jwks/",
            ]),
            None,
        ),
    ]
}

/// Role, and the groups that have it from the start.
const BINDINGS: &[(&str, &[&str])] = &[
    ("cluster-admin", &["system:masters"]),
    ("system:basic-user", &["system:authenticated"]),
    ("system:discovery", &["system:authenticated"]),
    ("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
    ("system:service-account-issuer-discovery", &["system:serviceaccounts"]),
];

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {AUTOUPDATE: "true"},
    })
}

fn label(role: &str) -> String {
    format!("{RBAC}/aggregate-to-{role}")
}

/// Creates what is missing and brings the rest up to date.
pub(super) async fn bootstrap(api: &Api) -> Result<(), Status> {
    for (name, content, adds_to) in roles() {
        let mut role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata(name),
        });
        if let Some(other) = adds_to {
            role["metadata"]["labels"][label(other)] = json!("true");
        }
        let part = match content {
            Content::Rules(rules) => {
                role["rules"] = json!(rules);
                "rules"
            }
            Content::Gathered => {
                let labels = Map::from_iter([(label(name), json!("true"))]);
                role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
                "aggregationRule"
            }
        };
        ensure(api, "clusterroles", name, role, part).await?;
    }
    super::aggregation::pass(api).await;
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
            for (key, value) in object["metadata"]["labels"].as_object().into_iter().flatten() {
                new["metadata"]["labels"][key] = value.clone();
            }
        }
        Ok(new)
    };
    api.modify(&target, Part::Main, &Write::by_server(), newest).await.map(drop)
}
