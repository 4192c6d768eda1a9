//! What the audit log tells.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use std::path::Path;

use controlplane::{AuditConfig, Config, ControlPlane};
use serde_json::{Value, json};
use support::{Cluster, call, call_as, config, events, eventually, expect};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

fn audited(policy: Option<&str>) -> impl FnOnce(&mut Config) {
    let policy = policy.map(str::to_owned);
    move |config| {
        let dir = config.data_dir.parent().unwrap().to_owned();
        let file = dir.join("policy.yaml");
        if let Some(text) = &policy {
            std::fs::write(&file, format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{text}")).unwrap();
        }
        let policy = policy.map(|_| file);
        let path = dir.join("audit.log");
        config.audit = Some(AuditConfig { path, policy, max_bytes: 1 << 20, max_files: 3 });
    }
}

async fn start(policy: Option<&str>) -> Cluster {
    Cluster::start_with(tempfile::tempdir().unwrap(), audited(policy)).await
}

fn lines(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("audit.log")).unwrap();
    // The last line may be on its way.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Waits for the event that fits.
async fn told(cluster: &Cluster, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || {
        let found = lines(cluster.dir.path()).into_iter().find(|line| fits(line));
        async move { found }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_told_with_who_what_and_why_it_was_allowed() {
    let cluster = start(None).await;
    let binding = json!({
        "metadata": {"name": "bob"}, "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": "bob"}],
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    expect(cluster.call("POST", bindings, binding), 201).await;
    let admin = cluster.tls_client().await;
    expect(call_as(&admin, ("bob", &["dev"]), "GET", MAPS, Value::Null), 200).await;
    let allowed = told(&cluster, "bob's list", |line| line["impersonatedUser"]["username"] == "bob").await;
    assert_eq!((&allowed["kind"], &allowed["apiVersion"]), (&json!("Event"), &json!("audit.k8s.io/v1")));
    assert_eq!(allowed["level"], "Metadata");
    assert_eq!(allowed["stage"], "ResponseComplete");
    assert_eq!((&allowed["verb"], &allowed["requestURI"]), (&json!("list"), &json!(MAPS)));
    assert_eq!(allowed["user"]["username"], "kubernetes-admin");
    assert_eq!(allowed["impersonatedUser"]["groups"], json!(["dev", "system:authenticated"]));
    assert_eq!(allowed["sourceIPs"], json!(["127.0.0.1"]));
    assert_eq!(
        allowed["objectRef"],
        json!({"resource": "configmaps", "namespace": "default", "apiVersion": "v1"})
    );
    assert_eq!(allowed["responseStatus"], json!({"metadata": {}, "code": 200}));
    assert_eq!(
        allowed["annotations"],
        json!({
            "authorization.k8s.io/decision": "allow",
            "authorization.k8s.io/reason": "RBAC: allowed by RoleBinding \"bob/default\" of ClusterRole \"view\" to User \"bob\"",
        })
    );
    expect(call_as(&admin, ("bob", &[]), "DELETE", &format!("{MAPS}/kube-root-ca.crt"), Value::Null), 403)
        .await;
    let denied = told(&cluster, "bob's deletion", |line| line["verb"] == "delete").await;
    assert_eq!(denied["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(denied["objectRef"]["name"], "kube-root-ca.crt");
    assert_eq!(denied["responseStatus"]["reason"], "Forbidden");
    let wrong = cluster.stranger(Some("wrong"));
    expect(call(&wrong, "GET", MAPS, "application/json", Value::Null), 401).await;
    let unknown = told(&cluster, "the wrong token", |line| line["responseStatus"]["code"] == 401).await;
    assert_eq!(unknown["user"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_id_of_its_event() {
    let cluster = start(None).await;
    let request = http::Request::builder().uri(MAPS).body(Vec::new().into()).unwrap();
    let response = cluster.client.send(request).await.unwrap();
    let id = response.headers()["audit-id"].to_str().unwrap().to_owned();
    let event = told(&cluster, "the list", |line| line["auditID"] == *id).await;
    assert_eq!(event["user"]["username"], "system:cloudcore");
    let brought =
        http::Request::builder().uri(MAPS).header("audit-id", "mine").body(Vec::new().into()).unwrap();
    let response = cluster.client.send(brought).await.unwrap();
    assert_eq!(response.headers()["audit-id"], "mine");
    let plain = Cluster::start().await;
    let request = http::Request::builder().uri(MAPS).body(Vec::new().into()).unwrap();
    assert!(plain.client.send(request).await.unwrap().headers().contains_key("audit-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_told_when_it_begins_and_when_it_ends() {
    let cluster = start(None).await;
    let watch = format!("{MAPS}?watch=true&timeoutSeconds=1&resourceVersion=0");
    assert!(!events(&cluster.client, &watch, usize::MAX).await.is_empty());
    let of = |stage: &'static str| move |line: &Value| line["verb"] == "watch" && line["stage"] == stage;
    let started = told(&cluster, "the beginning", of("ResponseStarted")).await;
    let ended = told(&cluster, "the end", of("ResponseComplete")).await;
    assert_eq!(started["auditID"], ended["auditID"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_decides_what_is_told_and_secrets_stay_secret() {
    let policy = "
omitStages: [RequestReceived]
rules:
- {level: None, nonResourceURLs: ['/version']}
- {level: None, users: ['system:cloudcore'], verbs: [get]}
- {level: RequestResponse}
";
    let cluster = start(Some(policy)).await;
    let map = json!({"metadata": {"name": "m"}, "data": {"a": "told"}});
    expect(cluster.call("POST", MAPS, map.clone()), 201).await;
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"a": "hidden"}});
    expect(cluster.call("POST", SECRETS, secret), 201).await;
    expect(cluster.call("GET", "/version", Value::Null), 200).await;
    expect(cluster.call("GET", &format!("{MAPS}/m"), Value::Null), 200).await;
    let made = told(&cluster, "the map", |line| line["objectRef"]["resource"] == "configmaps").await;
    assert_eq!(made["level"], "RequestResponse");
    assert_eq!(made["requestObject"], map);
    assert_eq!(made["responseObject"]["data"], json!({"a": "told"}));
    let kept = told(&cluster, "the secret", |line| line["objectRef"]["resource"] == "secrets").await;
    assert_eq!(kept["level"], "Metadata");
    let dir = cluster.stop().await;
    let all = lines(dir.path());
    assert!(!all.iter().any(|line| line["verb"] == "get"), "{all:?}");
    let text = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
    assert!(!text.contains("hidden") && !text.contains("aGlkZGVu"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_full_is_put_aside_and_nothing_is_lost_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_with(dir, |config| {
        audited(None)(config);
        config.audit.as_mut().unwrap().max_bytes = 8000;
    })
    .await;
    for at in 0..40 {
        expect(cluster.call("GET", &format!("{MAPS}/none-{at}"), Value::Null), 404).await;
    }
    let dir = cluster.stop().await;
    assert_eq!(lines(dir.path()).last().unwrap()["objectRef"]["name"], "none-39");
    assert!(dir.path().join("audit.log.1").exists() && !dir.path().join("audit.log.4").exists());
    let size = std::fs::metadata(dir.path().join("audit.log.1")).unwrap().len();
    assert!((4000..=8000).contains(&size), "{size}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_policy_or_path_keeps_the_server_from_starting_blind() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |change: fn(&mut AuditConfig)| {
        let mut config = config(dir.path());
        audited(Some("rules: [{level: Loud}]"))(&mut config);
        change(config.audit.as_mut().unwrap());
        async move { ControlPlane::open(config).await.unwrap_err().to_string() }
    };
    let said = refused(|_| {}).await;
    assert!(said.starts_with("the audit policy ") && said.contains("Loud"), "{said}");
    let said = refused(|audit| audit.policy = Some("/none/policy.yaml".into())).await;
    assert!(said.ends_with("check modules.controlPlane.audit.policy"), "{said}");
    let said = refused(|audit| {
        audit.policy = None;
        audit.path = "/proc/none/audit.log".into();
    })
    .await;
    assert!(said.ends_with("check modules.controlPlane.audit.path"), "{said}");
}
