//! What a user gets wrong: told in the kubelet's words, and well by itself once it is put right.

use std::time::Duration;

use edgecore::edged::node::RuntimeHealth;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, PodStatus};
use proto::message::Operation;
use serde_json::{Value, json};

use super::engine::{Kind, on_every_runtime};
use super::node::{Node, SLEEP, container, id, is_ready, pod, shell, waits_for};

on_every_runtime!(
    a_volume_without_its_config_map_or_key_is_told_and_comes_when_they_do,
    a_host_path_of_another_kind_is_told_and_mounted_once_it_is_right,
    an_image_name_that_is_none_is_told_and_the_right_one_runs,
    a_port_of_the_host_is_given_once_and_again_when_it_is_free,
    a_port_of_the_host_that_a_process_has_is_told_and_taken_once_it_is_free,
    a_pod_that_asks_for_more_than_the_machine_has_is_refused,
    a_memory_limit_that_nothing_can_run_in_is_told,
    a_command_that_is_not_found_is_told_and_the_pod_runs_once_it_is_there,
    a_secret_too_large_for_a_variable_is_told_and_a_smaller_one_runs,
    a_runtime_that_hangs_is_told_and_nothing_is_touched,
    a_runtime_whose_socket_is_not_there_is_waited_for,
);

async fn said(node: &Node, reason: &str, words: &str) {
    node.wait(&format!("{reason}: {words}"), async || {
        let events = node.events().await;
        events.iter().any(|event| event.0 == reason && event.1.contains(words)).then_some(())
    })
    .await;
}

fn words(status: &PodStatus) -> String {
    let state = container(status).state.unwrap_or_default();
    state.waiting.and_then(|waiting| waiting.message).unwrap_or_default()
}

fn last_end(status: &PodStatus) -> ContainerStateTerminated {
    let c = container(status);
    let last = c.state.and_then(|state| state.terminated);
    last.or(c.last_state.and_then(|state| state.terminated)).unwrap_or_default()
}

