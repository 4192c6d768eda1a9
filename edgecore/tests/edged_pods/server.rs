//! The kubelet's read-only API: which pods there are, what they log, what they use.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::engine::{Kind, on_every_runtime};
use super::node::{Node, SLEEP, container, pod, shell, waits_for};

on_every_runtime!(
    pods_and_their_logs_are_read_with_the_kubelets_options_and_words,
    a_log_is_followed_until_its_container_ends,
    what_the_node_and_its_pods_use_is_told_as_json_and_as_metrics,
);

/// Status and body of an answer that ends.
async fn get(node: &Node, path: &str) -> (u16, String) {
    let body = timeout(Duration::from_secs(30), async {
        let mut stream = TcpStream::connect(node.api).await.expect("the API listens");
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut body = String::new();
        stream.take(8 << 20).read_to_string(&mut body).await.expect("an answer");
        body
    });
    let answer = body.await.unwrap_or_else(|_| panic!("{path}: no end in 30 s"));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, body.to_owned())
}

async fn logs(node: &Node, of: &str) -> (u16, String) {
    get(node, &format!("/containerLogs/default/{of}")).await
}

async fn pods_and_their_logs_are_read_with_the_kubelets_options_and_words(runtime: Kind) {
    let node = Node::start(runtime).await;
    node.wait("the API is served", async || TcpStream::connect(node.api).await.ok()).await;
    assert_eq!(get(&node, "/healthz").await, (200, "ok".to_owned()));
    assert_eq!(get(&node, "/healthz/syncloop").await, (200, "ok".to_owned()));
    let script = "echo one; echo two >&2; echo three; touch /tmp/x; exit 3";
    let talks = pod("talks", json!({ "containers": [shell("c", script)] }));
    node.run_pod(&talks).await;
    node.until("talks", "it was started again", |s| container(s).restart_count == 1).await;
    node.until("talks", "it backs off", |s| waits_for(s) == "CrashLoopBackOff").await;

    let (status, body) = get(&node, "/pods").await;
    let list: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        (status, list["kind"].as_str(), list["items"].as_array().map(Vec::len)),
        (200, Some("PodList"), Some(1))
    );
    assert_eq!(list["items"][0]["metadata"]["name"], "talks");
    assert_eq!(list["items"][0]["status"]["containerStatuses"][0]["restartCount"], 1);
    let (_, body) = get(&node, "/runningpods/").await;
    assert!(body.contains("\"talks\""), "{body}");

    let mut lines: Vec<String> = logs(&node, "talks/c").await.1.lines().map(str::to_owned).collect();
    // Two pipes have no order between them.
    lines.sort();
    assert_eq!(lines, ["one", "three", "two"]);
    assert_eq!(logs(&node, "talks/c?previous=true").await.1.lines().count(), 3);
    assert_eq!(logs(&node, "talks/c?tailLines=1").await.1.lines().count(), 1);
    assert_eq!(logs(&node, "talks/c?limitBytes=2").await.1.len(), 2);
    assert_eq!(logs(&node, "talks/c?sinceTime=2999-01-01T00:00:00Z").await, (200, String::new()));
    assert_eq!(logs(&node, "talks/c?stream=Stderr").await, (200, "two\n".to_owned()));
    let stamped = logs(&node, "talks/c?timestamps=true&stream=Stderr").await.1;
    let (time, text) = stamped.split_once(' ').expect("a time");
    assert!(time.parse::<jiff::Timestamp>().is_ok() && text == "two\n", "{stamped}");
    // A log that is followed but not written ends.
    assert_eq!(logs(&node, "talks/c?follow=true").await.1.lines().count(), 3);

    assert_eq!(logs(&node, "none/c").await, (404, "pod does not exist\n".to_owned()));
    assert_eq!(
        logs(&node, "talks/x").await,
        (404, "container \"x\" not found in pod \"talks\"\n".to_owned())
    );
    assert_eq!(logs(&node, "talks/c?tailLines=-1").await.0, 422);
    let (status, body) = logs(&node, "talks/c?tailLines=many").await;
    assert!(status == 400 && body.contains("tailLines: \\\"many\\\" is no whole number"), "{body}");

    let mut image = shell("c", SLEEP);
    image["image"] = "skerry.test/none:1".into();
    image["imagePullPolicy"] = "Never".into();
    let waits = pod("waits", json!({ "containers": [image] }));
    node.run_pod(&waits).await;
    node.until("waits", "it waits", |s| waits_for(s) == "ErrImageNeverPull").await;
    let words = "container \"c\" in pod \"waits\" is waiting to start: ErrImageNeverPull".to_owned();
    assert_eq!(logs(&node, "waits/c").await, (400, words));
    let words = "previous terminated container \"c\" in pod \"waits\" not found".to_owned();
    assert_eq!(logs(&node, "waits/c?previous=true").await, (400, words));

    for pod in [&talks, &waits] {
        node.delete_pod(pod, 0).await;
    }
    node.leaves_nothing().await;
}

