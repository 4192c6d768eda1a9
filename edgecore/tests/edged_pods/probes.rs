//! Probes and hooks on real containers.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Value, json};

use super::engine::{Kind, on_every_runtime};
use super::node::{Node, SLEEP, container, is_ready, pod, shell, waits_for};

on_every_runtime!(
    readiness_follows_the_answers_and_no_container_is_touched,
    a_container_that_fails_its_liveness_probe_is_started_anew,
    nothing_else_is_asked_before_the_startup_probe_succeeds,
    a_container_that_ends_well_when_it_is_killed_for_a_failed_probe_is_started_anew,
    a_probe_that_hangs_is_a_failure,
    hooks_run_after_the_start_and_before_the_end,
);

/// A web server that serves what is in `/www`, which the pod makes.
const WEB: &str = "mkdir -p /www; echo hi > /www/ok; httpd -f -p 8080 -h /www & trap 'exit 0' TERM; while :; do sleep 0.05; done";

fn with(mut container: Value, field: &str, value: Value) -> Value {
    container[field] = value;
    container
}

fn started(status: &PodStatus) -> bool {
    container(status).started == Some(true)
}

async fn said(node: &Node, reason: &str, words: &str) {
    node.wait(&format!("{reason}: {words}"), async || {
        let events = node.events().await;
        events.iter().any(|event| event.0 == reason && event.1.contains(words)).then_some(())
    })
    .await;
}

