//! edged on real container runtimes, without any cloud: the test pushes objects into the store and reads what edged reports.

mod cri_only;
mod ended;
mod engine;
mod ephemeral;
mod features;
mod harness;
mod housekeeping;
mod limits;
mod mistakes;
mod node;
mod on_docker;
mod probes;
mod pulls;
mod server;
mod static_pods;

use std::time::Duration;

use tokio::time::Instant;

use engine::{Kind, on_cri_alone, on_every_runtime};
use node::{Node, SLEEP, container, id, is_ready, pod, shell, waits_for};
use proto::message::Operation;
use serde_json::json;

on_every_runtime!(
    a_pod_becomes_ready_and_its_deletion_leaves_nothing,
    a_container_that_ignores_sigterm_is_killed_when_its_grace_is_over,
    environment_and_volumes_come_from_config_maps_secrets_and_the_pod_itself,
    a_missing_config_map_is_named_and_the_pod_starts_when_it_comes,
    a_crashing_container_is_restarted_with_back_off_and_its_last_words_are_told,
    an_image_that_does_not_exist_is_told_in_the_runtimes_words,
    init_containers_run_in_order_and_a_pod_that_is_done_is_done,
    a_restart_of_edgecore_adopts_containers_and_a_restart_of_the_runtime_too,
    a_pod_that_was_removed_while_edgecore_was_away_is_stopped,
    a_dead_sandbox_is_replaced_and_its_containers_with_it,
);

on_cri_alone!(
    a_pod_becomes_ready_and_its_deletion_leaves_nothing,
    a_container_that_ignores_sigterm_is_killed_when_its_grace_is_over,
    environment_and_volumes_come_from_config_maps_secrets_and_the_pod_itself,
    a_crashing_container_is_restarted_with_back_off_and_its_last_words_are_told,
    an_image_that_does_not_exist_is_told_in_the_runtimes_words,
    init_containers_run_in_order_and_a_pod_that_is_done_is_done,
    a_restart_of_edgecore_adopts_containers_and_a_restart_of_the_runtime_too,
    a_pod_that_was_removed_while_edgecore_was_away_is_stopped,
    a_dead_sandbox_is_replaced_and_its_containers_with_it,
);

async fn a_pod_becomes_ready_and_its_deletion_leaves_nothing(runtime: Kind) {
    let node = Node::start(runtime).await;
    let pod = pod("web", json!({ "containers": [shell("c", SLEEP)] }));
    let begun = Instant::now();
    node.run_pod(&pod).await;
    let status = node.ready("web").await;
    println!("create to Ready: {:?}", begun.elapsed());
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    assert_eq!(status.host_ip.as_deref(), Some("192.0.2.1"));
    let ip = status.pod_ip.clone().expect("an address");
    assert!(ip.starts_with("10."), "{ip}");
    let c = container(&status);
    assert_eq!((c.image.as_str(), c.restart_count, c.ready), (e2e::image::BUSYBOX, 0, true));
    assert!(c.image_id.contains("sha256:"), "{}", c.image_id);
    let hosts = node.exec(&status, &["cat", "/etc/hosts"]);
    assert!(hosts.contains(&format!("{ip}\tweb")), "{hosts}");
    assert_eq!(node.exec(&status, &["hostname"]).trim(), "web");

    let took = node.delete_pod(&pod, 1).await;
    println!("delete to gone: {took:?}");
    let last = node.status("web").await.expect("the last status");
    assert_eq!(last.phase.as_deref(), Some("Succeeded"));
    let reasons: Vec<String> = node.events().await.into_iter().map(|event| event.0).collect();
    for reason in ["Pulled", "Created", "Started", "Killing"] {
        assert!(reasons.iter().any(|said| said == reason), "{reason} is missing in {reasons:?}");
    }
    node.leaves_nothing().await;
}

async fn a_container_that_ignores_sigterm_is_killed_when_its_grace_is_over(runtime: Kind) {
    let node = Node::start(runtime).await;
    let pod =
        pod("stubborn", json!({ "containers": [shell("c", "trap '' TERM; while :; do sleep 0.05; done")] }));
    node.run_pod(&pod).await;
    node.ready("stubborn").await;
    let took = node.delete_pod(&pod, 1).await;
    println!("delete with grace 1 s to gone: {took:?}");
    assert!(took >= Duration::from_secs(1), "it had a second: {took:?}");
    let last = container(&node.status("stubborn").await.expect("a status"));
    assert_eq!(last.state.and_then(|state| state.terminated).map(|end| end.exit_code), Some(137));
    node.leaves_nothing().await;
}

