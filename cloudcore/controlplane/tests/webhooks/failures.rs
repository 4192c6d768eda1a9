//! Webhooks that cannot be asked, and what becomes of the request.

use std::time::Duration;

use serde_json::{Value, json};

use crate::hook::{Certificates, Hook, free, register, webhook};
use crate::support::{Cluster, expect};
use crate::{create, map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn post(cluster: &Cluster, code: u16) -> String {
    let body = json!({"metadata": {"generateName": "m-"}});
    let status = expect(cluster.call("POST", MAPS, body), code).await;
    status["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_down_fails_the_request_until_it_is_up() {
    let cluster = Cluster::start().await;
    let (address, certificates) = (free(), Certificates::new());
    let down = webhook("down.hooks.io", address, "/label/up", &certificates.bundle);
    register(&cluster, "Mutating", "down", &[down]).await;
    let said = create(&cluster, &map("m", "")).await;
    let words = format!(
        "Internal error occurred: failed calling webhook \"down.hooks.io\": failed to call webhook: Post \"https://{address}/label/up?timeout=10s\": connect: connection refused"
    );
    assert!(said.err.contains(&words), "{said:?}");
    // The registrations live in the store: they hold after a restart, and the webhook is found when it comes.
    let cluster = cluster.restart().await;
    assert!(!create(&cluster, &map("m", "")).await.ok);
    let hook = Hook::start_at(address, certificates).await;
    assert!(create(&cluster, &map("m", "")).await.ok);
    assert_eq!(hook.asked("/label/up").len(), 1);
    assert_eq!(cluster.json(&["get", "configmap", "m"]).await["metadata"]["labels"], json!({"up": "none"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_may_be_ignored_is() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let ignored = |name: &str, path: &str| {
        let mut webhook = hook.webhook(&format!("{name}.hooks.io"), path);
        webhook["failurePolicy"] = json!("Ignore");
        webhook
    };
    let mut down = ignored("down", "/allow");
    down["clientConfig"]["url"] = json!(format!("https://{}/", free()));
    let bad = [
        ignored("broken", "/broken"),
        ignored("garbage", "/garbage"),
        ignored("stranger", "/stranger"),
        down,
    ];
    register(&cluster, "Validating", "bad", &bad).await;
    register(&cluster, "Mutating", "bad", &bad).await;
    assert!(create(&cluster, &map("m", "")).await.ok);
    assert_eq!(hook.asked("/broken").len(), 2);
    // A refusal is an answer: it counts.
    register(&cluster, "Validating", "deny", &[ignored("deny", "/deny")]).await;
    assert!(!create(&cluster, &map("n", "")).await.ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fail_has_its_words() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let failed = "Internal error occurred: failed calling webhook \"bad.hooks.io\": ";
    let url =
        |path: &str, seconds: u64| format!("Post \"https://{}{path}?timeout={seconds}s\": ", hook.address);
    for (path, seconds, words) in [
        ("/broken", 10, "failed to call webhook: an error on the server (\"boom\") has prevented the request from succeeding".to_owned()),
        ("/slow", 1, format!("failed to call webhook: {}context deadline exceeded", url("/slow", 1))),
    ] {
        let mut bad = hook.webhook("bad.hooks.io", path);
        bad["timeoutSeconds"] = json!(seconds);
        register(&cluster, "Validating", "bad", &[bad]).await;
        assert_eq!(post(&cluster, 500).await, format!("{failed}{words}"));
    }
    register(&cluster, "Validating", "bad", &[hook.webhook("bad.hooks.io", "/stranger")]).await;
    let message = post(&cluster, 500).await;
    assert!(
        message.starts_with(&format!("{failed}received invalid webhook response: expected response.uid=")),
        "{message}"
    );
    register(&cluster, "Validating", "bad", &[hook.webhook("bad.hooks.io", "/garbage")]).await;
    let message = post(&cluster, 500).await;
    assert!(
        message.starts_with(&format!("{failed}failed to call webhook: couldn't get version/kind")),
        "{message}"
    );
    let mut stranger = hook.webhook("bad.hooks.io", "/allow");
    stranger["clientConfig"]["caBundle"] = json!(Certificates::new().bundle);
    register(&cluster, "Validating", "bad", &[stranger]).await;
    let words = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert_eq!(
        post(&cluster, 500).await,
        format!("{failed}failed to call webhook: {}{words}", url("/allow", 10))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_calls_only_who_does_no_harm() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    register(&cluster, "Mutating", "label", &[hook.webhook("label.hooks.io", "/label/seen")]).await;
    let file = cluster.manifest("m.yaml", &map("m", ""));
    let text = cluster.must(&["create", "--dry-run=server", "-o", "json", "-f", &file]).await;
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown["metadata"]["labels"], json!({"seen": "none"}));
    let asked = &hook.asked("/label/seen")[0];
    assert_eq!((&asked["dryRun"], &asked["options"]["dryRun"]), (&json!(true), &json!(["All"])));
    expect(cluster.call("GET", &format!("{MAPS}/m"), Value::Null), 404).await;
    // Version 1 takes no webhook whose effects are unknown, so none is ever kept from a dry run.
    let mut unknown = hook.webhook("label.hooks.io", "/label/seen");
    unknown["sideEffects"] = json!("Unknown");
    let configuration = json!({"metadata": {"name": "unknown"}, "webhooks": [unknown]});
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    let status = expect(cluster.call("POST", path, configuration), 422).await;
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("webhooks[0].sideEffects: Unsupported value: \"Unknown\""),
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_found_by_its_endpoints_under_its_own_name() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let mut label = hook.webhook("label.hooks.io", "/label/seen");
    let service = json!({"name": "hook", "namespace": "default", "path": "/label/seen"});
    label["clientConfig"] = json!({"service": service, "caBundle": hook.bundle});
    register(&cluster, "Mutating", "label", &[label]).await;
    let failed = "Internal error occurred: failed calling webhook \"label.hooks.io\": failed to call webhook: Post \"https://hook.default.svc:443/label/seen?timeout=10s\": ";
    assert_eq!(post(&cluster, 500).await, format!("{failed}service \"hook\" not found"));
    let service = json!({"metadata": {"name": "hook"}, "spec": {"ports": [{"name": "https", "port": 443}]}});
    expect(cluster.call("POST", "/api/v1/namespaces/default/services", service), 201).await;
    assert_eq!(post(&cluster, 500).await, format!("{failed}no endpoints available for service \"hook\""));
    let slice = json!({
        "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}}, "addressType": "IPv4",
        "ports": [{"name": "https", "port": hook.address.port()}], "endpoints": [{"addresses": [hook.address.ip()]}],
    });
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    expect(cluster.call("POST", slices, slice), 201).await;
    post(&cluster, 201).await;
    assert_eq!(hook.asked("/label/seen").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_are_never_sent_to_webhooks_so_that_none_locks_everybody_out() {
    let cluster = Cluster::start().await;
    let mut all = webhook("all.hooks.io", free(), "/", &Certificates::new().bundle);
    all["rules"] =
        json!([{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]}]);
    register(&cluster, "Validating", "all", std::slice::from_ref(&all)).await;
    register(&cluster, "Mutating", "all", &[all]).await;
    assert!(!create(&cluster, &map("m", "")).await.ok);
    cluster.must(&["delete", "validatingwebhookconfigurations,mutatingwebhookconfigurations", "--all"]).await;
    tokio::time::timeout(Duration::from_secs(10), create(&cluster, &map("m", ""))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_served_while_many_wait_for_a_slow_webhook() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let mut slow = hook.webhook("slow.hooks.io", "/slow");
    slow["timeoutSeconds"] = json!(4);
    register(&cluster, "Validating", "slow", &[slow.clone()]).await;
    register(&cluster, "Mutating", "slow", &[slow]).await;
    // More than there are turns.
    let many = futures::future::join_all((0..300).map(|_| post(&cluster, 500)));
    let other = async {
        while hook.asked("/slow").len() < 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let begun = tokio::time::Instant::now();
        expect(cluster.call("GET", "/api/v1/namespaces/default", Value::Null), 200).await;
        begun.elapsed()
    };
    let (messages, took) = tokio::join!(many, other);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(messages.iter().all(|message| message.ends_with("context deadline exceeded")));
}
