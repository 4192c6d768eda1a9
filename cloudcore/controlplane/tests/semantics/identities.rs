//! Who somebody is, and what that allows.

use serde_json::{Value, json};

use crate::map;
use crate::support::{Cluster, call, expect};

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_told_who_they_are_and_that_they_may_not() {
    let cluster = Cluster::start().await;
    let get = |client: kube::Client, path: &'static str| async move {
        call(&client, "GET", path, "application/json", Value::Null).await
    };
    let nobody = cluster.stranger(None);
    for open in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(get(nobody.clone(), open).await, (200, json!("ok")));
    }
    assert_eq!(get(nobody.clone(), "/version").await.1["major"], "1");
    let denied = expect(get(nobody.clone(), "/api/v1/namespaces/default/pods"), 403).await;
    assert_eq!(
        denied["message"],
        "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    expect(get(nobody, "/apis"), 403).await;
    let wrong = expect(get(cluster.stranger(Some("wrong")), "/api/v1/pods"), 401).await;
    assert_eq!(wrong["message"], "Unauthorized");

    let request = json!({"spec": {"expirationSeconds": 600}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let issued = expect(cluster.call("POST", path, request), 201).await;
    let account = cluster.stranger(issued["status"]["token"].as_str());
    let denied = expect(get(account.clone(), "/api/v1/namespaces/default/pods"), 403).await;
    assert!(
        denied["message"]
            .as_str()
            .unwrap()
            .contains("User \"system:serviceaccount:default:default\" cannot list")
    );
    expect(get(account.clone(), "/apis"), 200).await;
    let question = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let me = expect(call(&account, "POST", question, "application/json", json!({})), 201).await;
    assert_eq!(me["status"]["userInfo"]["username"], "system:serviceaccount:default:default");
    let master = cluster.tls_client().await;
    expect(get(master, "/api/v1/namespaces/default/pods"), 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_may_do_what_is_bound_to_it_where_it_is_bound_and_no_longer() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let issued = expect(cluster.call("POST", path, json!({"spec": {"expirationSeconds": 600}})), 201).await;
    let account = cluster.stranger(issued["status"]["token"].as_str());
    let get = |path: &'static str| call(&account, "GET", path, "application/json", Value::Null);
    expect(get("/api/v1/namespaces/default/pods"), 403).await;

    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let binding = json!({
        "metadata": {"name": "reads"},
        "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    });
    expect(cluster.call("POST", bindings, binding), 201).await;
    expect(get("/api/v1/namespaces/default/pods"), 200).await;
    expect(get("/api/v1/namespaces/kube-system/pods"), 403).await;
    expect(get("/api/v1/pods"), 403).await;
    let secrets = expect(get("/api/v1/namespaces/default/secrets"), 403).await;
    assert!(secrets["message"].as_str().unwrap().contains("cannot list resource \"secrets\""), "{secrets}");
    let made = call(
        &account,
        "POST",
        "/api/v1/namespaces/default/configmaps",
        "application/json",
        map("a", json!({})),
    );
    expect(made, 403).await;

    let question = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let may = |verb: &'static str| {
        let spec = json!({"resourceAttributes": {"namespace": "default", "verb": verb, "resource": "pods"}});
        call(&account, "POST", question, "application/json", json!({"spec": spec}))
    };
    assert_eq!(expect(may("watch"), 201).await["status"]["allowed"], true);
    assert_eq!(expect(may("delete"), 201).await["status"]["allowed"], false);

    expect(cluster.call("DELETE", &format!("{bindings}/reads"), Value::Null), 200).await;
    expect(get("/api/v1/namespaces/default/pods"), 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn speaking_for_another_takes_the_right_to_and_gives_no_more_than_the_other_has() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let issued = expect(cluster.call("POST", path, json!({"spec": {"expirationSeconds": 600}})), 201).await;
    let account = cluster.stranger(issued["status"]["token"].as_str());
    let as_bob = |group: Option<&'static str>| {
        let account = account.clone();
        async move {
            let mut request = http::Request::builder()
                .uri("/api/v1/namespaces/default/pods")
                .header("impersonate-user", "bob");
            if let Some(group) = group {
                request = request.header("impersonate-group", group);
            }
            account.send(request.body(Vec::new().into()).unwrap()).await.unwrap().status().as_u16()
        }
    };
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = |name: &str, rule: Value| json!({"metadata": {"name": name}, "rules": [rule]});
    let bind = |name: &str, subject: Value| {
        json!({
            "metadata": {"name": name}, "roleRef": {"kind": "ClusterRole", "name": name}, "subjects": [subject],
        })
    };
    let reads = json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]});
    let bob = json!({"kind": "User", "name": "bob"});
    let roles = format!("{rbac}/clusterroles");
    let bindings = format!("{rbac}/clusterrolebindings");
    expect(cluster.call("POST", &roles, role("reads", reads)), 201).await;
    expect(cluster.call("POST", &bindings, bind("reads", bob)), 201).await;
    assert_eq!(as_bob(None).await, 403);

    let speaks = json!({"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]});
    let me = json!({"kind": "ServiceAccount", "name": "default", "namespace": "default"});
    expect(cluster.call("POST", &roles, role("speaks", speaks)), 201).await;
    expect(cluster.call("POST", &bindings, bind("speaks", me)), 201).await;
    assert_eq!(as_bob(None).await, 200);
    assert_eq!(as_bob(Some("system:masters")).await, 403);
    let denied = call(&account, "GET", "/api/v1/namespaces/default/pods", "application/json", Value::Null);
    expect(denied, 403).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn default_roles_are_mended_at_start_unless_their_owner_said_not_to() {
    let cluster = Cluster::start().await;
    let role = |name: &str| format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}");
    let emptied = json!({"rules": []});
    expect(cluster.patch("merge-patch+json", &role("system:aggregate-to-view"), emptied), 200).await;
    let own = json!({"rules": [], "metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}});
    expect(cluster.patch("merge-patch+json", &role("system:basic-user"), own), 200).await;
    let cluster = cluster.restart().await;
    let rules = |role: Value| role["rules"].as_array().map_or(0, Vec::len);
    assert!(rules(expect(cluster.call("GET", &role("view"), Value::Null), 200).await) > 0);
    assert_eq!(rules(expect(cluster.call("GET", &role("system:basic-user"), Value::Null), 200).await), 0);
}
