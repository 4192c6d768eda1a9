//! Pods from a folder, without any cloud.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::engine::Kind;
use super::node::{Node, SLEEP, shell};

fn manifest(color: &str) -> String {
    let mut container = shell("c", SLEEP);
    container["env"] = json!([{ "name": "COLOR", "value": color }]);
    let spec = json!({ "containers": [container], "terminationGracePeriodSeconds": 1 });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web" }, "spec": spec }).to_string()
}

fn ctr(node: &Node, args: &[&str]) -> String {
    node.engine.containerd().ctr(args).expect("ctr")
}

/// Environment and number of the containers that run.
fn runs(node: &Node) -> Vec<String> {
    let tasks = ctr(node, &["tasks", "ls"]);
    let running = tasks.lines().skip(1).filter(|line| line.contains("RUNNING"));
    let colors = running.filter_map(|line| {
        let id = line.split_whitespace().next()?;
        let spec = ctr(node, &["containers", "info", id]);
        let from = spec.find("COLOR=")? + "COLOR=".len();
        spec[from..].split('"').next().map(str::to_owned)
    });
    colors.collect()
}

/// Ids of what runs, sandboxes included.
fn tasks(node: &Node) -> BTreeSet<String> {
    node.engine.running().into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_from_a_file_runs_follows_the_file_and_ends_with_it() {
    let mut node = Node::start(Kind::Containerd).await;
    let dir = node.settings.root.with_file_name("manifests");
    std::fs::create_dir_all(&dir).expect("a folder");
    node.stop_edged().await;
    node.settings.static_pods = Some(dir.clone());
    node.settings.static_pods_every = Duration::from_millis(200);
    std::fs::write(dir.join("web.yaml"), manifest("blue")).expect("a file");
    std::fs::write(dir.join("broken.yaml"), "kind: [").expect("a file");
    node.start_edged().await;
    node.wait("it runs", async || (runs(&node) == ["blue"]).then_some(())).await;

    let before = tasks(&node);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(tasks(&node), before, "a file that is read again changes nothing");

    std::fs::write(dir.join("web.yaml"), manifest("green")).expect("a file");
    node.wait("it follows", async || {
        let runs = runs(&node);
        assert!(runs.len() <= 1, "never two of one name: {runs:?}");
        (runs == ["green"]).then_some(())
    })
    .await;

    let before = tasks(&node);
    node.stop_edged().await;
    node.start_edged().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(tasks(&node), before, "adopted");

    std::fs::remove_file(dir.join("web.yaml")).expect("a file");
    node.wait("it has ended", async || node.engine.containers().is_empty().then_some(())).await;
    node.wait("its directory is gone", async || {
        let left = std::fs::read_dir(node.settings.root.join("pods")).into_iter().flatten().count();
        (left == 0).then_some(())
    })
    .await;
    node.leaves_nothing().await;
}
