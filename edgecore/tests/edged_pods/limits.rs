//! What pods may have on a node, and what its status tells of that.

use std::path::PathBuf;

use edgecore::edged::cgroups;
use edgecore::edged::node::Reserve;
use proto::config::KubeletConfig;
use serde_json::json;

use super::engine::{Kind, on_every_runtime};
use super::node::{Node, SLEEP, container, pod, shell};

on_every_runtime!(
    pods_may_ask_for_what_is_not_reserved_and_have_no_more_together,
    a_pod_and_its_class_weigh_what_they_ask_for_and_have_no_more_together,
    a_fork_bomb_ends_at_the_number_of_processes_that_a_pod_may_have,
    the_largest_images_are_listed_for_the_nodes_status_as_they_come_and_go,
);

async fn pods_may_ask_for_what_is_not_reserved_and_have_no_more_together(runtime: Kind) {
    let mut node = Node::start(runtime).await;
    node.stop_edged().await;
    let cpus = std::thread::available_parallelism().expect("a number").get();
    let reserved =
        [("cpu".to_owned(), format!("{}m", cpus * 1000 - 500)), ("memory".to_owned(), "1Gi".to_owned())];
    let none = ["memory.available", "nodefs.available"].map(|key| (key.to_owned(), "0".to_owned()));
    let kubelet = KubeletConfig {
        system_reserved: Some(reserved.into()),
        eviction_hard: Some(none.into()),
        ..KubeletConfig::default()
    };
    node.settings.reserve = Reserve::from_config(&kubelet).expect("a reserve");
    node.start_edged().await;
    let asking = |name: &str, cpu: &str| {
        let mut c = shell("c", &format!("echo $CPU; {SLEEP}"));
        c["resources"] = json!({ "requests": { "cpu": cpu } });
        c["env"] = json!([{ "name": "CPU", "valueFrom": {
            "resourceFieldRef": { "resource": "limits.cpu", "divisor": "1m" } } }]);
        pod(name, json!({ "containers": [c] }))
    };
    let (fits, large) = (asking("fits", "400m"), asking("large", "200m"));
    node.run_pod(&fits).await;
    node.ready("fits").await;
    node.wait("the log is there", async || (node.log("fits", "c", 0).trim() == "500").then_some(())).await;
    node.run_pod(&large).await;
    let refused = node.until("large", "it is refused", |s| s.phase.as_deref() == Some("Failed")).await;
    assert_eq!(refused.reason.as_deref(), Some("OutOfcpu"));
    let words =
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 200, used: 400, capacity: 500";
    assert_eq!(refused.message.as_deref(), Some(words));

    node.wait("the event is there", async || {
        let words = "Updated Node Allocatable limit across pods";
        let told = node.events().await;
        told.iter().any(|one| one.0 == "NodeAllocatableEnforced" && one.1 == words).then_some(())
    })
    .await;
    let meminfo = std::fs::read_to_string("/proc/meminfo").expect("meminfo");
    let total =
        meminfo.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("MemTotal") * 1024;
    let memory = of_group(&node, "", "memory.limit_in_bytes", "memory.max").expect("a limit");
    assert!(memory <= total - (1 << 30) && memory > total - (1 << 30) - 65_536, "{memory} of {total}");
    assert_eq!(of_group(&node, "", "cpu.shares", "no.such.file").or(Some(512)), Some(512));
    for pod in [&fits, &large] {
        node.delete_pod(pod, 1).await;
    }
    node.leaves_nothing().await;
}

/// What the kernel has in a file of the group of all pods, or of one below it.
fn of_group(node: &Node, group: &str, v1: &str, v2: &str) -> Option<u64> {
    let parts: Vec<&str> =
        ["kubepods"].into_iter().chain(group.split('/').filter(|part| !part.is_empty())).collect();
    let files = ["memory", "cpu"].map(|controller| cgroups::path_of(&parts, &node.settings, controller));
    let files: Vec<PathBuf> = files.iter().flat_map(|dir| [v1, v2].map(|name| dir.join(name))).collect();
    files.iter().find_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok())
}