async fn a_log_is_followed_until_its_container_ends(runtime: Kind) {
    let node = Node::start(runtime).await;
    let script = "n=0; while [ ! -e /go/on ]; do sleep 0.05; done; \
                  while [ $n -lt 3000 ]; do n=$((n+1)); echo line $n; done; exit 0";
    let mut c = shell("c", script);
    c["volumeMounts"] = json!([{ "name": "go", "mountPath": "/go" }]);
    let counts = pod(
        "counts",
        json!({ "restartPolicy": "Never", "containers": [c], "volumes": [{ "name": "go", "emptyDir": {} }] }),
    );
    node.run_pod(&counts).await;
    let status = node.ready("counts").await;
    let follow = logs(&node, "counts/c?follow=true");
    let go = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        node.exec(&status, &["touch", "/go/on"]);
    };
    let ((code, body), ()) = tokio::join!(follow, go);
    assert_eq!((code, body.lines().count(), body.lines().last()), (200, 3000, Some("line 3000")));
    let numbered = body.lines().enumerate().all(|(n, line)| line == format!("line {}", n + 1));
    assert!(numbered, "each line once and in its order");
    node.delete_pod(&counts, 0).await;
    node.leaves_nothing().await;
}

async fn what_the_node_and_its_pods_use_is_told_as_json_and_as_metrics(runtime: Kind) {
    let node = Node::start(runtime).await;
    let mut c =
        shell("c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done > /root/x; exec sleep 1000");
    c["resources"] = json!({ "limits": { "memory": "32Mi" } });
    let busy = pod("busy", json!({ "containers": [c], "terminationGracePeriodSeconds": 0 }));
    let host = pod("host", json!({ "containers": [shell("c", SLEEP)], "hostNetwork": true }));
    node.run_pod(&busy).await;
    node.run_pod(&host).await;
    node.ready("busy").await;
    node.ready("host").await;

    let (code, body) = get(&node, "/stats/summary").await;
    let summary: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((code, summary["node"]["nodeName"].as_str()), (200, Some("edge1")));
    let number =
        |at: &str| summary.pointer(at).and_then(Value::as_u64).unwrap_or_else(|| panic!("{at}: {body}"));
    assert!(number("/node/cpu/usageCoreNanoSeconds") > 0 && number("/node/memory/workingSetBytes") > 0);
    assert!(number("/node/fs/capacityBytes") > number("/node/fs/availableBytes"));
    assert!(number("/node/rlimit/curproc") > 0);
    let pods = summary["pods"].as_array().expect("pods");
    let of = |name: &str| {
        pods.iter().find(|pod| pod["podRef"]["name"] == name).unwrap_or_else(|| panic!("{name}: {body}"))
    };
    let (busy_stats, host_stats) = (of("busy"), of("host"));
    let inside =
        |at: &str| busy_stats.pointer(at).and_then(Value::as_u64).unwrap_or_else(|| panic!("{at}: {body}"));
    assert!(inside("/containers/0/cpu/usageCoreNanoSeconds") > 1_000_000);
    assert!(inside("/cpu/usageCoreNanoSeconds") >= inside("/containers/0/cpu/usageCoreNanoSeconds"));
    let (free, used) =
        (inside("/containers/0/memory/availableBytes"), inside("/containers/0/memory/workingSetBytes"));
    assert_eq!(free + used, 32 << 20, "what is left of its limit");
    assert!(inside("/ephemeral-storage/usedBytes") > 0 && inside("/network/rxBytes") < 1 << 30);
    assert!(host_stats["network"].is_null(), "the host's traffic is the node's: {host_stats}");
    let (_, short) = get(&node, "/stats/summary?only_cpu_and_memory=true").await;
    assert!(!short.contains("ephemeral-storage") && !short.contains("rxBytes"), "{short}");

    let (code, metrics) = get(&node, "/metrics/resource").await;
    assert_eq!(code, 200);
    let row = "container_memory_working_set_bytes{container=\"c\",namespace=\"default\",pod=\"busy\"} ";
    for row in [
        row,
        "pod_cpu_usage_seconds_total{namespace=\"default\",pod=\"host\"} ",
        "node_cpu_usage_seconds_total ",
        "scrape_error 0",
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(row)), "{row}: {metrics}");
    }
    let (_, own) = get(&node, "/metrics").await;
    for row in [
        "kubelet_running_pods 2",
        "kubelet_running_containers{container_state=\"running\"} 2",
        "kubelet_node_name{node=\"edge1\"} 1",
    ] {
        assert!(own.lines().any(|line| line == row), "{row}: {own}");
    }

    // Two looks that lie apart say how fast it grows.
    let rate = node.wait("a rate", async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let summary: Value =
            serde_json::from_str(&get(&node, "/stats/summary?only_cpu_and_memory=true").await.1).ok()?;
        summary["node"]["cpu"]["usageNanoCores"].as_u64()
    });
    assert!(rate.await > 0);
    for pod in [&busy, &host] {
        node.delete_pod(pod, 0).await;
    }
    node.leaves_nothing().await;
}
