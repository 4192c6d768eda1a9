//! The node's conditions: pure, so that every turn can be tested. Words and order are the kubelet's (Kubernetes v1.36
//! `pkg/kubelet/nodestatus/setters.go`); of readiness, KubeEdge's.

use k8s_openapi::{api::core::v1::NodeCondition, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::RuntimeHealth;
use crate::edged::housekeeping::Pressure;

const READY: &str = "Ready";

/// What one kind of pressure is called: the condition, then reason and message while it lasts, then without it.
type Words = (&'static str, [&'static str; 2], [&'static str; 2]);

const MEMORY: Words = (
    "MemoryPressure",
    ["KubeletHasInsufficientMemory", "kubelet has insufficient memory available"],
    ["KubeletHasSufficientMemory", "kubelet has sufficient memory available"],
);
const DISK: Words = (
    "DiskPressure",
    ["KubeletHasDiskPressure", "kubelet has disk pressure"],
    ["KubeletHasNoDiskPressure", "kubelet has no disk pressure"],
);
const PIDS: Words = (
    "PIDPressure",
    ["KubeletHasInsufficientPID", "kubelet has insufficient PID available"],
    ["KubeletHasSufficientPID", "kubelet has sufficient PID available"],
);

/// The four conditions of a kubelet, in its order. `before` keeps the times of transitions.
pub(super) fn conditions(
    before: &[NodeCondition],
    pressure: Pressure,
    runtime: &RuntimeHealth,
    now: Timestamp,
) -> Vec<NodeCondition> {
    let condition = |kind: &str, on: bool, reason: &str, message: &str| {
        let status = if on { "True" } else { "False" };
        let known = before.iter().find(|old| old.type_ == kind && old.status == status);
        let since = known.and_then(|old| old.last_transition_time.clone());
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: Some(since.unwrap_or(Time(now))),
        }
    };
    let pressures = [(MEMORY, pressure.memory), (DISK, pressure.disk), (PIDS, pressure.pids)];
    let mut all: Vec<NodeCondition> = pressures
        .into_iter()
        .map(|((kind, bad, good), short)| {
            let [reason, message] = if short { bad } else { good };
            condition(kind, short, reason, message)
        })
        .collect();
    all.push(match runtime {
        RuntimeHealth::Ready { .. } => condition(READY, true, "EdgeReady", "edge is posting ready status"),
        RuntimeHealth::Broken { reason } => condition(READY, false, "KubeletNotReady", reason),
        RuntimeHealth::Unknown => {
            condition(READY, false, "KubeletNotReady", "the container runtime has not been asked yet")
        }
    });
    all
}

/// Reasons of the events that tell what has turned from `before` to `after`. A node that begins without being ready says
/// nothing of it yet; an agent that has just started (`first`) says how it finds the machine.
pub(super) fn turns(before: &[NodeCondition], after: &[NodeCondition], first: bool) -> Vec<String> {
    let told = after.iter().filter(|new| {
        let old = before.iter().find(|old| old.type_ == new.type_);
        let turned = old.is_some_and(|old| old.status != new.status);
        let found =
            if new.type_ == READY { old.is_none() && new.status == "True" } else { first || old.is_none() };
        turned || found
    });
    told.map(|new| match (new.type_.as_str(), new.status.as_str()) {
        (READY, "True") => "NodeReady".to_owned(),
        (READY, _) => "NodeNotReady".to_owned(),
        _ => format!("Node{}", new.reason.as_deref().unwrap_or_default().trim_start_matches("Kubelet")),
    })
    .collect()
}

/// Whether two lists say the same, heartbeats aside.
pub(super) fn same(left: &[NodeCondition], right: &[NodeCondition]) -> bool {
    let essence = |list: &[NodeCondition]| {
        list.iter()
            .map(|c| (c.type_.clone(), c.status.clone(), c.reason.clone(), c.message.clone()))
            .collect::<Vec<_>>()
    };
    essence(left) == essence(right)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::{super::NodeSettings, *};
    use crate::edged::node::Reserve;

    pub(in super::super) fn settings() -> NodeSettings {
        NodeSettings {
            name: "edge1".to_owned(),
            address: "192.0.2.5".parse().unwrap(),
            root: "/".into(),
            labels: BTreeMap::from([("zone".to_owned(), "skerry".to_owned())]),
            taints: Vec::new(),
            schedulable: true,
            max_pods: 110,
            port: 10350,
            lease: std::time::Duration::from_secs(40),
            look_every: std::time::Duration::from_secs(10),
            report_every: std::time::Duration::from_secs(300),
            reserve: Reserve::default(),
            report_events: true,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const NONE: Pressure = Pressure { memory: false, disk: false, pids: false };

    #[test]
    fn a_runtime_that_does_not_answer_makes_the_node_unready_with_its_reason() {
        let broken = RuntimeHealth::Broken { reason: "start containerd".to_owned() };
        let list = conditions(&[], NONE, &broken, at(1));
        let ready = list.iter().find(|c| c.type_ == "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.message.as_deref()), ("False", Some("start containerd")));
    }

    #[test]
    fn the_time_of_a_transition_moves_only_when_the_status_does() {
        let ready = RuntimeHealth::Ready { version: String::new() };
        let first = conditions(&[], NONE, &ready, at(1));
        let second = conditions(&first, NONE, &ready, at(2));
        assert!(second.iter().all(|c| c.last_transition_time == Some(Time(at(1)))));
        assert!(second.iter().all(|c| c.last_heartbeat_time == Some(Time(at(2)))));
        assert!(same(&first, &second));
        let third = conditions(&second, NONE, &RuntimeHealth::Unknown, at(3));
        let moved: Vec<_> = third.iter().filter(|c| c.last_transition_time == Some(Time(at(3)))).collect();
        assert_eq!(moved.len(), 1);
        assert_eq!(moved[0].type_, "Ready");
        assert!(!same(&second, &third));
    }

    #[test]
    fn what_the_node_is_short_of_is_told_in_the_kubelets_words() {
        let list = conditions(&[], Pressure { disk: true, ..NONE }, &RuntimeHealth::Unknown, at(1));
        let said = |kind: &str| {
            let one = list.iter().find(|c| c.type_ == kind).unwrap();
            (one.status.clone(), one.reason.clone().unwrap(), one.message.clone().unwrap())
        };
        let words = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            said("DiskPressure"),
            words("True", "KubeletHasDiskPressure", "kubelet has disk pressure")
        );
        assert_eq!(
            said("PIDPressure"),
            words("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available")
        );
    }

    #[test]
    fn an_event_tells_every_turn_and_a_start_tells_how_it_finds_the_machine() {
        let ready = RuntimeHealth::Ready { version: String::new() };
        let unready = conditions(&[], NONE, &RuntimeHealth::Unknown, at(1));
        let good = ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"];
        assert_eq!(turns(&[], &unready, true), good);
        let well = conditions(&unready, NONE, &ready, at(2));
        assert_eq!(turns(&unready, &well, false), ["NodeReady"]);
        assert_eq!(turns(&well, &well, true), good, "the agent was started anew");
        let pressed = conditions(&well, Pressure { memory: true, ..NONE }, &RuntimeHealth::Unknown, at(3));
        assert_eq!(turns(&well, &pressed, false), ["NodeHasInsufficientMemory", "NodeNotReady"]);
        assert_eq!(turns(&well, &well, false), Vec::<String>::new());
    }
}