async fn environment_and_volumes_come_from_config_maps_secrets_and_the_pod_itself(runtime: Kind) {
    let node = Node::start(runtime).await;
    node.config_map("settings", 1, json!({ "colour": "blue", "file.conf": "one" })).await;
    node.secret("keys", json!({ "password": "c2VjcmV0" })).await;
    let mut c = shell("c", &format!("echo $COLOUR $PASSWORD $POD $FULL $X_colour $CPU; {SLEEP}"));
    c["env"] = json!([
        { "name": "COLOUR", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "colour" } } },
        { "name": "PASSWORD", "valueFrom": { "secretKeyRef": { "name": "keys", "key": "password" } } },
        { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
        { "name": "FULL", "value": "$(POD)-$(COLOUR)" },
        { "name": "CPU", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu", "divisor": "1m" } } },
        { "name": "NOT", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "no", "optional": true } } },
    ]);
    c["envFrom"] = json!([{ "prefix": "X_", "configMapRef": { "name": "settings" } }]);
    c["resources"] = json!({ "limits": { "cpu": "200m", "memory": "32Mi" } });
    c["volumeMounts"] = json!([
        { "name": "conf", "mountPath": "/conf" }, { "name": "keys", "mountPath": "/keys", "readOnly": true },
        { "name": "work", "mountPath": "/work" }, { "name": "me", "mountPath": "/me" },
        { "name": "conf", "mountPath": "/one.conf", "subPath": "file.conf" },
    ]);
    let pod = pod(
        "conf",
        json!({ "containers": [c], "volumes": [
        { "name": "conf", "configMap": { "name": "settings" } },
        { "name": "keys", "secret": { "secretName": "keys", "defaultMode": 0o400 } },
        { "name": "work", "emptyDir": { "medium": "Memory" } },
        { "name": "me", "downwardAPI": { "items": [{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }] } },
    ] }),
    );
    node.run_pod(&pod).await;
    let status = node.ready("conf").await;
    node.wait("the log is there", async || (!node.log("conf", "c", 0).is_empty()).then_some(())).await;
    assert_eq!(node.log("conf", "c", 0).trim(), "blue secret conf conf-blue blue 200");
    assert_eq!(status.qos_class.as_deref(), Some("Guaranteed"));
    let read = |path: &str| node.exec(&status, &["cat", path]);
    assert_eq!(read("/conf/file.conf"), "one");
    assert_eq!(read("/keys/password"), "secret");
    assert_eq!(read("/me/labels"), "app=\"conf\"");
    assert_eq!(read("/one.conf"), "one");
    node.exec(&status, &["touch", "/work/x"]);

    node.config_map("settings", 2, json!({ "colour": "red", "file.conf": "two" })).await;
    node.wait("the volume follows the config map", async || (read("/conf/file.conf") == "two").then_some(()))
        .await;
    assert_eq!(container(&node.status("conf").await.expect("a status")).restart_count, 0);
    node.delete_pod(&pod, 1).await;
    node.leaves_nothing().await;
}

async fn a_missing_config_map_is_named_and_the_pod_starts_when_it_comes(runtime: Kind) {
    let node = Node::start(runtime).await;
    let mut c = shell("c", SLEEP);
    c["env"] = json!([{ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "late", "key": "a" } } }]);
    let pod = pod("waits", json!({ "containers": [c] }));
    node.run_pod(&pod).await;
    let status = node.until("waits", "it waits", |s| waits_for(s) == "CreateContainerConfigError").await;
    let message =
        container(&status).state.and_then(|s| s.waiting).and_then(|w| w.message).unwrap_or_default();
    assert!(message.contains("configmap \"late\""), "{message}");
    node.config_map("late", 1, json!({ "b": "1" })).await;
    node.until("waits", "the key is named", |s| {
        let waiting = container(s).state.and_then(|s| s.waiting).and_then(|w| w.message).unwrap_or_default();
        waiting == "couldn't find key a in ConfigMap default/late"
    })
    .await;
    node.config_map("late", 2, json!({ "a": "1" })).await;
    node.ready("waits").await;
    node.delete_pod(&pod, 1).await;
    node.leaves_nothing().await;
}

