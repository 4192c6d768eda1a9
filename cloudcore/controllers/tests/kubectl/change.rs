//! Changing what is there: labels, taints, images, patches, edits, scales, debug containers.

use serde_json::{Value, json};

use super::{Running, deployment};
use crate::support::cluster::KUBECTL;

/// Commands in their order, what they print, and what of the Deployment is then what.
const CHANGES: &[(&str, &str, &str, &str)] = &[
    ("label deploy web tier=a", "deployment.apps/web labeled", "/metadata/labels/tier", "a"),
    ("label deploy web tier=b --overwrite", "deployment.apps/web labeled", "/metadata/labels/tier", "b"),
    ("annotate deploy web note=hi", "deployment.apps/web annotated", "/metadata/annotations/note", "hi"),
    (
        "set image deploy/web http=http:2",
        "deployment.apps/web image updated",
        "/spec/template/spec/containers/0/image",
        "http:2",
    ),
    (
        "set env deploy/web A=b",
        "deployment.apps/web env updated",
        "/spec/template/spec/containers/0/env/0/value",
        "b",
    ),
    (
        "set resources deploy web --limits=cpu=200m",
        "deployment.apps/web resource requirements updated",
        "/spec/template/spec/containers/0/resources/limits/cpu",
        "200m",
    ),
    (
        "set serviceaccount deploy web default",
        "deployment.apps/web serviceaccount updated",
        "/spec/template/spec/serviceAccountName",
        "default",
    ),
    (
        "patch deploy web -p {\"spec\":{\"template\":{\"spec\":{\"hostname\":\"a\"}}}}",
        "deployment.apps/web patched",
        "/spec/template/spec/hostname",
        "a",
    ),
    (
        "patch deploy web --type=merge -p {\"spec\":{\"template\":{\"spec\":{\"hostname\":\"b\"}}}}",
        "deployment.apps/web patched",
        "/spec/template/spec/hostname",
        "b",
    ),
    (
        "patch deploy web --type=json -p [{\"op\":\"replace\",\"path\":\"/spec/template/spec/hostname\",\"value\":\"c\"}]",
        "deployment.apps/web patched",
        "/spec/template/spec/hostname",
        "c",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_changes_what_it_says_and_is_remembered_as_its_owner() {
    let running = Running::start().await;
    running.must(&format!("create -f {}", running.cluster.manifest("web.yaml", &deployment("web", 1)))).await;
    for (command, said, field, value) in CHANGES {
        assert_eq!(running.must(command).await, format!("{said}\n"), "{command}");
        let web = running.cluster.json(&["get", "deploy", "web"]).await;
        assert_eq!(web.pointer(field), Some(&json!(value)), "{command}: {web:#}");
    }
    let managers = "get deploy web -o jsonpath={.metadata.managedFields[*].manager} --show-managed-fields";
    let managers = running.must(managers).await;
    for manager in ["kubectl-create", "kubectl-label", "kubectl-annotate", "kubectl-set", "kubectl-patch"] {
        assert!(managers.split(' ').any(|one| one == manager), "{manager} is not in {managers}");
    }
    assert_eq!(
        running.fails("label deploy web tier=c").await,
        "error: 'tier' already has a value (b), and --overwrite is false\n"
    );
    assert_eq!(
        running.fails("patch deploy web --type=json -p [{\"op\":\"remove\",\"path\":\"/spec/nope\"}]").await,
        "The request is invalid: the server rejected our request due to an error in our request\n"
    );
    running.must("create configmap c").await;
    let patch = "patch configmap c --type=merge -p {\"data\":{\"a\":\"b\"}}";
    assert_eq!(running.must(patch).await, "configmap/c patched\n");
    assert_eq!(running.must(patch).await, "configmap/c patched (no change)\n");
    assert_eq!(running.must("taint node edge1 k=v:NoSchedule").await, "node/edge1 tainted\n");
    assert_eq!(running.must("taint node edge1 k:NoSchedule-").await, "node/edge1 untainted\n");
    assert_eq!(running.cluster.json(&["get", "node", "edge1"]).await["spec"].get("taints"), None);

    let script = running.cluster.manifest("edit.sh", "#!/bin/sh\nsed -i 's/http:2/http:3/' \"$1\"\n");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (editor, said) in
        [(script.as_str(), "deployment.apps/web edited\n"), ("true", "Edit cancelled, no changes made.\n")]
    {
        let mut edit = running.cluster.command(KUBECTL, &["edit", "deploy", "web"]);
        let output = edit.env("KUBE_EDITOR", editor).output().await.unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(text, said);
    }
    // A replacement is of the version that kubectl saw: nobody else may be writing.
    let settled = |web: &Value| {
        let status = &web["status"];
        status["observedGeneration"] == web["metadata"]["generation"]
            && status["replicas"] == 1
            && status["availableReplicas"] == 1
            && status["terminatingReplicas"].as_i64().unwrap_or_default() == 0
    };
    running.until("/apis/apps/v1/namespaces/default/deployments/web", "settled", settled).await;
    let file = running.cluster.manifest("web.yaml", &deployment("web", 1));
    assert_eq!(running.must(&format!("replace -f {file}")).await, "deployment.apps/web replaced\n");
    let image = running.cluster.json(&["get", "deploy", "web"]).await;
    assert_eq!(image["spec"]["template"]["spec"]["containers"][0]["image"], "http:1");
    let uid = image["metadata"]["uid"].clone();
    assert_eq!(
        running.must(&format!("replace --force -f {file}")).await,
        "deployment.apps \"web\" deleted\ndeployment.apps/web replaced\n"
    );
    assert_ne!(running.cluster.json(&["get", "deploy", "web"]).await["metadata"]["uid"], uid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scale_is_refused_when_somebody_scaled_before_and_has_columns_of_its_own() {
    let running = Running::start().await;
    running.apply("web.yaml", &deployment("web", 1)).await;
    assert_eq!(running.must("scale deploy/web --replicas=3").await, "deployment.apps/web scaled\n");
    assert_eq!(
        running.fails("scale deploy/web --current-replicas=9 --replicas=1").await,
        "error: Expected replicas to be 9, was 3\n"
    );
    running.rolled_out("web").await;
    let table = running.must("get deploy web --subresource=scale").await;
    assert_eq!(super::lines(&table)[0], "NAME DESIRED AVAILABLE AGE");
    assert!(super::lines(&table)[1].starts_with("web 3 3 "), "{table}");
    assert_eq!(
        running.must("scale deploy/web --current-replicas=3 --replicas=2").await,
        "deployment.apps/web scaled\n"
    );
    assert_eq!(
        running.must("autoscale deploy web --min=1 --max=5 --cpu-percent=70").await,
        "horizontalpodautoscaler.autoscaling/web autoscaled\n"
    );
    let table = running.must("get hpa").await;
    assert!(super::lines(&table)[1].starts_with("web Deployment/web cpu: <unknown>/70% 1 5 0 "), "{table}");
    let old = running.cluster.json(&["get", "horizontalpodautoscalers.v1.autoscaling", "web"]).await;
    assert_eq!(
        (&old["apiVersion"], &old["spec"]["targetCPUUtilizationPercentage"]),
        (&json!("autoscaling/v1"), &json!(70))
    );
    assert_eq!(running.must("expose deploy web --port=80").await, "service/web exposed\n");
    assert_eq!(running.cluster.json(&["get", "svc", "web"]).await["spec"]["selector"], json!({"app": "web"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debug_puts_one_more_container_into_a_running_pod() {
    let running = Running::start().await;
    assert_eq!(running.must("run x --image=nginx").await, "pod/x created\n");
    running.must("wait --for=condition=Ready pod/x --timeout=20s").await;
    running.must("debug x --image=busybox --profile=general -c look").await;
    let pod = running.cluster.json(&["get", "pod", "x"]).await;
    let debugger = &pod["spec"]["ephemeralContainers"][0];
    let filled = ["name", "image", "imagePullPolicy", "terminationMessagePath"].map(|field| &debugger[field]);
    assert_eq!(filled, ["look", "busybox", "Always", "/dev/termination-log"]);
    assert_eq!(pod["spec"]["containers"].as_array().map(Vec::len), Some(1));
    assert!(running.must("describe pod x").await.contains("\nEphemeral Containers:\n  look:\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_with_the_same_version_the_second_is_refused() {
    let running = Running::start().await;
    running.must("create configmap c --from-literal=a=b").await;
    let path = "/api/v1/namespaces/default/configmaps/c";
    let (_, mut map) = running.cluster.call("GET", path, Value::Null).await;
    map["data"]["a"] = json!("c");
    assert_eq!(running.cluster.call("PUT", path, map.clone()).await.0, 200);
    map["data"]["a"] = json!("d");
    let (code, status) = running.cluster.call("PUT", path, map).await;
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")));
    assert_eq!(
        status["message"],
        "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to the latest version and try again"
    );
}
