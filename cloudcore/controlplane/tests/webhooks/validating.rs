//! Webhooks that refuse.

use serde_json::{Value, json};

use crate::hook::{Hook, register};
use crate::support::{Cluster, expect};
use crate::{create, map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_the_webhooks_own_and_nothing_is_stored() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    register(&cluster, "Validating", "deny", &[hook.webhook("deny.hooks.io", "/deny")]).await;
    let said = create(&cluster, &map("m", "")).await;
    let words = "Error from server (Forbidden): error when creating";
    assert!(said.err.starts_with(words), "{said:?}");
    assert!(
        said.err.contains(": admission webhook \"deny.hooks.io\" denied the request: not here\n"),
        "{said:?}"
    );
    expect(cluster.call("GET", &format!("{MAPS}/m"), Value::Null), 404).await;
    // It saw what would have been stored.
    let asked = &hook.asked("/deny")[0];
    assert!(
        asked["object"]["metadata"]["uid"].is_string()
            && asked["object"]["metadata"]["managedFields"].is_array()
    );
    cluster.must(&["delete", "validatingwebhookconfiguration", "deny"]).await;
    assert!(create(&cluster, &map("m", "")).await.ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_rules_come_before_a_webhook_and_quotas_after_it() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    register(&cluster, "Validating", "see", &[hook.webhook("see.hooks.io", "/see")]).await;
    let wrong = json!({"metadata": {"name": "m"}, "data": {"not a key!": "b"}});
    expect(cluster.call("POST", MAPS, wrong), 422).await;
    assert!(hook.asked("/see").is_empty());
    cluster.must(&["create", "quota", "few", "--hard=configmaps=0"]).await;
    let status = expect(cluster.call("POST", MAPS, json!({"metadata": {"name": "m"}})), 403).await;
    assert!(status["message"].as_str().unwrap().contains("exceeded quota: few"), "{status}");
    assert_eq!(hook.asked("/see").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_reach_kubectl() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    register(&cluster, "Validating", "warn", &[hook.webhook("warn.hooks.io", "/warn")]).await;
    let said = create(&cluster, &map("m", "")).await;
    assert!(said.ok && said.err == "Warning: mind the gap\n", "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_and_conditions_choose_what_is_asked_about() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    cluster.must(&["create", "namespace", "guarded"]).await;
    cluster.must(&["label", "namespace", "guarded", "guard=yes"]).await;
    let with = |name: &str, field: &str, value: Value| {
        let mut webhook = hook.webhook(&format!("{name}.hooks.io"), &format!("/allow/{name}"));
        webhook[field] = value;
        webhook
    };
    let condition = json!([{"name": "not-mine", "expression": "object.metadata.name != 'mine' && request.userInfo.username == 'kubernetes-admin'"}]);
    let webhooks = [
        with("namespace", "namespaceSelector", json!({"matchLabels": {"guard": "yes"}})),
        with(
            "object",
            "objectSelector",
            json!({"matchExpressions": [{"key": "seen", "operator": "Exists"}]}),
        ),
        with("condition", "matchConditions", condition),
    ];
    register(&cluster, "Validating", "choosy", &webhooks).await;
    for (namespace, name, labels) in
        [("default", "mine", ""), ("default", "seen", "seen: x"), ("guarded", "g", "")]
    {
        let file = cluster.manifest("m.yaml", &map(name, labels));
        cluster.must(&["create", "-n", namespace, "-f", &file]).await;
    }
    let names =
        |path: &str| -> Vec<Value> { hook.asked(path).iter().map(|asked| asked["name"].clone()).collect() };
    // The server's own writers create config maps in every namespace, too.
    let ours = |path: &str| -> Vec<Value> {
        names(path).into_iter().filter(|name| name != "kube-root-ca.crt").collect()
    };
    assert_eq!(ours("/allow/namespace"), ["g"]);
    assert_eq!(ours("/allow/object"), ["seen"]);
    assert_eq!(ours("/allow/condition"), ["seen", "g"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_are_asked_about_with_what_would_go() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    assert!(create(&cluster, &map("m", "")).await.ok);
    let mut deny = hook.webhook("deny.hooks.io", "/deny");
    deny["rules"][0]["operations"] = json!(["DELETE"]);
    register(&cluster, "Validating", "deny", &[deny]).await;
    let said = cluster.kubectl(&["delete", "configmap", "m"]).await;
    assert!(
        said.err.contains("admission webhook \"deny.hooks.io\" denied the request: not here"),
        "{said:?}"
    );
    let said = cluster.kubectl(&["delete", "configmaps", "--all"]).await;
    assert!(said.err.contains("denied the request"), "{said:?}");
    let asked = &hook.asked("/deny")[0];
    assert_eq!((&asked["object"], &asked["oldObject"]["data"]), (&Value::Null, &json!({"a": "b"})));
    assert_eq!((&asked["operation"], &asked["options"]["kind"]), (&json!("DELETE"), &json!("DeleteOptions")));
    assert_eq!(asked["options"]["propagationPolicy"], "Background");
    cluster.must(&["get", "configmap", "m"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evictions_tokens_and_connections_are_asked_about() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: c, image: 'nginx:1.27'}]\n";
    assert!(create(&cluster, pod).await.ok);
    let mut deny = hook.webhook("deny.hooks.io", "/deny");
    deny["rules"] = json!([{
        "apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE", "CONNECT"],
        "resources": ["pods/eviction", "pods/exec", "serviceaccounts/token"],
    }]);
    register(&cluster, "Validating", "deny", &[deny]).await;
    let pod = "/api/v1/namespaces/default/pods/web";
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web", "namespace": "default"}});
    expect(cluster.call("POST", &format!("{pod}/eviction"), eviction), 403).await;
    expect(cluster.call("POST", &format!("{pod}/exec?command=ls&command=-l&stdout=true"), Value::Null), 403)
        .await;
    let said = cluster.kubectl(&["create", "token", "default"]).await;
    assert!(said.err.contains("denied the request: not here"), "{said:?}");
    let asked = hook.asked("/deny");
    let kinds: Vec<_> =
        asked.iter().map(|asked| (asked["operation"].clone(), asked["kind"]["kind"].clone())).collect();
    assert_eq!(
        kinds,
        [
            (json!("CREATE"), json!("Eviction")),
            (json!("CONNECT"), json!("PodExecOptions")),
            (json!("CREATE"), json!("TokenRequest")),
        ]
    );
    assert_eq!(asked[1]["object"]["command"], json!(["ls", "-l"]));
    cluster.must(&["get", "pod", "web"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_created_while_a_webhook_takes_its_time_about_another() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let mut slow = hook.webhook("slow.hooks.io", "/slow");
    slow["rules"][0]["resources"] = json!(["services"]);
    slow["objectSelector"] = json!({"matchLabels": {"slow": "yes"}});
    slow["timeoutSeconds"] = json!(4);
    register(&cluster, "Validating", "slow", &[slow]).await;
    cluster.must(&["create", "quota", "some", "--hard=services=5"]).await;
    let service = |name: &str, slow: &str| {
        let ports = json!([{"port": 80}]);
        json!({"metadata": {"name": name, "labels": {"slow": slow}}, "spec": {"type": "NodePort", "ports": ports}})
    };
    let path = "/api/v1/namespaces/default/services";
    let waiting = expect(cluster.call("POST", path, service("a", "yes")), 500);
    let quick = async {
        while hook.asked("/slow").is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let begun = tokio::time::Instant::now();
        expect(cluster.call("POST", path, service("b", "no")), 201).await;
        begun.elapsed()
    };
    let (status, took) = tokio::join!(waiting, quick);
    assert!(status["message"].as_str().unwrap().ends_with("context deadline exceeded"), "{status}");
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
    // It saw the address that the service would have got.
    assert!(hook.asked("/slow")[0]["object"]["spec"]["clusterIP"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_others_overtook_is_asked_about_again() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    assert!(create(&cluster, &map("m", "")).await.ok);
    let mut pause = hook.webhook("pause.hooks.io", "/pause");
    pause["rules"][0]["operations"] = json!(["UPDATE"]);
    register(&cluster, "Validating", "pause", &[pause]).await;
    let path = format!("{MAPS}/m");
    let change = async |key: &str| {
        expect(cluster.patch("merge-patch+json", &path, json!({"data": {key: "x"}})), 200).await
    };
    let quick = async {
        while hook.asked("/pause").is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        change("quick").await
    };
    let (slow, _) = tokio::join!(change("slow"), quick);
    assert_eq!(slow["data"], json!({"a": "b", "quick": "x", "slow": "x"}));
    let asked = hook.asked("/pause");
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[2]["oldObject"]["data"], json!({"a": "b", "quick": "x"}));
}