fn mounting(source: Value) -> Value {
    let mut c = shell("c", SLEEP);
    c["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
    let mut volume = source;
    volume["name"] = "v".into();
    json!({ "containers": [c], "volumes": [volume] })
}

async fn end(node: Node, pods: &[&Value]) {
    for pod in pods {
        node.delete_pod(pod, 0).await;
    }
    node.leaves_nothing().await;
}

async fn a_volume_without_its_config_map_or_key_is_told_and_comes_when_they_do(runtime: Kind) {
    let node = Node::start(runtime).await;
    let items = json!([{ "key": "k", "path": "k" }]);
    let waits = pod("waits", mounting(json!({ "configMap": { "name": "late", "items": items } })));
    node.run_pod(&waits).await;
    let setup = "MountVolume.SetUp failed for volume \"v\" : ";
    // There is no cloud here that could say that it does not exist.
    said(&node, "FailedMount", &format!("{setup}configmap \"late\" is not on this node")).await;
    node.until("waits", "it waits", |s| waits_for(s) == "ContainerCreating").await;
    node.config_map("late", 1, json!({ "other": "1" })).await;
    said(&node, "FailedMount", &format!("{setup}configmap references non-existent config key: k")).await;
    node.config_map("late", 2, json!({ "k": "1" })).await;
    let status = node.ready("waits").await;
    assert_eq!(node.exec(&status, &["cat", "/v/k"]), "1");
    end(node, &[&waits]).await;
}

async fn a_host_path_of_another_kind_is_told_and_mounted_once_it_is_right(runtime: Kind) {
    let node = Node::start(runtime).await;
    let path = node.settings.root.with_file_name("data");
    let data = pod("data", mounting(json!({ "hostPath": { "path": path, "type": "Directory" } })));
    node.run_pod(&data).await;
    let setup = "MountVolume.SetUp failed for volume \"v\" : hostPath type check failed: ";
    said(&node, "FailedMount", &format!("{setup}{} is not a directory", path.display())).await;
    node.until("data", "it waits", |s| waits_for(s) == "ContainerCreating").await;
    std::fs::create_dir(&path).expect("a folder");
    node.ready("data").await;
    end(node, &[&data]).await;
}

async fn an_image_name_that_is_none_is_told_and_the_right_one_runs(runtime: Kind) {
    let node = Node::start(runtime).await;
    let mut wrong = pod("wrong", json!({ "containers": [shell("c", SLEEP)] }));
    wrong["spec"]["containers"][0]["image"] = "not a name".into();
    node.run_pod(&wrong).await;
    let status = node.until("wrong", "it is no name", |s| waits_for(s) == "InvalidImageName").await;
    let expected = "Failed to apply default image tag \"not a name\": couldn't parse image name \"not a name\": invalid \
                    reference format";
    assert_eq!(words(&status), expected);
    said(&node, "InspectFailed", expected).await;
    said(&node, "Failed", "Error: InvalidImageName").await;
    wrong["spec"]["containers"][0]["image"] = e2e::image::BUSYBOX.into();
    wrong["metadata"]["resourceVersion"] = "2".into();
    node.push(Operation::Update, "pod", &wrong).await;
    node.ready("wrong").await;
    end(node, &[&wrong]).await;
}

async fn a_port_of_the_host_is_given_once_and_again_when_it_is_free(runtime: Kind) {
    let mut node = Node::start(runtime).await;
    let port = match runtime {
        Kind::Containerd | Kind::CriOnly => 18_187,
        Kind::Docker => 18_188,
    };
    let wants = |name: &str| {
        let mut c = shell("c", SLEEP);
        c["ports"] = json!([{ "containerPort": 80, "hostPort": port, "hostIP": "127.0.0.1" }]);
        pod(name, json!({ "containers": [c] }))
    };
    let (first, second, third) = (wants("first"), wants("second"), wants("third"));
    node.run_pod(&first).await;
    node.ready("first").await;
    // Also what was given before a restart of the agent is given.
    node.stop_edged().await;
    node.start_edged().await;
    node.run_pod(&second).await;
    let refused = node.until("second", "it is refused", |s| s.phase.as_deref() == Some("Failed")).await;
    let message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    assert_eq!(refused.reason.as_deref(), Some("NodePorts"));
    assert_eq!(refused.message, Some(format!("Pod was rejected: {message}")));
    said(&node, "NodePorts", message).await;
    assert!(is_ready(&node.status("first").await.expect("a status")));
    node.delete_pod(&first, 0).await;
    node.run_pod(&third).await;
    node.ready("third").await;
    end(node, &[&second, &third]).await;
}

async fn a_port_of_the_host_that_a_process_has_is_told_and_taken_once_it_is_free(runtime: Kind) {
    let node = Node::start(runtime).await;
    let process = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = process.local_addr().expect("its number").port();
    let serve = format!("exec httpd -f -p 127.0.0.1:{port}");
    let serves = pod("serves", json!({ "containers": [shell("c", &serve)], "hostNetwork": true }));
    node.run_pod(&serves).await;
    let status =
        node.until("serves", "it cannot have the port", |s| waits_for(s) == "CrashLoopBackOff").await;
    assert_eq!((last_end(&status).exit_code, last_end(&status).reason.as_deref()), (1, Some("Error")));
    said(&node, "BackOff", "Back-off restarting failed container").await;

    let mut c = shell("c", SLEEP);
    let other = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let given = other.local_addr().expect("its number").port();
    c["ports"] = json!([{ "containerPort": 80, "hostPort": given, "hostIP": "127.0.0.1" }]);
    let given = pod("given", json!({ "containers": [c] }));
    node.run_pod(&given).await;
    match runtime {
        // A rule of the firewall leads to the pod before any process is asked.
        Kind::Containerd | Kind::CriOnly => drop(node.ready("given").await),
        Kind::Docker => {
            said(&node, "FailedCreatePodSandBox", "address already in use").await;
            node.until("given", "it waits", |s| waits_for(s) == "ContainerCreating").await;
        }
    }
    drop((process, other));
    node.ready("given").await;
    node.ready("serves").await;
    end(node, &[&serves, &given]).await;
}

async fn a_pod_that_asks_for_more_than_the_machine_has_is_refused(runtime: Kind) {
    let node = Node::start(runtime).await;
    let mut c = shell("c", SLEEP);
    c["resources"] = json!({ "requests": { "cpu": "4000" } });
    let greedy = pod("greedy", json!({ "containers": [c] }));
    node.run_pod(&greedy).await;
    let refused = node.until("greedy", "it is refused", |s| s.phase.as_deref() == Some("Failed")).await;
    assert_eq!(refused.reason.as_deref(), Some("OutOfcpu"));
    let message = refused.message.unwrap_or_default();
    let start =
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 4000000, used: 0, capacity: ";
    assert!(message.starts_with(start), "{message}");
    said(&node, "OutOfcpu", "Node didn't have enough resource: cpu, requested: 4000000").await;
    end(node, &[&greedy]).await;
}

async fn a_memory_limit_that_nothing_can_run_in_is_told(runtime: Kind) {
    let node = Node::start(runtime).await;
    let mut c = shell("c", SLEEP);
    c["resources"] = json!({ "limits": { "memory": "64Ki" } });
    let tiny = pod("tiny", json!({ "containers": [c] }));
    node.run_pod(&tiny).await;
    // As with a kubelet, the group of the whole pod is held to it, and not even its sandbox fits.
    said(&node, "FailedCreatePodSandBox", "memory limit too low").await;
    let status = node.status("tiny").await.expect("a status");
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    end(node, &[&tiny]).await;
}

async fn a_command_that_is_not_found_is_told_and_the_pod_runs_once_it_is_there(runtime: Kind) {
    let node = Node::start(runtime).await;
    let dir = node.settings.root.with_file_name("tools");
    std::fs::create_dir(&dir).expect("a folder");
    let mut missing = pod("missing", mounting(json!({ "hostPath": { "path": dir } })));
    missing["spec"]["containers"][0]["command"] = json!(["/v/tool", "-c", SLEEP]);
    node.run_pod(&missing).await;
    let status = node
        .until("missing", "it is not found", |s| {
            matches!(waits_for(s).as_str(), "RunContainerError" | "CrashLoopBackOff")
        })
        .await;
    let last = last_end(&status);
    let (code, reason) = match runtime {
        Kind::Containerd | Kind::CriOnly => (128, "StartError"),
        Kind::Docker => (127, "ContainerCannotRun"),
    };
    assert_eq!((last.exit_code, last.reason.as_deref()), (code, Some(reason)));
    let message = last.message.unwrap_or_default();
    assert!(message.contains("/v/tool") && message.contains("no such file or directory"), "{message}");
    said(&node, "Failed", "Error: ").await;
    // While it waits for its next start it is told as any other that ended.
    let status = node.until("missing", "it backs off", |s| waits_for(s) == "CrashLoopBackOff").await;
    let back_off = "restarting failed container=c pod=missing_default(uid-missing)";
    assert!(words(&status).starts_with("back-off 10s") && words(&status).ends_with(back_off), "{status:?}");
    std::fs::write(dir.join("tool"), "#!/bin/sh\nexec /bin/sh \"$@\"\n").expect("a script");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.join("tool"), open).expect("its mode");
    node.ready("missing").await;
    end(node, &[&missing]).await;
}