async fn a_crashing_container_is_restarted_with_back_off_and_its_last_words_are_told(runtime: Kind) {
    let node = Node::start(runtime).await;
    let pod = pod(
        "crash",
        json!({ "containers": [shell("c", "echo out of luck > /dev/termination-log; exit 3")] }),
    );
    node.run_pod(&pod).await;
    let status = node.until("crash", "it backs off", |s| waits_for(s) == "CrashLoopBackOff").await;
    let c = container(&status);
    assert_eq!(c.restart_count, 1, "the first restart is immediate");
    let last = c.last_state.and_then(|state| state.terminated).expect("its end");
    assert_eq!((last.exit_code, last.reason.as_deref()), (3, Some("Error")));
    assert_eq!(last.message.as_deref(), Some("out of luck\n"));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert!(!is_ready(&status));
    let backed_off = Instant::now();
    node.until("crash", "it is started again", |s| container(s).restart_count == 2).await;
    let waited = backed_off.elapsed();
    assert!((8..12).contains(&waited.as_secs()), "{waited:?}");
    let events = node.events().await;
    let words = "Back-off restarting failed container c in pod crash_default(uid-crash)";
    assert!(events.iter().any(|event| event.0 == "BackOff" && event.1 == words), "{events:#?}");
    node.delete_pod(&pod, 0).await;
    node.leaves_nothing().await;
}

async fn an_image_that_does_not_exist_is_told_in_the_runtimes_words(runtime: Kind) {
    let node = Node::start(runtime).await;
    let mut c = shell("c", SLEEP);
    c["image"] = "127.0.0.1:1/no/such:1".into();
    let missing = pod("missing", json!({ "containers": [c] }));
    node.run_pod(&missing).await;
    node.until("missing", "ErrImagePull", |s| waits_for(s) == "ErrImagePull").await;
    let status = node.until("missing", "ImagePullBackOff", |s| waits_for(s) == "ImagePullBackOff").await;
    let message =
        container(&status).state.and_then(|s| s.waiting).and_then(|w| w.message).unwrap_or_default();
    assert!(
        message.starts_with("Back-off pulling image \"127.0.0.1:1/no/such:1\": ErrImagePull: "),
        "{message}"
    );
    assert!(message.contains("connection refused"), "{message}");
    let events = node.events().await;
    let failed = events.iter().find(|event| event.0 == "Failed" && event.1.contains("connection refused"));
    assert!(failed.is_some(), "{events:#?}");

    for (name, image, policy, reason) in [
        ("never", "skerry.test/none:1", "Never", "ErrImageNeverPull"),
        ("wrong", "not a name", "IfNotPresent", "InvalidImageName"),
    ] {
        let mut c = shell("c", SLEEP);
        c["image"] = image.into();
        c["imagePullPolicy"] = policy.into();
        let pod = pod(name, json!({ "containers": [c] }));
        node.run_pod(&pod).await;
        node.until(name, reason, |s| waits_for(s) == reason).await;
        node.delete_pod(&pod, 0).await;
    }
    node.delete_pod(&missing, 0).await;
    node.leaves_nothing().await;
}

