//! What a pod is given outlives a reboot without the cloud: config maps, secrets, its token, and what it has kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::containerd::mounts_below;
use e2e::{Engine, Runtime, Stack, StackOptions, eventually, image::BUSYBOX, pod};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const GIVEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A pod that writes at each start what it finds, one line a start.
fn recorder(out: &Path) -> Value {
    let script = format!(
        "echo $COLOUR $(cat /conf/file) $(cat /keys/password) $(cat {GIVEN}/namespace) $(cat {GIVEN}/token) >> /out/starts; \
         echo once more >> /kept/starts; cp /kept/starts /out/kept; trap 'exit 0' TERM; while :; do sleep 0.1; done"
    );
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" },
            "data": { "colour": "blue", "file": "one" } },
        { "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "keys" }, "stringData": { "password": "secret" } },
        { "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "recorder" }, "spec": {
            "nodeName": "edge1", "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "main", "image": BUSYBOX, "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/sh", "-c", script],
                "env": [{ "name": "COLOUR", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "colour" } } }],
                "volumeMounts": [
                    { "name": "conf", "mountPath": "/conf" }, { "name": "keys", "mountPath": "/keys" },
                    { "name": "kept", "mountPath": "/kept" }, { "name": "out", "mountPath": "/out" },
                ] }],
            "volumes": [
                { "name": "conf", "configMap": { "name": "settings" } },
                { "name": "keys", "secret": { "secretName": "keys" } },
                { "name": "kept", "emptyDir": {} },
                { "name": "out", "hostPath": { "path": out, "type": "DirectoryOrCreate" } },
            ] } },
    ] })
}

/// The token of the start with that number, once it is written, and everything before it is as it should be.
async fn token_of_start(out: &Path, number: usize) -> Result<String> {
    let line = eventually(&format!("start {number} is recorded"), LIMIT, || async {
        let starts = std::fs::read_to_string(out.join("starts")).unwrap_or_default();
        let complete = starts.matches('\n').count();
        if complete == number {
            Ok(starts.lines().last().unwrap_or_default().to_owned())
        } else {
            Err(starts)
        }
    })
    .await?;
    let words: Vec<&str> = line.split(' ').collect();
    ensure!(words.len() == 5 && words[..4] == ["blue", "one", "secret", "default"], "{line}");
    Ok(words[4].to_owned())
}

/// Whom the API takes the bearer of the token for.
fn bearer(stack: &Stack, token: &str) -> Result<String> {
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": { "token": token } });
    let file = stack.dir().join("review.json");
    std::fs::write(&file, review.to_string())?;
    let answer = stack.kubectl(&["create", "-f", &file.to_string_lossy(), "-o", "json"])?;
    let answer: Value = serde_json::from_str(&answer)?;
    ensure!(answer["status"]["authenticated"] == true, "{answer}");
    Ok(answer["status"]["user"]["username"].as_str().context("a name")?.to_owned())
}

#[tokio::test]
async fn a_pod_is_given_everything_again_after_a_reboot_without_the_cloud_on_containerd() -> Result<()> {
    comes_back(Runtime::Containerd).await
}

#[tokio::test]
async fn a_pod_is_given_everything_again_after_a_reboot_without_the_cloud_on_docker() -> Result<()> {
    comes_back(Runtime::Docker).await
}

async fn comes_back(runtime: Runtime) -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    let mut engine = Engine::start(runtime, stack.dir()).await?;
    stack.join(&engine.options()).await?;
    stack.node_ready("edge1", LIMIT).await?;
    let out = stack.dir().join("out");
    stack.apply(&recorder(&out).to_string())?;
    pod::ready(&stack.client(), "recorder", LIMIT).await?;
    let before = token_of_start(&out, 1).await?;
    assert_eq!(bearer(&stack, &before)?, "system:serviceaccount:default:default");

    let volumes = mounts_below(&stack.dir().join("edge/kubelet"));
    assert!(!volumes.is_empty(), "secrets and tokens are in memory");
    stack.cloud.kill();
    stack.edge_mut()?.kill();
    engine.power_off();
    let volumes = mounts_below(&stack.dir().join("edge/kubelet"));
    assert_eq!(volumes, Vec::<PathBuf>::new(), "what was in memory is gone with the power");
    engine.restart().await?;
    assert_eq!(engine.running()?.trim(), "", "everything ended with the power");
    stack.edge_mut()?.restart()?;
    let after = token_of_start(&out, 2).await?;
    let kept = std::fs::read_to_string(out.join("kept"))?;
    assert_eq!(kept, "once more\nonce more\n", "what it had kept in its emptyDir is there");

    stack.cloud.restart()?;
    stack.node_ready("edge1", LIMIT).await?;
    pod::ready(&stack.client(), "recorder", LIMIT).await?;
    assert_eq!(bearer(&stack, &after)?, "system:serviceaccount:default:default", "the token is good");
    Ok(())
}