async fn a_pod_and_its_class_weigh_what_they_ask_for_and_have_no_more_together(runtime: Kind) {
    let node = Node::start(runtime).await;
    let asking = |name: &str, cpu: &str| {
        let mut c = shell("c", SLEEP);
        c["resources"] = json!({ "requests": { "cpu": cpu }, "limits": { "cpu": "500m", "memory": "64Mi" } });
        pod(name, json!({ "containers": [c] }))
    };
    let (one, two) = (asking("one", "100m"), asking("two", "50m"));
    let modest = pod("modest", json!({ "containers": [shell("c", SLEEP)] }));
    for pod in [&one, &two, &modest] {
        node.run_pod(pod).await;
        node.ready(pod["metadata"]["name"].as_str().expect("a name")).await;
    }
    let shares = |group: &str| of_group(&node, group, "cpu.shares", "no.such.file");
    let memory = of_group(&node, "burstable/poduid-one", "memory.limit_in_bytes", "memory.max");
    assert_eq!(memory, Some(64 << 20));
    if cgroups::is_v2() {
        // From shares of 2 to 262144 to weights of 1 to 10000, as the kubelet and runc do.
        let weight = |group: &str| of_group(&node, group, "no.such.file", "cpu.weight");
        assert_eq!(weight("burstable/poduid-one"), Some(4));
        assert_eq!(weight("burstable/poduid-two"), Some(2));
        assert_eq!(weight("burstable"), Some(6));
        assert_eq!(weight("besteffort"), Some(1));
        let dir = cgroups::path_of(&["kubepods", "burstable", "poduid-one"], &node.settings, "cpu");
        let quota = std::fs::read_to_string(dir.join("cpu.max")).expect("a quota");
        assert_eq!(quota.trim(), "50000 100000");
    } else {
        assert_eq!(shares("burstable/poduid-one"), Some(102));
        assert_eq!(shares("burstable/poduid-two"), Some(51));
        assert_eq!(shares("burstable"), Some(153));
        assert_eq!(shares("besteffort"), Some(2));
        assert_eq!(of_group(&node, "burstable/poduid-one", "cpu.cfs_quota_us", ""), Some(50_000));
    }
    for pod in [&one, &two, &modest] {
        node.delete_pod(pod, 1).await;
    }
    node.leaves_nothing().await;
}

async fn a_fork_bomb_ends_at_the_number_of_processes_that_a_pod_may_have(runtime: Kind) {
    let mut node = Node::start(runtime).await;
    node.stop_edged().await;
    node.settings.pod_pids = Some(40);
    node.start_edged().await;
    let forks = "n=0; while [ $n -lt 100 ]; do sleep 300 & n=$((n+1)); done; echo all of them";
    let bomb = pod("bomb", json!({ "containers": [shell("c", forks)], "restartPolicy": "Never" }));
    node.run_pod(&bomb).await;
    let status = node.until("bomb", "it has failed", |s| s.phase.as_deref() == Some("Failed")).await;
    let log = node.log("bomb", "c", 0);
    assert!(log.contains("Resource temporarily unavailable") && !log.contains("all of them"), "{log}");
    assert_ne!(container(&status).state.and_then(|s| s.terminated).map(|end| end.exit_code), Some(0));
    node.delete_pod(&bomb, 0).await;
    node.stop_edged().await;
    node.settings.pod_pids = None;
    node.start_edged().await;
    let free = pod("free", json!({ "containers": [shell("c", forks)], "restartPolicy": "Never" }));
    node.run_pod(&free).await;
    node.until("free", "nobody stops it", |s| s.phase.as_deref() == Some("Succeeded")).await;
    node.delete_pod(&free, 0).await;
    node.leaves_nothing().await;
}

async fn the_largest_images_are_listed_for_the_nodes_status_as_they_come_and_go(runtime: Kind) {
    let mut node = Node::start(runtime).await;
    assert_eq!(node.outlook.images.borrow().as_deref().map(Vec::len).unwrap_or_default(), 0, "not asked for");
    node.stop_edged().await;
    node.settings.listed_images = Some(2);
    node.engine.add_image("skerry.test/one:1", &["/bin/sleep", "1"]);
    node.engine.add_image("skerry.test/two:1", &["/bin/sleep", "2"]);
    node.start_edged().await;
    let listed = |node: &Node| node.outlook.images.borrow().as_deref().cloned().unwrap_or_default();
    node.wait("they are listed", async || (listed(&node).len() == 2).then_some(())).await;
    let all = listed(&node);
    let sizes: Vec<i64> = all.iter().filter_map(|image| image.size_bytes).collect();
    assert!(sizes.len() == 2 && sizes[0] >= sizes[1] && sizes[1] > 0, "{all:?}");
    let names: Vec<String> = all.iter().flat_map(|image| image.names.clone().unwrap_or_default()).collect();
    assert!(names.iter().all(|name| name.contains(':')) && !names.is_empty(), "{names:?}");
    node.stop_edged().await;
    node.settings.listed_images = None;
    node.start_edged().await;
    node.wait("all of them are listed", async || {
        let all = listed(&node);
        let names: Vec<String> = all.into_iter().flat_map(|image| image.names.unwrap_or_default()).collect();
        let has = |name: &str| names.iter().any(|one| one == name);
        (has("skerry.test/one:1") && has("skerry.test/two:1") && has(e2e::image::BUSYBOX)).then_some(())
    })
    .await;
    node.leaves_nothing().await;
}
