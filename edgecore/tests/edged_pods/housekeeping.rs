//! Log files, images and pods when there is too much of them.

use std::path::PathBuf;
use std::time::Duration;

use e2e::containerd::mounts_below;
use edgecore::edged::config::Housekeeping;
use edgecore::edged::housekeeping::Threshold;
use proto::config::{KubeletConfig, Span};
use serde_json::json;

use super::engine::{Kind, on_every_runtime};
use super::node::{Node, SLEEP, container, is_ready, pod, shell, unhurried, waits_for};

on_every_runtime!(
    images_that_nobody_uses_go_when_the_disk_fills_up_and_the_others_stay,
    a_node_short_of_memory_lets_the_least_important_pod_go_and_takes_no_new_one,
    a_node_that_is_short_for_a_while_lets_a_pod_go_with_time_to_stop,
    an_agent_that_dies_in_the_middle_of_an_eviction_goes_on_with_it,
    a_pod_that_keeps_more_on_disk_than_it_may_is_evicted_with_the_limit_that_it_broke,
    a_pod_without_a_container_has_to_go_and_its_event_is_there_with_its_status,
    a_volume_in_memory_is_as_large_as_it_may_be_and_not_larger,
);

const SOON: Duration = Duration::from_millis(200);

/// A node that keeps house by these rules.
async fn node(runtime: Kind, rules: Housekeeping) -> Node {
    let mut node = Node::start(runtime).await;
    node.stop_edged().await;
    node.settings.housekeeping = rules;
    node.start_edged().await;
    node
}

