//! What a Docker engine does in another way than a runtime with CRI.

use std::path::PathBuf;
use std::time::Duration;

use edgecore::edged::config::Housekeeping;
use serde_json::json;

use super::engine::Kind;
use super::node::{Node, SLEEP, container, id, pod, shell, unhurried};

/// Asks the engine about a container.
fn inspect(node: &Node, id: &str, format: &str) -> String {
    node.engine.docker().docker(&["inspect", "--format", format, id]).expect("inspect").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_is_asked_for_limits_groups_and_names_as_the_kubelet_has_them() {
    let node = Node::start(Kind::Docker).await;
    let mut first = shell("one", SLEEP);
    first["resources"] = json!({ "limits": { "cpu": "200m", "memory": "32Mi" } });
    let mut second = shell("two", SLEEP);
    second["securityContext"] = json!({ "readOnlyRootFilesystem": true });
    let asked = pod("asked", json!({ "containers": [first, second] }));
    node.run_pod(&asked).await;
    let status = node.ready("asked").await;
    let of = |name: &str| {
        let found = status.container_statuses.iter().flatten().find(|status| status.name == name);
        id(found.expect("a container")).to_owned()
    };
    let (one, two) = (of("one"), of("two"));
    assert_eq!(inspect(&node, &two, "{{.HostConfig.ReadonlyRootfs}}"), "true");
    let limits = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.CpuQuota}}";
    assert_eq!(inspect(&node, &one, limits), "33554432 33554432 20000");
    let parent = inspect(&node, &one, "{{.HostConfig.CgroupParent}}");
    assert!(parent.ends_with("/kubepods/burstable/poduid-asked"), "{parent}");
    assert!(inspect(&node, &one, "{{.Name}}").starts_with("/k8s_one_asked_default_uid-asked_0"));
    node.delete_pod(&asked, 1).await;
    node.leaves_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_does_not_exist_is_told_in_the_engines_words() {
    let node = Node::start(Kind::Docker).await;
    let mut c = shell("c", "");
    c["command"] = json!(["/no/such"]);
    let broken = pod("broken", json!({ "containers": [c], "restartPolicy": "Never" }));
    node.run_pod(&broken).await;
    let status = node
        .until("broken", "it has ended", |s| container(s).state.is_some_and(|s| s.terminated.is_some()))
        .await;
    let end = container(&status).state.and_then(|state| state.terminated).expect("an end");
    assert_eq!((end.exit_code, end.reason.as_deref()), (127, Some("ContainerCannotRun")));
    let message = end.message.unwrap_or_default();
    assert!(message.contains("/no/such"), "{message}");
    node.delete_pod(&broken, 0).await;
    node.leaves_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_lie_where_the_kubelet_has_them_are_bounded_by_the_engine_and_their_end_is_the_last_word() {
    let mut node = Node::start(Kind::Docker).await;
    node.stop_edged().await;
    node.settings.housekeeping = Housekeeping { log_max_size: 20_000, log_max_files: 2, ..unhurried() };
    node.start_edged().await;
    let mut c = shell("c", "for n in $(seq 1 1000); do echo line $n of a log; done; exit 4");
    c["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
    let talks = pod("talks", json!({ "containers": [c], "restartPolicy": "Never" }));
    node.run_pod(&talks).await;
    let status = node.until("talks", "it failed", |status| status.phase.as_deref() == Some("Failed")).await;
    let end = container(&status).state.and_then(|state| state.terminated).expect("an end");
    let message = end.message.unwrap_or_default();
    assert_eq!(end.exit_code, 4);
    assert!(message.ends_with("line 1000 of a log") && message.len() <= 2048, "{message}");
    let place = node.settings.pod_logs.join("default_talks_uid-talks/c/0.log");
    let real = std::fs::read_link(&place).expect("a link");
    let files: Vec<PathBuf> = std::fs::read_dir(real.parent().expect("a folder"))
        .expect("files")
        .flatten()
        .map(|file| file.path())
        .filter(|path| path.to_string_lossy().contains("-json.log"))
        .collect();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|file| file.metadata().expect("a file").len() <= 21_000), "{files:?}");
    node.delete_pod(&talks, 0).await;
    assert!(!place.exists() && std::fs::read_link(&place).is_err(), "the link goes with the container");
    node.leaves_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_hangs_leaves_no_process_behind() {
    let node = Node::start(Kind::Docker).await;
    let mut c = shell("c", SLEEP);
    c["readinessProbe"] = json!({ "exec": { "command": ["/bin/sh", "-c", "sleep 7777 & sleep 7777"] },
        "periodSeconds": 60, "timeoutSeconds": 1 });
    let hangs = pod("hangs", json!({ "containers": [c] }));
    node.run_pod(&hangs).await;
    node.wait("the probe fails", async || {
        node.events().await.iter().any(|event| event.1.contains("timed out after 1s")).then_some(())
    })
    .await;
    let status = node.status("hangs").await.expect("a status");
    node.wait("its processes are gone", async || {
        (!node.exec(&status, &["ps"]).contains("sleep 7777")).then_some(())
    })
    .await;
    node.delete_pod(&hangs, 1).await;
    node.leaves_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_comes_while_the_engine_is_away_starts_when_it_is_back() {
    let mut node = Node::start(Kind::Docker).await;
    node.engine.kill();
    let waits = pod("waits", json!({ "containers": [shell("c", SLEEP)] }));
    node.run_pod(&waits).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    node.engine.restart().await;
    node.ready("waits").await;
    node.delete_pod(&waits, 1).await;
    node.leaves_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_the_engine_does_not_let_go_is_told() {
    let mut node = Node::start(Kind::Docker).await;
    node.stop_edged().await;
    node.engine.add_image("skerry.test/held:1", &["/bin/sleep", "1"]);
    let docker =
        |node: &Node, args: &[&str]| node.engine.docker().docker(args).expect("docker").trim().to_owned();
    // Somebody else's container, which is none of a pod.
    let holder = docker(&node, &["create", "skerry.test/held:1"]);
    node.settings.housekeeping = Housekeeping {
        image_high_percent: 0,
        image_low_percent: 0,
        image_min_age: Duration::ZERO,
        collect_every: Duration::from_millis(200),
        ..unhurried()
    };
    node.start_edged().await;
    let (_, words, _) = node
        .wait("it is told", async || node.events().await.into_iter().find(|event| event.0 == "ImageGCFailed"))
        .await;
    let begins = words.starts_with("wanted to free ");
    let says_why =
        words.contains(" bytes space with errors in image deletion: ") && words.contains(&holder[..12]);
    assert!(begins && says_why, "{words}");
    docker(&node, &["rm", &holder]);
    let images = || node.engine.images();
    node.wait("it goes when it can", async || (!images().contains("skerry.test/held:1")).then_some(())).await;
    node.leaves_nothing().await;
}