async fn readiness_follows_the_answers_and_no_container_is_touched(runtime: Kind) {
    let mut node = Node::start(runtime).await;
    let ports = json!([{ "name": "web", "containerPort": 8080 }]);
    let probe =
        json!({ "httpGet": { "path": "/ok", "port": "web" }, "periodSeconds": 1, "failureThreshold": 2 });
    let web = with(with(shell("c", WEB), "ports", ports), "readinessProbe", probe);
    let pod = pod("web", json!({ "containers": [web] }));
    node.run_pod(&pod).await;
    let status = node.ready("web").await;

    node.exec(&status, &["rm", "/www/ok"]);
    let unready = node.until("web", "it is not ready", |s| !is_ready(s)).await;
    assert!(started(&unready), "it runs all the same");
    said(&node, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 404").await;

    // A restart of the agent changes nothing of what was found out.
    node.stop_edged().await;
    node.start_edged().await;
    node.exec(&status, &["touch", "/www/ok"]);
    let ready = node.ready("web").await;
    assert_eq!(container(&ready).container_id, container(&status).container_id);
    assert_eq!(container(&ready).restart_count, 0);
    node.stop_edged().await;
    node.start_edged().await;
    for _ in 0..20 {
        assert!(is_ready(&node.status("web").await.expect("a status")), "ready all the time");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    node.delete_pod(&pod, 1).await;
    node.leaves_nothing().await;
}

async fn a_container_that_fails_its_liveness_probe_is_started_anew(runtime: Kind) {
    let node = Node::start(runtime).await;
    let probe = json!({ "exec": { "command": ["/bin/sh", "-c", "test -e /tmp/ok || { echo it is broken; exit 1; }"] },
        "periodSeconds": 1, "failureThreshold": 2, "initialDelaySeconds": 1 });
    let script = format!("mkdir -p /tmp; touch /tmp/ok; {SLEEP}");
    let pod = pod("ill", json!({ "containers": [with(shell("c", &script), "livenessProbe", probe)] }));
    node.run_pod(&pod).await;
    let status = node.ready("ill").await;
    node.exec(&status, &["rm", "/tmp/ok"]);
    let again =
        node.until("ill", "it was started anew", |s| container(s).restart_count == 1 && is_ready(s)).await;
    assert_ne!(container(&again).container_id, container(&status).container_id);
    said(&node, "Unhealthy", "Liveness probe failed: it is broken").await;
    said(&node, "Killing", "Container c failed liveness probe, will be restarted").await;
    node.delete_pod(&pod, 1).await;
    node.leaves_nothing().await;
}

async fn nothing_else_is_asked_before_the_startup_probe_succeeds(runtime: Kind) {
    let node = Node::start(runtime).await;
    let script = format!("mkdir -p /www; httpd -f -p 8080 -h /www & sleep 2; touch /www/up; {SLEEP}");
    let mut slow = shell("c", &script);
    slow["startupProbe"] =
        json!({ "httpGet": { "path": "/up", "port": 8080 }, "periodSeconds": 1, "failureThreshold": 30 });
    // It would be started anew over and over if it was asked before it is up.
    slow["livenessProbe"] =
        json!({ "httpGet": { "path": "/up", "port": 8080 }, "periodSeconds": 1, "failureThreshold": 1 });
    slow["readinessProbe"] = json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": 1 });
    let slow = pod("slow", json!({ "containers": [slow] }));
    node.run_pod(&slow).await;
    let early = node.until("slow", "it runs", |s| container(s).container_id.is_some()).await;
    assert!(!started(&early) && !is_ready(&early), "{early:?}");
    let late = node.ready("slow").await;
    assert!(started(&late));
    assert_eq!(container(&late).restart_count, 0);
    said(&node, "Unhealthy", "Startup probe failed: HTTP probe failed with statuscode: 404").await;
    node.delete_pod(&slow, 1).await;

    let mut never = shell("c", SLEEP);
    never["startupProbe"] = json!({ "tcpSocket": { "port": 9 }, "periodSeconds": 1, "failureThreshold": 2 });
    let never = pod("never", json!({ "restartPolicy": "Never", "containers": [never] }));
    node.run_pod(&never).await;
    let status = node
        .until("never", "it has ended", |s| container(s).state.is_some_and(|s| s.terminated.is_some()))
        .await;
    assert_eq!(container(&status).restart_count, 0);
    said(&node, "Killing", "Container c failed startup probe").await;
    node.delete_pod(&never, 1).await;
    node.leaves_nothing().await;
}

async fn a_probe_that_hangs_is_a_failure(runtime: Kind) {
    let node = Node::start(runtime).await;
    let mut hangs = shell("c", SLEEP);
    hangs["readinessProbe"] =
        json!({ "exec": { "command": ["sleep", "3600"] }, "periodSeconds": 1, "timeoutSeconds": 1 });
    let mut typo = shell("d", SLEEP);
    typo["readinessProbe"] = json!({ "httpGet": { "port": "wbe" }, "periodSeconds": 1 });
    let pod = pod("hangs", json!({ "containers": [hangs, typo] }));
    node.run_pod(&pod).await;
    said(&node, "Unhealthy", "Readiness probe failed: command timed out: \"sleep 3600\" timed out after 1s")
        .await;
    said(&node, "Unhealthy", "container \"d\" has no port named \"wbe\"").await;
    assert!(!is_ready(&node.status("hangs").await.expect("a status")));
    node.delete_pod(&pod, 1).await;
    node.leaves_nothing().await;
}

async fn hooks_run_after_the_start_and_before_the_end(runtime: Kind) {
    let node = Node::start(runtime).await;
    let shared = node.settings.root.with_file_name("shared");
    std::fs::create_dir_all(&shared).expect("a folder");
    let mut hooked = shell("c", WEB);
    hooked["volumeMounts"] = json!([{ "name": "s", "mountPath": "/shared" }]);
    hooked["lifecycle"] = json!({
        "postStart": { "exec": { "command": ["/bin/sh", "-c", "echo up > /shared/begun"] } },
        "preStop": { "exec": { "command": ["/bin/sh", "-c", "sleep 0.3; echo down > /shared/ended"] } },
    });
    let volumes = json!([{ "name": "s", "hostPath": { "path": shared } }]);
    let pod_ = pod(
        "hooked",
        json!({ "containers": [hooked], "volumes": volumes, "terminationGracePeriodSeconds": 10 }),
    );
    node.run_pod(&pod_).await;
    node.ready("hooked").await;
    assert_eq!(std::fs::read_to_string(shared.join("begun")).ok().as_deref(), Some("up\n"));
    node.delete_pod(&pod_, 10).await;
    assert_eq!(std::fs::read_to_string(shared.join("ended")).ok().as_deref(), Some("down\n"));

    let mut fails = shell("c", SLEEP);
    fails["lifecycle"] = json!({ "postStart": { "httpGet": { "port": 9 } } });
    let fails = pod("fails", json!({ "containers": [fails] }));
    node.run_pod(&fails).await;
    node.until("fails", "it waits", |s| {
        waits_for(s) == "PostStartHookError" || waits_for(s) == "CrashLoopBackOff"
    })
    .await;
    said(&node, "FailedPostStartHook", "PostStartHook failed").await;
    node.delete_pod(&fails, 1).await;

    let mut fails = shell("c", SLEEP);
    fails["lifecycle"] = json!({ "preStop": { "exec": { "command": ["false"] } } });
    let fails = pod("refuses", json!({ "containers": [fails] }));
    node.run_pod(&fails).await;
    node.ready("refuses").await;
    node.delete_pod(&fails, 2).await;
    said(&node, "FailedPreStopHook", "PreStopHook failed").await;
    node.leaves_nothing().await;
}

async fn a_container_that_ends_well_when_it_is_killed_for_a_failed_probe_is_started_anew(runtime: Kind) {
    let mut node = Node::start(runtime).await;
    let probe = json!({ "exec": { "command": ["/bin/sh", "-c", "[ ! -e /tmp/ill ]"] }, "periodSeconds": 1,
        "failureThreshold": 1 });
    let c = with(shell("c", SLEEP), "livenessProbe", probe);
    let pod = pod("well", json!({ "containers": [c], "restartPolicy": "OnFailure" }));
    node.run_pod(&pod).await;
    for restarts in 1..=2 {
        let status = node.ready("well").await;
        node.exec(&status, &["touch", "/tmp/ill"]);
        if restarts == 2 {
            // Also when the agent is started anew while the container waits.
            node.until("well", "it waits", |s| waits_for(s) == "CrashLoopBackOff").await;
            node.stop_edged().await;
            node.start_edged().await;
        }
        let status = node
            .until("well", "it runs again", |s| container(s).restart_count == restarts && is_ready(s))
            .await;
        let last = container(&status).last_state.and_then(|state| state.terminated).expect("its end");
        assert_eq!((last.exit_code, last.reason.as_deref()), (0, Some("Completed")));
        assert_eq!(status.phase.as_deref(), Some("Running"));
    }
    said(&node, "Killing", "Container c failed liveness probe, will be restarted").await;
    node.delete_pod(&pod, 1).await;
    node.leaves_nothing().await;
}