async fn init_containers_run_in_order_and_a_pod_that_is_done_is_done(runtime: Kind) {
    let node = Node::start(runtime).await;
    let mount = json!([{ "name": "v", "mountPath": "/v" }]);
    let step = |name: &str, script: &str| {
        let mut c = shell(name, script);
        c["volumeMounts"] = mount.clone();
        c
    };
    let pod = pod(
        "job",
        json!({
            "restartPolicy": "Never",
            "initContainers": [step("one", "echo 1 >> /v/f; sleep 0.3; echo 2 >> /v/f"), step("two", "echo 3 >> /v/f")],
            "containers": [step("c", "cat /v/f; exit 0")],
            "volumes": [{ "name": "v", "emptyDir": {} }],
        }),
    );
    node.run_pod(&pod).await;
    let status = node.until("job", "it succeeds", |s| s.phase.as_deref() == Some("Succeeded")).await;
    assert_eq!(node.log("job", "c", 0), "1\n2\n3\n");
    let inits = status.init_container_statuses.expect("statuses");
    assert!(inits.iter().all(|status| status.ready), "{inits:?}");
    let end =
        container(&node.status("job").await.expect("a status")).state.and_then(|state| state.terminated);
    assert_eq!(end.map(|end| (end.exit_code, end.reason)), Some((0, Some("Completed".into()))));
    node.wait("its volumes are given back, and only its last words are kept", async || {
        let left = std::fs::read_dir(node.settings.pod_dir("uid-job")).expect("its folder");
        let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
        (left == ["containers"]).then_some(())
    })
    .await;
    node.delete_pod(&pod, 0).await;
    node.leaves_nothing().await;
}

async fn a_restart_of_edgecore_adopts_containers_and_a_restart_of_the_runtime_too(runtime: Kind) {
    let mut node = Node::start(runtime).await;
    let pod = pod("stays", json!({ "containers": [shell("c", SLEEP)] }));
    node.run_pod(&pod).await;
    let before = container(&node.ready("stays").await);
    let started = |status: &k8s_openapi::api::core::v1::ContainerStatus| {
        status.state.clone().and_then(|state| state.running).and_then(|running| running.started_at)
    };
    node.stop_edged().await;
    node.start_edged().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let after = container(&node.ready("stays").await);
    assert_eq!((id(&before), started(&before)), (id(&after), started(&after)));

    node.engine.kill();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    node.engine.restart().await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let after = container(&node.ready("stays").await);
    assert_eq!((id(&before), started(&before)), (id(&after), started(&after)));
    // And it is still in charge: a crash is noticed.
    node.engine.kill_container(id(&after));
    node.until("stays", "it was restarted", |s| container(s).restart_count == 1 && is_ready(s)).await;
    node.delete_pod(&pod, 1).await;
    node.leaves_nothing().await;
}

async fn a_pod_that_was_removed_while_edgecore_was_away_is_stopped(runtime: Kind) {
    let mut node = Node::start(runtime).await;
    let (stays, goes) = (
        pod("stays", json!({ "containers": [shell("c", SLEEP)] })),
        pod("goes", json!({ "containers": [shell("c", SLEEP)] })),
    );
    node.run_pod(&stays).await;
    node.run_pod(&goes).await;
    node.ready("stays").await;
    node.ready("goes").await;
    node.stop_edged().await;
    {
        // The store learns it while edged does not run.
        let tasks = tasks::TaskSet::new("store");
        let (hub, _link) = edgecore::edgehub::channel();
        let path = node.settings.root.parent().expect("a parent").join("edgecore.db");
        let settings = edgecore::metamanager::Settings::new(path, "edge1");
        node.store = edgecore::metamanager::open(settings, hub, &tasks).await.expect("the store opens");
        node.push(Operation::Delete, "pod", &goes).await;
        assert!(tasks.shutdown(Duration::from_secs(5)).await.is_clean());
    }
    node.start_edged().await;
    node.wait("it is removed", async || {
        (node.engine.containers().len() == 2 && !node.settings.pod_dir("uid-goes").exists()).then_some(())
    })
    .await;
    node.ready("stays").await;
    node.delete_pod(&stays, 0).await;
    node.leaves_nothing().await;
}

async fn a_dead_sandbox_is_replaced_and_its_containers_with_it(runtime: Kind) {
    let node = Node::start(runtime).await;
    let pod = pod("box", json!({ "containers": [shell("c", SLEEP)] }));
    node.run_pod(&pod).await;
    let before = node.ready("box").await;
    let mine = id(&container(&before)).to_owned();
    let running = node.engine.running();
    let sandbox = running.iter().find(|id| **id != mine).expect("the sandbox");
    node.engine.kill_container(sandbox);
    let after =
        node.until("box", "another container runs", |s| is_ready(s) && id(&container(s)) != mine).await;
    assert_eq!(container(&after).restart_count, 1);
    node.delete_pod(&pod, 0).await;
    node.leaves_nothing().await;
}
