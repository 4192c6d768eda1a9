//! Pods: the one word of the STATUS column sums up phase, containers, init containers and deletion.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::{age, since};
use super::format::{NONE, name, or, or_none};
use super::{AGE, NAME, Printer, text, wide};
use crate::schema::Json;

pub(crate) const POD: Printer = Printer {
    columns: &[
        NAME,
        text("Ready"),
        text("Status"),
        text("Restarts"),
        AGE,
        wide("IP"),
        wide("Node"),
        wide("Nominated Node"),
        wide("Readiness Gates"),
    ],
    cells,
    conditions,
    reads: &[
        "metadata.name",
        "metadata.creationTimestamp",
        "metadata.deletionTimestamp",
        "spec.nodeName",
        "spec.readinessGates",
        "spec.containers.name",
        "spec.initContainers.name",
        "spec.initContainers.restartPolicy",
        "status",
    ],
};

/// What the containers of a pod add up to.
struct Summary<'a> {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: &'a str,
}

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summarise(pod);
    let restarts = if summary.restarts != 0 && !summary.last_restart.is_empty() {
        format!("{} ({} ago)", summary.restarts, since(summary.last_restart, now))
    } else {
        summary.restarts.to_string()
    };
    let address = or(pod.text("/status/podIPs/0/ip"), pod.text("/status/podIP"));
    vec![
        name(pod),
        json!(format!("{}/{}", summary.ready, summary.total)),
        json!(summary.reason),
        json!(restarts),
        age(pod, now),
        json!(or(address, NONE)),
        or_none(pod, "/spec/nodeName"),
        or_none(pod, "/status/nominatedNodeName"),
        json!(readiness_gates(pod)),
    ]
}

/// A finished pod's row is marked, so that `kubectl get` can tell.
fn conditions(pod: &Value) -> Option<Value> {
    let (reason, message) = match pod.text("/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

fn readiness_gates(pod: &Value) -> String {
    let gates = pod.list("/spec/readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let passed = gates.iter().filter(|gate| condition(pod, gate.text("/conditionType"))).count();
    format!("{passed}/{}", gates.len())
}

fn condition(pod: &Value, kind: &str) -> bool {
    pod.list("/status/conditions")
        .iter()
        .any(|one| one.text("/type") == kind && one.text("/status") == "True")
}

/// A sidecar: an init container that keeps running.
fn restartable(pod: &Value, name: &str) -> bool {
    let mut all = pod.list("/spec/initContainers").iter();
    all.any(|one| one.text("/name") == name && one.text("/restartPolicy") == "Always")
}

fn later<'a>(a: &'a str, b: &'a str) -> &'a str {
    // RFC 3339 in UTC with whole seconds sorts as text.
    if b > a { b } else { a }
}

fn summarise(pod: &Value) -> Summary<'_> {
    let phase = pod.text("/status/phase");
    let mut reason = or(pod.text("/status/reason"), phase).to_owned();
    let gated = |one: &Value| one.text("/type") == "PodScheduled" && one.text("/reason") == "SchedulingGated";
    if pod.list("/status/conditions").iter().any(gated) {
        reason = "SchedulingGated".to_owned();
    }
    let inits = pod.list("/spec/initContainers");
    let sidecars = inits.iter().filter(|one| one.text("/restartPolicy") == "Always").count();
    let total = pod.list("/spec/containers").len() + sidecars;
    let mut summary = Summary { reason, ready: 0, total, restarts: 0, last_restart: "" };
    let (initializing, sidecar_restarts, sidecar_last) = init_containers(pod, inits.len(), &mut summary);
    if !initializing || condition(pod, "Initialized") {
        summary.restarts = sidecar_restarts;
        summary.last_restart = sidecar_last;
        containers(pod, &mut summary);
    }
    if pod.has("/metadata/deletionTimestamp") {
        if pod.text("/status/reason") == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

/// Walks the init containers to the first unfinished one. Returns whether there is one, and the sidecars' restarts.
fn init_containers<'a>(pod: &'a Value, count: usize, summary: &mut Summary<'a>) -> (bool, i64, &'a str) {
    let (mut restarts, mut last) = (0, "");
    for (index, status) in pod.list("/status/initContainerStatuses").iter().enumerate() {
        let restarted = status.int("/restartCount").unwrap_or_default();
        let ended = status.text("/lastState/terminated/finishedAt");
        let sidecar = restartable(pod, status.text("/name"));
        summary.restarts += restarted;
        summary.last_restart = later(summary.last_restart, ended);
        if sidecar {
            restarts += restarted;
            last = later(last, ended);
        }
        let waiting = status.text("/state/waiting/reason");
        if let Some(terminated) = status.pointer("/state/terminated").filter(|one| one.is_object()) {
            if terminated.int("/exitCode").unwrap_or_default() == 0 {
                continue;
            }
            if !(sidecar && status.flag("/started")) {
                summary.reason = format!("Init:{}", end_of(terminated));
                return (true, restarts, last);
            }
        }
        if sidecar && status.flag("/started") {
            summary.ready += usize::from(status.flag("/ready"));
            continue;
        }
        summary.reason = match waiting {
            "" | "PodInitializing" => format!("Init:{index}/{count}"),
            waiting => format!("Init:{waiting}"),
        };
        return (true, restarts, last);
    }
    (false, restarts, last)
}

fn containers<'a>(pod: &'a Value, summary: &mut Summary<'a>) {
    let mut running = false;
    for status in pod.list("/status/containerStatuses").iter().rev() {
        summary.restarts += status.int("/restartCount").unwrap_or_default();
        summary.last_restart = later(summary.last_restart, status.text("/lastState/terminated/finishedAt"));
        let waiting = status.text("/state/waiting/reason");
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if let Some(terminated) = status.pointer("/state/terminated").filter(|one| one.is_object()) {
            summary.reason = end_of(terminated);
        } else if status.flag("/ready") && status.has("/state/running") {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && running {
        let word = if condition(pod, "Ready") { "Running" } else { "NotReady" };
        summary.reason = word.to_owned();
    }
}

fn end_of(terminated: &Value) -> String {
    let signal = terminated.int("/signal").unwrap_or_default();
    match terminated.text("/reason") {
        "" if signal != 0 => format!("Signal:{signal}"),
        "" => format!("ExitCode:{}", terminated.int("/exitCode").unwrap_or_default()),
        reason => reason.to_owned(),
    }
}
