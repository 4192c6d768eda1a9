//! Pods that have ended and whose objects are still there: they keep their last words and nothing else.

use std::path::PathBuf;

use e2e::containerd::mounts_below;
use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Value, json};

use super::engine::{Kind, on_every_runtime};
use super::node::{Node, SLEEP, container, id, pod, shell};

on_every_runtime!(
    a_pod_that_ended_while_no_agent_was_there_gives_its_volumes_back_and_is_given_none_again,
    a_pod_whose_volumes_were_never_all_there_gives_back_those_that_were,
);

/// A container that sees each of these volumes below `/v`, in a pod with them.
fn with_volumes(name: &str, script: &str, volumes: Value) -> Value {
    let names: Vec<&Value> = volumes.as_array().expect("volumes").iter().map(|one| &one["name"]).collect();
    let mut c = shell("c", script);
    c["volumeMounts"] = names
        .iter()
        .map(|name| json!({ "name": name, "mountPath": format!("/v/{}", name.as_str().expect("a name")) }))
        .collect();
    pod(name, json!({ "containers": [c], "restartPolicy": "Never", "volumes": volumes }))
}

fn pod_dir(node: &Node, name: &str) -> PathBuf {
    node.settings.root.join(format!("pods/uid-{name}"))
}

fn mounts(node: &Node, name: &str) -> Vec<PathBuf> {
    mounts_below(&pod_dir(node, name))
}

fn last_words(status: &PodStatus) -> String {
    let end = container(status).state.and_then(|state| state.terminated).expect("an end");
    end.message.unwrap_or_default().trim_end().to_owned()
}

async fn a_pod_that_ended_while_no_agent_was_there_gives_its_volumes_back_and_is_given_none_again(
    runtime: Kind,
) {
    let mut node = Node::start(runtime).await;
    node.config_map("settings", 1, json!({ "k": "one" })).await;
    node.secret("keys", json!({ "password": "c2VjcmV0" })).await;
    let volumes = json!([
        { "name": "memory", "emptyDir": { "medium": "Memory" } },
        { "name": "disk", "emptyDir": {} },
        { "name": "keys", "secret": { "secretName": "keys" } },
        { "name": "given", "projected": { "sources": [
            { "configMap": { "name": "settings" } }, { "secret": { "name": "keys" } } ] } },
    ]);
    let script =
        "until [ -e /v/disk/end ]; do sleep 0.05; done; echo all is well > /dev/termination-log; exit 0";
    let ends = with_volumes("ends", script, volumes.clone());
    let stays = with_volumes("stays", SLEEP, volumes);
    for pod in [&ends, &stays] {
        node.run_pod(pod).await;
    }
    let (of_ends, of_stays) = (node.ready("ends").await, node.ready("stays").await);
    assert_eq!(mounts(&node, "ends").len(), 3, "what is in memory");
    let held = mounts(&node, "stays");

    node.stop_edged().await;
    let end = pod_dir(&node, "ends").join("volumes/kubernetes.io~empty-dir/disk/end");
    std::fs::write(end, "").expect("a file in the volume");
    let first = container(&of_ends);
    node.wait("its container ends", async || {
        (!node.engine.running().iter().any(|running| running == id(&first))).then_some(())
    })
    .await;
    node.start_edged().await;
    let ended =
        node.until("ends", "its end is told", |status| status.phase.as_deref() == Some("Succeeded")).await;
    assert_eq!(mounts(&node, "ends"), Vec::<PathBuf>::new(), "they are given back before its end is told");
    assert_eq!(last_words(&ended), "all is well");

    // Nobody makes anything for it again, neither this agent nor the next.
    for (version, value) in [(2, "two"), (3, "three")] {
        node.config_map("settings", version, json!({ "k": value })).await;
        node.wait("who runs sees the change", async || {
            (node.exec(&of_stays, &["cat", "/v/given/k"]) == value).then_some(())
        })
        .await;
        assert!(!pod_dir(&node, "ends").join("volumes").exists());
        assert_eq!(last_words(&node.status("ends").await.expect("a status")), "all is well");
        node.stop_edged().await;
        node.start_edged().await;
    }
    assert_eq!(mounts(&node, "stays"), held, "who runs keeps its own");
    for pod in [&ends, &stays] {
        node.delete_pod(pod, 1).await;
    }
    node.leaves_nothing().await;
}

async fn a_pod_whose_volumes_were_never_all_there_gives_back_those_that_were(runtime: Kind) {
    let node = Node::start(runtime).await;
    let volumes = json!([
        { "name": "memory", "emptyDir": { "medium": "Memory" } },
        { "name": "missing", "configMap": { "name": "missing" } },
    ]);
    let mut waits = with_volumes("waits", SLEEP, volumes);
    waits["spec"]["activeDeadlineSeconds"] = 3.into();
    node.run_pod(&waits).await;
    node.wait("one of them is there", async || (mounts(&node, "waits").len() == 1).then_some(())).await;
    let ended =
        node.until("waits", "its time is over", |status| status.phase.as_deref() == Some("Failed")).await;
    assert_eq!(ended.reason.as_deref(), Some("DeadlineExceeded"));
    assert_eq!(mounts(&node, "waits"), Vec::<PathBuf>::new());
    node.delete_pod(&waits, 1).await;
    node.leaves_nothing().await;
}