async fn a_secret_too_large_for_a_variable_is_told_and_a_smaller_one_runs(runtime: Kind) {
    use base64::Engine as _;
    let node = Node::start(runtime).await;
    let of_size =
        |bytes: usize| json!({ "k": base64::engine::general_purpose::STANDARD.encode(vec![b'x'; bytes]) });
    node.secret("big", of_size(200_000)).await;
    let mut c = shell("c", SLEEP);
    c["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
    c["env"] = json!([{ "name": "BIG", "valueFrom": { "secretKeyRef": { "name": "big", "key": "k" } } }]);
    let big = pod("big", json!({ "containers": [c] }));
    node.run_pod(&big).await;
    let status = node.until("big", "it does not fit", |s| waits_for(s) == "CrashLoopBackOff").await;
    let message = last_end(&status).message.unwrap_or_default();
    assert!(message.contains("argument list too long"), "{message}");
    said(&node, "BackOff", "Back-off restarting failed container c in pod big_default(uid-big)").await;
    node.secret_at("big", 2, of_size(2_000)).await;
    node.ready("big").await;
    end(node, &[&big]).await;
}

async fn a_runtime_that_hangs_is_told_and_nothing_is_touched(runtime: Kind) {
    let mut node = Node::start(runtime).await;
    node.stop_edged().await;
    node.settings.runtime_timeout = Duration::from_secs(2);
    node.start_edged().await;
    let stays = pod("stays", json!({ "containers": [shell("c", SLEEP)] }));
    node.run_pod(&stays).await;
    let before = container(&node.ready("stays").await);
    node.engine.hang();
    let late = pod("late", json!({ "containers": [shell("c", SLEEP)] }));
    node.run_pod(&late).await;
    let reason = node
        .wait("it is told", async || match &*node.outlook.runtime.borrow() {
            RuntimeHealth::Broken { reason } => Some(reason.clone()),
            _ => None,
        })
        .await;
    assert!(reason.contains("did not answer within 2 s"), "{reason}");
    assert!(is_ready(&node.status("stays").await.expect("a status")), "it runs as before");
    node.engine.wake();
    node.ready("late").await;
    node.wait("it is well", async || {
        matches!(*node.outlook.runtime.borrow(), RuntimeHealth::Ready { .. }).then_some(())
    })
    .await;
    let after = container(&node.ready("stays").await);
    assert_eq!((id(&after), after.restart_count), (id(&before), 0));
    end(node, &[&stays, &late]).await;
}

async fn a_runtime_whose_socket_is_not_there_is_waited_for(runtime: Kind) {
    let mut node = Node::start(runtime).await;
    node.stop_edged().await;
    node.engine.kill();
    let socket = node.engine.endpoint();
    let socket = std::path::Path::new(socket.trim_start_matches("unix://"));
    std::fs::remove_file(socket).ok();
    node.start_edged().await;
    let waits = pod("waits", json!({ "containers": [shell("c", SLEEP)] }));
    node.run_pod(&waits).await;
    let reason = node
        .wait("it is told", async || match &*node.outlook.runtime.borrow() {
            RuntimeHealth::Broken { reason } => Some(reason.clone()),
            _ => None,
        })
        .await;
    let missing = format!("no container runtime answers on {}", node.engine.endpoint());
    assert!(reason.starts_with(&missing), "{reason}");
    said(&node, "ContainerGCFailed", &missing).await;
    node.engine.restart().await;
    node.ready("waits").await;
    end(node, &[&waits]).await;
}
