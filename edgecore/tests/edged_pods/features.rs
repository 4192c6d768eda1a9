//! What a pod's specification can ask for beyond its containers' commands: each looked at from inside the pod.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::engine::{Kind, on_every_runtime};
use super::node::{Node, SLEEP, container, id, pod, shell};

on_every_runtime!(
    names_resolvers_and_ports_are_what_the_pod_asks_for,
    a_container_is_who_it_should_be_and_may_do_no_more,
    a_privileged_container_may_do_everything,
    a_pod_on_the_hosts_namespaces_sees_the_host,
    a_container_that_takes_more_memory_than_it_may_is_told_as_out_of_memory,
    a_pod_that_takes_longer_than_it_may_is_ended,
    a_sidecar_starts_before_the_others_and_ends_after_them,
    what_a_container_writes_as_its_last_words_is_told,
);

/// Runs a command in the container of that name.
fn exec(node: &Node, status: &PodStatus, name: &str, command: &[&str]) -> String {
    let found = status.container_statuses.iter().flatten().find(|status| status.name == name);
    node.engine.exec(id(found.expect("a container")), command)
}

async fn end(node: &Node, pod: &Value) {
    node.delete_pod(pod, 1).await;
}

async fn names_resolvers_and_ports_are_what_the_pod_asks_for(runtime: Kind) {
    let node = Node::start(runtime).await;
    let [port] = e2e::free_ports().expect("a free port");
    let mut web = shell("web", &format!("mkdir -p /www; echo hi > /www/x; httpd -p 8080 -h /www; {SLEEP}"));
    web["ports"] = json!([{ "containerPort": 8080, "hostPort": port, "hostIP": "127.0.0.1" }]);
    let named = pod(
        "named",
        json!({
            "containers": [web, shell("other", SLEEP)],
            "hostname": "given", "subdomain": "sub", "shareProcessNamespace": true,
            "hostAliases": [{ "ip": "192.0.2.7", "hostnames": ["plc", "plc.factory"] }],
            "dnsPolicy": "None", "dnsConfig": { "nameservers": ["192.0.2.53"], "searches": ["a.b"],
                "options": [{ "name": "ndots", "value": "3" }] },
            "securityContext": { "sysctls": [{ "name": "kernel.shm_rmid_forced", "value": "1" }] },
        }),
    );
    node.run_pod(&named).await;
    let status = node.ready("named").await;
    let other = |command: &[&str]| exec(&node, &status, "other", command);
    assert_eq!(other(&["hostname"]).trim(), "given");
    let hosts = other(&["cat", "/etc/hosts"]);
    let ip = status.pod_ip.as_deref().expect("an address");
    let lines: Vec<Vec<&str>> = hosts.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["192.0.2.7", "plc", "plc.factory"]), "{hosts}");
    assert!(lines.iter().any(|line| line.first() == Some(&ip) && line.last() == Some(&"given")), "{hosts}");
    // Runtimes write the lines in an order of their own.
    let resolver = other(&["cat", "/etc/resolv.conf"]);
    let mut lines: Vec<&str> = resolver.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["nameserver 192.0.2.53", "options ndots:3", "search a.b"]);
    assert_eq!(other(&["wget", "-qO-", "http://127.0.0.1:8080/x"]), "hi\n", "one network");
    assert!(other(&["ps"]).contains("httpd"), "one process namespace");
    assert_eq!(other(&["cat", "/proc/sys/kernel/shm_rmid_forced"]).trim(), "1");
    node.wait("the host's port leads to the pod", async || {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /x HTTP/1.0\r\n\r\n").await.ok()?;
        let mut head = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut head).await.ok()?;
        head.ends_with(b" 200").then_some(())
    })
    .await;
    end(&node, &named).await;
    node.leaves_nothing().await;
}

