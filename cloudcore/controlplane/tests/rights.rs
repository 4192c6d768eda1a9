//! Who may do what: roles and who may hand them out, nodes, and what kubectl says about it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use serde_json::{Value, json};
use support::{Cluster, call_as, eventually, expect};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const BOB: (&str, &[&str]) = ("bob", &["dev"]);
const NODE: (&str, &[&str]) = ("system:node:n1", &["system:nodes"]);

fn role(name: &str, rules: Value) -> Value {
    json!({"metadata": {"name": name}, "rules": rules})
}

fn binding(name: &str, kind: &str, role: &str, user: &str) -> Value {
    json!({
        "metadata": {"name": name}, "roleRef": {"kind": kind, "name": role},
        "subjects": [{"kind": "User", "name": user}],
    })
}

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources})
}

fn in_default(plural: &str) -> String {
    format!("{RBAC}/namespaces/default/{plural}")
}

/// Gives a user rights in the namespace `default`.
async fn allow(cluster: &Cluster, name: &str, user: &str, rules: Value) {
    expect(cluster.call("POST", &in_default("roles"), role(name, rules)), 201).await;
    expect(cluster.call("POST", &in_default("rolebindings"), binding(name, "Role", name, user)), 201).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_a_role_with_rights_that_they_lack() {
    let cluster = Cluster::start().await;
    let writes = rule(&["create", "update", "patch", "get"], "rbac.authorization.k8s.io", &["roles"]);
    allow(&cluster, "bob", "bob", json!([writes, rule(&["get"], "", &["pods"])])).await;
    let roles = in_default("roles");
    let as_bob = |method: &'static str, path: String, body: Value| {
        let client = cluster.client.clone();
        async move { call_as(&client, BOB, method, &path, body).await }
    };
    let own = role("pods", json!([rule(&["get"], "", &["pods"])]));
    expect(as_bob("POST", roles.clone(), own), 201).await;
    let secrets = json!([rule(&["get"], "", &["secrets"])]);
    let refused = expect(as_bob("POST", roles.clone(), role("secrets", secrets.clone())), 403).await;
    assert_eq!(
        refused["message"],
        "roles.rbac.authorization.k8s.io \"secrets\" is forbidden: user \"bob\" (groups=[\"dev\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"
    );
    let pods = format!("{roles}/pods");
    expect(as_bob("PATCH", pods.clone(), json!({"rules": secrets})), 403).await;
    expect(as_bob("PATCH", pods.clone(), json!({"metadata": {"labels": {"a": "b"}}})), 200).await;

    allow(
        &cluster,
        "escalates",
        "bob",
        json!([rule(&["escalate"], "rbac.authorization.k8s.io", &["roles"])]),
    )
    .await;
    expect(as_bob("PATCH", pods, json!({"rules": secrets})), 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_bound_by_those_who_have_its_rights_or_the_right_to_bind_it() {
    let cluster = Cluster::start().await;
    let writes = rule(&["create"], "rbac.authorization.k8s.io", &["rolebindings"]);
    allow(&cluster, "bob", "bob", json!([writes])).await;
    let bindings = in_default("rolebindings");
    let bind = |name: &'static str, kind: &'static str, role: &'static str| {
        let (client, bindings) = (cluster.client.clone(), bindings.clone());
        async move { call_as(&client, BOB, "POST", &bindings, binding(name, kind, role, "eve")).await }
    };
    let refused = expect(bind("view", "ClusterRole", "view"), 403).await;
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "rolebindings.rbac.authorization.k8s.io \"view\" is forbidden: user \"bob\" (groups="
        ),
        "{message}"
    );
    assert!(
        message
            .contains("\n{APIGroups:[\"\"], Resources:[\"pods/log\"], Verbs:[\"get\" \"list\" \"watch\"]}")
    );
    let missing = expect(bind("none", "Role", "none"), 404).await;
    assert_eq!(missing["message"], "roles.rbac.authorization.k8s.io \"none\" not found");

    let binds = json!([{"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["view"]}]);
    allow(&cluster, "binds", "bob", binds).await;
    expect(bind("view", "ClusterRole", "view"), 201).await;
    expect(bind("edit", "ClusterRole", "edit"), 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_of_a_namespace_hands_out_rights_in_it() {
    let cluster = Cluster::start().await;
    expect(
        cluster.call("POST", &in_default("rolebindings"), binding("bob", "ClusterRole", "admin", "bob")),
        201,
    )
    .await;
    let bind = |name: &str, role: &str| {
        let (client, body) = (cluster.client.clone(), binding(name, "ClusterRole", role, "eve"));
        async move { call_as(&client, BOB, "POST", &in_default("rolebindings"), body).await }
    };
    expect(bind("edit", "edit"), 201).await;
    expect(bind("all", "cluster-admin"), 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_gathers_the_rules_of_labelled_roles_and_gives_them_back() {
    let cluster = Cluster::start().await;
    let adds = json!({
        "metadata": {"name": "devices-view", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [rule(&["get"], "devices.kubeedge.io", &["devices"])],
    });
    let roles = format!("{RBAC}/clusterroles");
    expect(cluster.call("POST", &roles, adds), 201).await;
    let devices = |role: &'static str| {
        let (client, path) = (cluster.client.clone(), format!("{roles}/{role}"));
        async move {
            let role = support::call(&client, "GET", &path, "application/json", Value::Null).await.1;
            role["rules"].as_array().unwrap().iter().any(|rule| rule["resources"] == json!(["devices"]))
        }
    };
    for role in ["view", "edit", "admin"] {
        eventually("the rule is gathered", || async { devices(role).await.then_some(()) }).await;
    }
    expect(cluster.call("DELETE", &format!("{roles}/devices-view"), Value::Null), 200).await;
    eventually("the rule is gone", || async { (!devices("admin").await).then_some(()) }).await;

    let gathers = json!({"metadata": {"name": "g"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"x": "y"}}]}});
    let writes = json!([rule(&["create"], "rbac.authorization.k8s.io", &["clusterroles"])]);
    expect(cluster.call("POST", &roles, role("writes", writes)), 201).await;
    let bound = binding("writes", "ClusterRole", "writes", "bob");
    expect(cluster.call("POST", &format!("{RBAC}/clusterrolebindings"), bound), 201).await;
    let refused = expect(call_as(&cluster.client, BOB, "POST", &roles, gathers), 403).await;
    assert_eq!(
        refused["message"],
        "clusterroles.rbac.authorization.k8s.io \"g\" is forbidden: must have cluster-admin privileges to use the aggregationRule"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_roles_and_bindings_are_refused_in_kubernetes_words() {
    let cluster = Cluster::start().await;
    let message = |answer: Value| answer["message"].as_str().unwrap().to_owned();
    let wrong = role(
        "r",
        json!([{"verbs": [], "apiGroups": [""], "resources": ["pods"]}, {"verbs": ["get"], "nonResourceURLs": ["/x"]}]),
    );
    assert_eq!(
        message(expect(cluster.call("POST", &in_default("roles"), wrong), 422).await),
        "Role.rbac.authorization.k8s.io \"r\" is invalid: [rules[0].verbs: Required value: verbs must contain at least one value, rules[1].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs]"
    );
    let bindings = in_default("rolebindings");
    expect(cluster.call("POST", &bindings, binding("b", "ClusterRole", "view", "eve")), 201).await;
    let moved = json!({"roleRef": {"name": "edit"}});
    let said = message(expect(cluster.patch("merge-patch+json", &format!("{bindings}/b"), moved), 422).await);
    assert!(said.contains("cannot change roleRef"), "{said}");
    let robot = json!({"subjects": [{"kind": "Robot", "name": "r"}]});
    let said = message(expect(cluster.patch("merge-patch+json", &format!("{bindings}/b"), robot), 422).await);
    assert!(said.contains("subjects[0].kind: Unsupported value: \"Robot\""), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_touches_what_is_its_own_and_nothing_else() {
    let cluster = Cluster::start().await;
    let as_node = |method: &'static str, path: &'static str, body: Value| {
        let client = cluster.client.clone();
        async move { call_as(&client, NODE, method, path, body).await }
    };
    let node = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
    expect(as_node("POST", "/api/v1/nodes", node("n1", json!({"kubernetes.io/hostname": "n1"}))), 201).await;
    let other = expect(as_node("POST", "/api/v1/nodes", node("n2", json!({}))), 403).await;
    assert_eq!(
        other["message"],
        "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\""
    );
    expect(cluster.call("POST", "/api/v1/nodes", node("n2", json!({}))), 201).await;

    let pod = |name: &str, node: &str| {
        json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{
            "name": "c", "image": "i:1", "envFrom": [{"secretRef": {"name": format!("of-{name}")}}],
        }]}})
    };
    let pods = "/api/v1/namespaces/default/pods";
    for (name, node) in [("mine", "n1"), ("other", "n2")] {
        let secret = json!({"metadata": {"name": format!("of-{name}")}});
        expect(cluster.call("POST", "/api/v1/namespaces/default/secrets", secret), 201).await;
        expect(cluster.call("POST", pods, pod(name, node)), 201).await;
    }
    expect(as_node("GET", "/api/v1/namespaces/default/secrets/of-mine", Value::Null), 200).await;
    expect(as_node("GET", "/api/v1/namespaces/default/configmaps/kube-root-ca.crt", Value::Null), 200).await;
    expect(as_node("GET", "/api/v1/namespaces/default/secrets/of-other", Value::Null), 403).await;
    expect(as_node("GET", "/api/v1/secrets", Value::Null), 403).await;
    let mine =
        expect(as_node("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", Value::Null), 200).await;
    assert_eq!(mine["items"].as_array().unwrap().len(), 1);
    for closed in
        ["/api/v1/pods", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2", "/api/v1/nodes", "/api/v1/nodes/n2"]
    {
        expect(as_node("GET", closed, Value::Null), 403).await;
    }
    expect(as_node("GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dn1", Value::Null), 200).await;

    let running = json!({"status": {"phase": "Running"}});
    expect(as_node("PATCH", "/api/v1/namespaces/default/pods/mine/status", running.clone()), 200).await;
    let refused =
        expect(as_node("PATCH", "/api/v1/namespaces/default/pods/other/status", running), 403).await;
    assert_eq!(
        refused["message"],
        "pods \"other\" is forbidden: node \"n1\" can only update pod status for pods with spec.nodeName set to itself"
    );
    let refused = expect(as_node("DELETE", "/api/v1/namespaces/default/pods/other", Value::Null), 403).await;
    assert_eq!(
        refused["message"],
        "pods \"other\" is forbidden: node \"n1\" can only delete pods with spec.nodeName set to itself"
    );
    expect(as_node("POST", pods, pod("own", "n1")), 403).await;
    let trusted = json!({"metadata": {"labels": {"node-restriction.kubernetes.io/trusted": "yes"}}});
    let refused = expect(as_node("PATCH", "/api/v1/nodes/n1", trusted), 403).await;
    assert_eq!(
        refused["message"],
        "nodes \"n1\" is forbidden: node \"n1\" is not allowed to modify labels: node-restriction.kubernetes.io/trusted"
    );
    let free = json!({"spec": {"taints": []}});
    let refused = expect(as_node("PATCH", "/api/v1/nodes/n1", free), 403).await;
    assert_eq!(refused["message"], "nodes \"n1\" is forbidden: node \"n1\" is not allowed to modify taints");

    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}});
    expect(as_node("POST", leases, lease("n1")), 201).await;
    expect(as_node("POST", leases, lease("n2")), 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_says_who_one_is_and_what_one_may() {
    let cluster = Cluster::start().await;
    expect(
        cluster.call("POST", &in_default("rolebindings"), binding("bob", "ClusterRole", "view", "bob")),
        201,
    )
    .await;
    assert_eq!(cluster.must(&["auth", "can-i", "create", "pods"]).await, "yes\n");
    let no = cluster.kubectl(&["auth", "can-i", "create", "pods", "--as=bob"]).await;
    assert_eq!((no.out.as_str(), no.ok), ("no\n", false));
    assert_eq!(cluster.must(&["auth", "can-i", "list", "pods", "--as=bob"]).await, "yes\n");
    assert!(!cluster.kubectl(&["auth", "can-i", "list", "pods", "--as=bob", "-n", "kube-system"]).await.ok);
    let list = cluster.must(&["auth", "can-i", "--list", "--as=bob"]).await;
    assert!(
        list.lines().any(|line| line.starts_with("pods/log ") && line.ends_with("[get list watch]")),
        "{list}"
    );
    assert!(list.lines().any(|line| line.contains("[/healthz]") && line.ends_with("[get]")), "{list}");
    let who = cluster.must(&["auth", "whoami", "--as=bob", "--as-group=dev"]).await;
    assert!(who.contains("Username") && who.contains("bob"), "{who}");
    assert!(who.contains("[dev system:authenticated]"), "{who}");

    let said =
        cluster.kubectl(&["create", "role", "r", "--verb=get", "--resource=secrets", "--as=bob"]).await;
    assert!(said.err.contains("cannot create resource \"roles\""), "{said:?}");
    cluster.must(&["create", "rolebinding", "adm", "--clusterrole=admin", "--user=ann"]).await;
    let said = cluster.kubectl(&["create", "role", "r", "--verb=get", "--resource=nodes", "--as=ann"]).await;
    assert!(
        said.err.contains("is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\"]}"),
        "{said:?}"
    );
    assert!(
        cluster.kubectl(&["create", "role", "r", "--verb=get", "--resource=secrets", "--as=ann"]).await.ok
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_patch_and_not_create_cannot_apply_what_is_not_there() {
    let cluster = Cluster::start().await;
    allow(&cluster, "patches", "bob", json!([rule(&["patch"], "", &["configmaps"])])).await;
    let apply = || {
        let body =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1"}});
        let request = http::Request::builder()
            .method("PATCH")
            .uri("/api/v1/namespaces/default/configmaps/m?fieldManager=bob")
            .header("content-type", "application/apply-patch+yaml")
            .header("impersonate-user", "bob")
            .body(body.to_string().into_bytes().into())
            .unwrap();
        cluster.client.send(request)
    };
    assert_eq!(apply().await.unwrap().status(), 403);
    expect(
        cluster.call("POST", "/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": "m"}})),
        201,
    )
    .await;
    assert_eq!(apply().await.unwrap().status(), 200);
}