fn logs_of(node: &Node, pod: &str) -> Vec<PathBuf> {
    let dir = node.settings.pod_logs.join(format!("default_{pod}_uid-{pod}/c"));
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|file| file.path()).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_grows_is_turned_over_packed_and_bounded_while_the_container_writes_on() {
    // Docker turns its logs over by itself.
    let node = node(
        Kind::Containerd,
        Housekeeping { log_max_size: 20_000, log_max_files: 3, look_every: SOON, ..unhurried() },
    )
    .await;
    let script = "n=0; while :; do n=$((n+1)); echo line $n of a log that grows and grows; [ $((n % 20)) = 0 ] && sleep 0.02; done";
    let pod = pod("talks", json!({ "containers": [shell("c", script)], "terminationGracePeriodSeconds": 0 }));
    node.run_pod(&pod).await;
    node.ready("talks").await;
    let packed =
        |files: &[PathBuf]| files.iter().filter(|file| file.extension().is_some_and(|gz| gz == "gz")).count();
    node.wait("old files are packed", async || (packed(&logs_of(&node, "talks")) > 0).then_some(())).await;
    for _ in 0..40 {
        // The one that is written, the one before, and packed ones; one more while it is being packed.
        let files = logs_of(&node, "talks");
        assert!(files.len() <= 4, "{files:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let size = std::fs::metadata(&logs_of(&node, "talks")[0]).expect("a log").len();
    node.wait("it writes on", async || {
        let log = std::fs::metadata(&logs_of(&node, "talks")[0]).expect("a log").len();
        (log != size).then_some(())
    })
    .await;
    // As if the agent had been killed after it moved the file and before it told the runtime.
    let log = logs_of(&node, "talks").remove(0);
    std::fs::rename(&log, log.with_extension("log.20260101-000000")).expect("moved");
    node.wait("it writes on where its log should be", async || log.exists().then_some(())).await;
    assert_eq!(container(&node.status("talks").await.expect("a status")).restart_count, 0);
    node.delete_pod(&pod, 0).await;
    node.leaves_nothing().await;
}

async fn images_that_nobody_uses_go_when_the_disk_fills_up_and_the_others_stay(runtime: Kind) {
    let rules = Housekeeping {
        image_high_percent: 0,
        image_low_percent: 0,
        image_min_age: Duration::from_secs(3),
        collect_every: SOON,
        ..unhurried()
    };
    let node = node(runtime, rules).await;
    node.engine.add_image("skerry.test/unused:1", &["/bin/sleep", "1"]);
    let pod = pod("uses", json!({ "containers": [shell("c", SLEEP)] }));
    node.run_pod(&pod).await;
    node.ready("uses").await;
    let images = || node.engine.images();
    assert!(images().contains("skerry.test/unused:1"), "it is too young to go");
    node.wait("it is gone", async || (!images().contains("skerry.test/unused:1")).then_some(())).await;
    assert!(images().contains(e2e::image::BUSYBOX), "{}", images());
    assert!(is_ready(&node.status("uses").await.expect("a status")));
    node.delete_pod(&pod, 1).await;
    // The runtime's own image is not one that nobody uses.
    let again = super::node::pod("again", json!({ "containers": [shell("c", SLEEP)] }));
    node.run_pod(&again).await;
    node.until("again", "it has a sandbox", |status| status.pod_ip.is_some()).await;
    node.delete_pod(&again, 1).await;
    node.leaves_nothing().await;
}

/// Rules by which no disk matters: it may be as full as it likes.
fn rules(memory: &str) -> KubeletConfig {
    let hard = [
        ("memory.available", memory),
        ("nodefs.available", "0%"),
        ("nodefs.inodesFree", "0%"),
        ("imagefs.available", "0%"),
        ("imagefs.inodesFree", "0%"),
    ];
    let hard = hard.map(|(signal, value)| (signal.to_owned(), value.to_owned()));
    KubeletConfig { eviction_hard: Some(hard.into()), ..KubeletConfig::default() }
}

/// Any node is short of so much memory.
fn short_of_memory() -> Vec<Threshold> {
    Threshold::all(&rules("1000Gi")).expect("thresholds")
}

async fn a_node_that_is_short_for_a_while_lets_a_pod_go_with_time_to_stop(runtime: Kind) {
    let mut node = Node::start(runtime).await;
    let slow = "trap 'sleep 2; exit 7' TERM; while :; do sleep 0.05; done";
    let spec = json!({ "containers": [shell("c", slow)], "terminationGracePeriodSeconds": 30 });
    let (pod, other) = (pod("slow", spec.clone()), pod("slower", spec));
    for pod in [&pod, &other] {
        node.run_pod(pod).await;
        node.ready(pod["metadata"]["name"].as_str().expect("a name")).await;
    }
    node.stop_edged().await;
    let memory = || "memory.available".to_owned();
    let soft = KubeletConfig {
        eviction_soft: Some([(memory(), "1000Gi".to_owned())].into()),
        eviction_soft_grace_period: Some([(memory(), Span::seconds(2))].into()),
        eviction_max_pod_grace_period: 10,
        eviction_pressure_transition_period: Span::seconds(300),
        ..rules("0")
    };
    let Housekeeping { thresholds, soft_grace, .. } = Housekeeping::from_config(&soft).expect("rules");
    node.settings.housekeeping = Housekeeping { thresholds, soft_grace, look_every: SOON, ..unhurried() };
    node.start_edged().await;
    // It is said at once, and nobody has to go yet.
    node.wait("it is short", async || node.outlook.pressure.borrow().memory.then_some(())).await;
    assert!(is_ready(&node.status("slow").await.expect("a status")));
    let to_go = |status: &k8s_openapi::api::core::v1::PodStatus| {
        status.conditions.iter().flatten().any(|condition| condition.type_ == "DisruptionTarget")
    };
    let status = async |name: &str| node.status(name).await.expect("a status");
    node.wait("one of them has to go", async || {
        (to_go(&status("slow").await) || to_go(&status("slower").await)).then_some(())
    })
    .await;
    // While it stops nobody else has to: it may be enough.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!(to_go(&status("slow").await) && to_go(&status("slower").await)), "both were told to go");
    let gone = node.until("slow", "it has gone", |status| status.phase.as_deref() == Some("Failed")).await;
    assert_eq!(gone.reason.as_deref(), Some("Evicted"));
    let message = gone.message.unwrap_or_default();
    assert!(message.contains("Threshold quantity: 1000Gi, available: "), "{message}");
    let ended = node
        .until("slow", "its container has ended", |status| {
            container(status).state.as_ref().is_some_and(|state| state.terminated.is_some())
        })
        .await;
    let state = container(&ended).state.clone().expect("a state").terminated.expect("an end");
    assert_eq!(state.exit_code, 7, "it had the time that it needs");
    for pod in [&pod, &other] {
        node.delete_pod(pod, 0).await;
    }
    node.leaves_nothing().await;
}

async fn an_agent_that_dies_in_the_middle_of_an_eviction_goes_on_with_it(runtime: Kind) {
    const ROUNDS: usize = 3;
    let mut node = Node::start(runtime).await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let told = |status: &k8s_openapi::api::core::v1::PodStatus| {
        let conditions = status.conditions.iter().flatten();
        conditions.filter(|one| one.type_ == "DisruptionTarget").filter_map(|one| one.message.clone()).next()
    };
    for round in 0..ROUNDS {
        let name = format!("goes{round}");
        let volumes = json!([{ "name": "v", "emptyDir": { "medium": "Memory" } }]);
        let goes = pod(&name, json!({ "containers": [shell("c", SLEEP)], "volumes": volumes }));
        node.run_pod(&goes).await;
        node.ready(&name).await;
        assert_eq!(mounts_below(&node.settings.root).len(), 1);
        node.stop_edged().await;
        node.settings.housekeeping =
            Housekeeping { thresholds: short_of_memory(), look_every: SOON, ..unhurried() };
        node.start_edged().await;
        let why = node.until(&name, "it has to go", |status| told(status).is_some()).await;
        tokio::time::sleep(Duration::from_millis(random.u64(0..150))).await;
        node.stop_edged().await;

        // There is plenty when the agent comes back.
        node.settings.housekeeping = unhurried();
        node.start_edged().await;
        let gone = node.until(&name, "it has gone", |s| s.phase.as_deref() == Some("Failed")).await;
        assert_eq!((gone.reason.as_deref(), gone.message.clone()), (Some("Evicted"), told(&why)));
        assert_eq!(container(&gone).restart_count, 0);
        node.wait("nothing of it runs", async || node.engine.running().is_empty().then_some(())).await;
        let mounts = async || mounts_below(&node.settings.root).is_empty().then_some(());
        node.wait("its volumes are given back", mounts).await;
        node.delete_pod(&goes, 0).await;
    }
    let evicted: i64 =
        node.events().await.iter().filter(|event| event.0 == "Evicted").map(|event| event.2).sum();
    assert_eq!(evicted, i64::try_from(ROUNDS).expect("few"), "each is told once");
    node.leaves_nothing().await;
}

async fn a_node_short_of_memory_lets_the_least_important_pod_go_and_takes_no_new_one(runtime: Kind) {
    let mut node = Node::start(runtime).await;
    let critical = pod("critical", json!({ "priority": 2_000_001_000, "containers": [shell("c", SLEEP)] }));
    let modest = pod("modest", json!({ "containers": [shell("c", SLEEP)] }));
    for pod in [&critical, &modest] {
        node.run_pod(pod).await;
    }
    let before = node.ready("critical").await;
    node.ready("modest").await;

    node.stop_edged().await;
    node.settings.housekeeping =
        Housekeeping { thresholds: short_of_memory(), look_every: SOON, ..unhurried() };
    node.start_edged().await;
    let gone = node.until("modest", "it has gone", |status| status.phase.as_deref() == Some("Failed")).await;
    assert_eq!(gone.reason.as_deref(), Some("Evicted"));
    let message = gone.message.clone().unwrap_or_default();
    assert!(
        message.starts_with("The node was low on resource: memory. Threshold quantity: 1000Gi, available: "),
        "{message}"
    );
    assert!(message.contains("Container c was using ") && message.contains("request is 0"), "{message}");
    let conditions = gone.conditions.clone().unwrap_or_default();
    let target =
        conditions.iter().find(|condition| condition.type_ == "DisruptionTarget").expect("a condition");
    assert_eq!((target.status.as_str(), target.reason.as_deref()), ("True", Some("TerminationByKubelet")));
    let events = node.events().await;
    assert!(events.iter().any(|event| event.0 == "Evicted" && event.1 == message), "{events:#?}");

    let late = pod("late", json!({ "containers": [shell("c", SLEEP)] }));
    node.run_pod(&late).await;
    let refused =
        node.until("late", "it is refused", |status| status.phase.as_deref() == Some("Failed")).await;
    assert_eq!(refused.reason.as_deref(), Some("Evicted"));
    assert_eq!(
        refused.message.as_deref(),
        Some("Pod was rejected: The node had condition: [MemoryPressure]. ")
    );
    assert!(node.outlook.pressure.borrow().memory, "the node's status tells it");

    // Nobody comes back, not even when there is memory again.
    node.stop_edged().await;
    node.settings.housekeeping = unhurried();
    node.start_edged().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let still = node.status("modest").await.expect("a status");
    assert_eq!((still.phase.as_deref(), still.reason.as_deref()), (Some("Failed"), Some("Evicted")));
    assert_eq!(still.message, gone.message);
    let after = node.status("critical").await.expect("a status");
    assert_eq!(container(&after).container_id, container(&before).container_id);
    assert!(is_ready(&after));
    for pod in [&critical, &modest, &late] {
        node.delete_pod(pod, 1).await;
    }
    node.leaves_nothing().await;
}

async fn a_pod_that_keeps_more_on_disk_than_it_may_is_evicted_with_the_limit_that_it_broke(runtime: Kind) {
    let node = node(runtime, Housekeeping { look_every: SOON, ..unhurried() }).await;
    let fill = |path: &str| format!("head -c 3000000 /dev/zero > {path}; {SLEEP}");
    let limited = |script: &str, limit: &str| {
        let mut c = shell("c", script);
        c["resources"] = json!({ "limits": { "ephemeral-storage": limit } });
        c
    };
    let mut into_volume = shell("c", &fill("/v/f"));
    into_volume["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
    let into_free_volume = {
        let mut c = limited(&fill("/v/f"), "1Mi");
        c["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
        c
    };
    let mut idle = limited(SLEEP, "20Mi");
    idle["name"] = "d".into();
    let volume = |source: serde_json::Value| json!([{ "name": "v", "emptyDir": source }]);
    let cases = [
        (
            pod(
                "volume",
                json!({ "containers": [into_volume], "volumes": volume(json!({ "sizeLimit": "1Mi" })) }),
            ),
            "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ",
        ),
        (
            pod("root", json!({ "containers": [limited(&fill("/f"), "1Mi"), idle] })),
            "Container c exceeded its local ephemeral storage limit \"1Mi\". ",
        ),
        (
            pod("all", json!({ "containers": [into_free_volume], "volumes": volume(json!({})) })),
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
        ),
    ];
    let modest = pod("modest", json!({ "containers": [limited(&fill("/f"), "20Mi")] }));
    node.run_pod(&modest).await;
    for (pod, words) in &cases {
        node.run_pod(pod).await;
        let name = pod["metadata"]["name"].as_str().expect("a name");
        let gone = node.until(name, words, |status| status.phase.as_deref() == Some("Failed")).await;
        assert_eq!((gone.reason.as_deref(), gone.message.as_deref()), (Some("Evicted"), Some(*words)));
        let events = node.events().await;
        assert!(events.iter().any(|event| event.0 == "Evicted" && event.1 == *words), "{events:#?}");
    }
    let status = node.ready("modest").await;
    assert_eq!(container(&status).restart_count, 0);
    for pod in cases.iter().map(|case| &case.0).chain([&modest]) {
        node.delete_pod(pod, 1).await;
    }
    node.leaves_nothing().await;
}

async fn a_pod_without_a_container_has_to_go_and_its_event_is_there_with_its_status(runtime: Kind) {
    let mut node = node(runtime, Housekeeping { look_every: SOON, ..unhurried() }).await;
    let mut c = shell("c", SLEEP);
    c["image"] = "skerry.test/nowhere:1".into();
    c["imagePullPolicy"] = "Never".into();
    let volumes = json!([{ "name": "v", "emptyDir": { "sizeLimit": "1Mi" } }]);
    let goes = pod("goes", json!({ "containers": [c], "volumes": volumes }));
    node.run_pod(&goes).await;
    node.until("goes", "it waits for its image", |status| waits_for(status) == "ErrImageNeverPull").await;
    let file = node.settings.root.join("pods/uid-goes/volumes/kubernetes.io~empty-dir/v/f");
    std::fs::write(&file, vec![0; 3_000_000]).expect("a file in the volume");
    let gone = node.until("goes", "it has gone", |s| s.phase.as_deref() == Some("Failed")).await;
    // An agent that dies now has told all.
    node.stop_edged().await;
    let evicted = |events: Vec<(String, String, i64)>| -> Vec<_> {
        events.into_iter().filter(|event| event.0 == "Evicted").map(|event| (event.1, event.2)).collect()
    };
    let words = "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ";
    assert_eq!((gone.reason.as_deref(), gone.message.as_deref()), (Some("Evicted"), Some(words)));
    node.start_edged().await;
    assert_eq!(evicted(node.events().await), [(words.to_owned(), 1)]);
    node.delete_pod(&goes, 1).await;
    node.leaves_nothing().await;
}

async fn a_volume_in_memory_is_as_large_as_it_may_be_and_not_larger(runtime: Kind) {
    let node = Node::start(runtime).await;
    let mut c = shell("c", SLEEP);
    c["resources"] = json!({ "limits": { "memory": "32Mi" } });
    c["volumeMounts"] =
        json!([{ "name": "small", "mountPath": "/small" }, { "name": "free", "mountPath": "/free" }]);
    let volumes = json!([
        { "name": "small", "emptyDir": { "medium": "Memory", "sizeLimit": "2Mi" } },
        { "name": "free", "emptyDir": { "medium": "Memory" } },
    ]);
    let pod = pod("memory", json!({ "containers": [c], "volumes": volumes }));
    node.run_pod(&pod).await;
    let status = node.ready("memory").await;
    let kib = |path: &str| {
        let text = node.exec(&status, &["stat", "-f", "-c", "%b %S", path]);
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        numbers.iter().product::<u64>() / 1024
    };
    assert_eq!((kib("/small"), kib("/free")), (2048, 32 * 1024), "its limit, or the pod's");
    let full =
        node.exec(&status, &["sh", "-c", "head -c 3000000 /dev/zero > /small/f 2> /dev/null || echo full"]);
    assert_eq!(full.trim(), "full");
    node.delete_pod(&pod, 1).await;
    node.leaves_nothing().await;
}