/// A word of `/proc/self/status`.
fn of_process(text: &str, key: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

async fn a_container_is_who_it_should_be_and_may_do_no_more(runtime: Kind) {
    let node = Node::start(runtime).await;
    let confined = |name: &str, context: Value| {
        let mut c = shell(name, SLEEP);
        c["securityContext"] = context;
        c["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
        c
    };
    let strict = confined(
        "strict",
        json!({ "runAsUser": 7, "runAsGroup": 8, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" } }),
    );
    let binder = confined(
        "binder",
        json!({ "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] },
            "seccompProfile": { "type": "Unconfined" } }),
    );
    let who = pod(
        "who",
        json!({
            "containers": [strict, binder], "volumes": [{ "name": "v", "emptyDir": {} }],
            "securityContext": { "supplementalGroups": [99], "fsGroup": 98, "runAsNonRoot": false },
        }),
    );
    node.run_pod(&who).await;
    let status = node.ready("who").await;
    let strict = |command: &[&str]| exec(&node, &status, "strict", command);
    assert_eq!(strict(&["id", "-u"]).trim(), "7");
    let groups = strict(&["id", "-G"]);
    assert!(
        ["8", "98", "99"].iter().all(|group| groups.split_whitespace().any(|one| one == *group)),
        "{groups}"
    );
    // What the first process of the container is, not what an exec beside it may be.
    let first = |name: &str| exec(&node, &status, name, &["cat", "/proc/1/status"]);
    let of_strict = first("strict");
    assert_eq!(of_process(&of_strict, "CapEff"), "0000000000000000");
    assert_eq!(of_process(&of_strict, "NoNewPrivs"), "1");
    assert_eq!(of_process(&of_strict, "Seccomp"), "2", "a filter");
    let of_binder = first("binder");
    assert_eq!(of_process(&of_binder, "CapEff"), "0000000000000400", "CAP_NET_BIND_SERVICE alone");
    assert_eq!(of_process(&of_binder, "Seccomp"), "0");
    let told = strict(&["sh", "-c", "touch /x 2>&1; touch /v/x && stat -c %g /v/x"]);
    assert!(told.contains("Read-only file system"), "{told}");
    assert_eq!(told.lines().last(), Some("98"), "what is written belongs to the volume's group: {told}");
    end(&node, &who).await;
    node.leaves_nothing().await;
}

async fn a_privileged_container_may_do_everything(runtime: Kind) {
    let node = Node::start(runtime).await;
    let mut c = shell("c", SLEEP);
    c["securityContext"] = json!({ "privileged": true });
    let mighty = pod("mighty", json!({ "containers": [c] }));
    node.run_pod(&mighty).await;
    let mine = std::fs::read_to_string("/proc/self/status").expect("a status");
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("a number");
    let all = (2_u64 << last.trim().parse::<u32>().expect("a number")) - 1;
    let bounding = of_process(&mine, "CapBnd");
    // Docker asks for all capabilities that the kernel has. Where this machine was not given all of them, its refusal is told.
    if runtime == Kind::Docker && bounding != format!("{all:016x}") {
        node.wait("it is told why it cannot be", async || {
            node.events()
                .await
                .iter()
                .any(|event| event.0.starts_with("Failed") && event.1.contains("apply caps"))
                .then_some(())
        })
        .await;
        end(&node, &mighty).await;
        return node.leaves_nothing().await;
    }
    let status = node.ready("mighty").await;
    let first = node.exec(&status, &["cat", "/proc/1/status"]);
    assert_eq!(of_process(&first, "CapEff"), bounding, "all that there is");
    assert_eq!(of_process(&first, "Seccomp"), "0");
    node.exec(&status, &["sh", "-c", "mkdir -p /mnt/x && mount -t tmpfs none /mnt/x && touch /mnt/x/y"]);
    end(&node, &mighty).await;
    node.leaves_nothing().await;
}

async fn a_pod_on_the_hosts_namespaces_sees_the_host(runtime: Kind) {
    let node = Node::start(runtime).await;
    let host = pod(
        "host",
        json!({ "containers": [shell("c", SLEEP)], "hostNetwork": true, "hostPID": true, "hostIPC": true }),
    );
    let own = pod("own", json!({ "containers": [shell("c", SLEEP)] }));
    for pod in [&host, &own] {
        node.run_pod(pod).await;
    }
    let (on_host, apart) = (node.ready("host").await, node.ready("own").await);
    assert_eq!(on_host.pod_ip.as_deref(), Some("192.0.2.1"), "the node's address");
    for space in ["net", "pid", "ipc"] {
        let place = format!("/proc/self/ns/{space}");
        let mine = std::fs::metadata(&place).expect("a namespace").ino().to_string();
        let its =
            |status: &PodStatus| node.exec(status, &["stat", "-L", "-c", "%i", &place]).trim().to_owned();
        assert_eq!(its(&on_host), mine, "{space}");
        assert_ne!(its(&apart), mine, "{space}");
    }
    for pod in [&host, &own] {
        end(&node, pod).await;
    }
    node.leaves_nothing().await;
}

async fn a_container_that_takes_more_memory_than_it_may_is_told_as_out_of_memory(runtime: Kind) {
    let node = Node::start(runtime).await;
    // A variable of the shell that doubles until the kernel ends it.
    let mut c = shell("c", "x=0123456789abcdef; while :; do x=$x$x; done");
    c["resources"] = json!({ "limits": { "memory": "32Mi" } });
    let greedy = pod("greedy", json!({ "containers": [c], "restartPolicy": "Never" }));
    node.run_pod(&greedy).await;
    let status = node.until("greedy", "it has failed", |s| s.phase.as_deref() == Some("Failed")).await;
    let end_of = container(&status).state.and_then(|state| state.terminated).expect("an end");
    assert_eq!((end_of.exit_code, end_of.reason.as_deref()), (137, Some("OOMKilled")));
    end(&node, &greedy).await;
    node.leaves_nothing().await;
}

async fn a_pod_that_takes_longer_than_it_may_is_ended(runtime: Kind) {
    let node = Node::start(runtime).await;
    let slow = pod("slow", json!({ "containers": [shell("c", SLEEP)], "activeDeadlineSeconds": 3 }));
    let begun = Instant::now();
    node.run_pod(&slow).await;
    node.ready("slow").await;
    let status = node.until("slow", "it has failed", |s| s.phase.as_deref() == Some("Failed")).await;
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    assert_eq!(
        status.message.as_deref(),
        Some("Pod was active on the node longer than the specified deadline")
    );
    node.wait("its containers end", async || node.engine.running().is_empty().then_some(())).await;
    end(&node, &slow).await;
    node.leaves_nothing().await;
}

async fn a_sidecar_starts_before_the_others_and_ends_after_them(runtime: Kind) {
    let node = Node::start(runtime).await;
    let with = |mut c: Value, more: Value| {
        c["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
        for (key, value) in more.as_object().into_iter().flatten() {
            c[key.as_str()] = value.clone();
        }
        c
    };
    let says = |name: &str| {
        format!(
            "echo {name} up >> /v/f; trap 'echo {name} down >> /v/f; exit 0' TERM; while :; do sleep 0.05; done"
        )
    };
    let sidecar = with(
        shell("side", &format!("sleep 0.5; touch /v/ready; {}", says("side"))),
        json!({ "restartPolicy": "Always",
            "startupProbe": { "exec": { "command": ["cat", "/v/ready"] }, "periodSeconds": 1, "failureThreshold": 30 } }),
    );
    let init = with(shell("init", "echo init >> /v/f"), json!({}));
    let main = with(shell("main", &says("main")), json!({}));
    let dir = tempfile::Builder::new().prefix("sk").tempdir().expect("a folder");
    let pair = pod(
        "pair",
        json!({ "initContainers": [sidecar, init], "containers": [main], "terminationGracePeriodSeconds": 10,
            "volumes": [{ "name": "v", "hostPath": { "path": dir.path() } }] }),
    );
    let written = || std::fs::read_to_string(dir.path().join("f")).unwrap_or_default();
    node.run_pod(&pair).await;
    let status = node.ready("pair").await;
    let side =
        status.init_container_statuses.iter().flatten().find(|one| one.name == "side").expect("a status");
    assert!(side.ready && side.started == Some(true), "{side:?}");
    node.wait("all of them are up", async || (written().lines().count() == 3).then_some(())).await;
    assert_eq!(written(), "side up\ninit\nmain up\n");
    // One that ends is started anew, and nothing else with it.
    node.engine.kill_container(id(side));
    let again = node
        .until("pair", "the sidecar is back", |status| {
            let side = status.init_container_statuses.iter().flatten().find(|one| one.name == "side");
            side.is_some_and(|side| side.restart_count == 1 && side.ready)
        })
        .await;
    assert_eq!(container(&again).restart_count, 0);
    node.wait("it speaks again", async || written().ends_with("main up\nside up\n").then_some(())).await;
    node.delete_pod(&pair, 10).await;
    assert!(written().ends_with("side up\nmain down\nside down\n"), "{}", written());
    node.leaves_nothing().await;
}

async fn what_a_container_writes_as_its_last_words_is_told(runtime: Kind) {
    let node = Node::start(runtime).await;
    let mut c = shell("c", "echo all is lost > /mnt/words; exit 3");
    c["terminationMessagePath"] = "/mnt/words".into();
    let speaks = pod("speaks", json!({ "containers": [c], "restartPolicy": "Never" }));
    node.run_pod(&speaks).await;
    let status = node.until("speaks", "it has failed", |s| s.phase.as_deref() == Some("Failed")).await;
    let end_of = container(&status).state.and_then(|state| state.terminated).expect("an end");
    assert_eq!((end_of.exit_code, end_of.reason.as_deref()), (3, Some("Error")));
    assert_eq!(end_of.message.as_deref().map(str::trim_end), Some("all is lost"));
    end(&node, &speaks).await;
    node.leaves_nothing().await;
}
