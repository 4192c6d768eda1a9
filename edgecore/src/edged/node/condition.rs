//! The node's conditions: pure, so that every turn can be tested.

use k8s_openapi::{api::core::v1::NodeCondition, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::{NodeSettings, RuntimeHealth, machine::Machine};

/// Process ids that must be left before the node counts as short of them.
const PID_FLOOR: u64 = 1000;

/// The four conditions of a kubelet, in its order and with its reasons. `before` keeps the times of transitions.
pub(super) fn conditions(
    before: &[NodeCondition],
    settings: &NodeSettings,
    machine: &Machine,
    runtime: &RuntimeHealth,
    now: Timestamp,
) -> Vec<NodeCondition> {
    let memory = settings.memory_floor.is_short(machine.memory.available, machine.memory.capacity);
    let disk = settings.disk_floor.is_short(machine.disk.available, machine.disk.capacity);
    let pids = machine.pids.available < PID_FLOOR;
    let ready = match runtime {
        RuntimeHealth::Ready { .. } => (true, "EdgeReady", "edge is posting ready status".to_owned()),
        RuntimeHealth::Broken { reason } => (false, "KubeletNotReady", reason.clone()),
        RuntimeHealth::Unknown => {
            (false, "KubeletNotReady", "the container runtime has not been asked yet".to_owned())
        }
    };
    let rows = [
        (
            "MemoryPressure",
            pressure(memory, "HasInsufficientMemory", "HasSufficientMemory", "memory available"),
        ),
        ("DiskPressure", pressure(disk, "HasDiskPressure", "HasNoDiskPressure", "disk space")),
        ("PIDPressure", pressure(pids, "HasInsufficientPID", "HasSufficientPID", "process ids available")),
        ("Ready", ready),
    ];
    rows.into_iter()
        .map(|(kind, (on, reason, message))| {
            let status = if on { "True" } else { "False" };
            let since = before
                .iter()
                .find(|old| old.type_ == kind && old.status == status)
                .and_then(|old| old.last_transition_time.clone());
            NodeCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: Some(if kind == "Ready" { reason.to_owned() } else { format!("Kubelet{reason}") }),
                message: Some(message),
                last_heartbeat_time: Some(Time(now)),
                last_transition_time: Some(since.unwrap_or(Time(now))),
            }
        })
        .collect()
}

fn pressure(short: bool, bad: &'static str, good: &'static str, what: &str) -> (bool, &'static str, String) {
    let message =
        if short { format!("edged has too little {what}") } else { format!("edged has sufficient {what}") };
    (short, if short { bad } else { good }, message)
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

    use super::{super::machine::Amount, *};
    use crate::edged::node::settings::Floor;

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
            memory_floor: Floor::Amount(100),
            disk_floor: Floor::Percent(10.0),
        }
    }

    fn plenty() -> Machine {
        let amount = Amount { capacity: 100_000, available: 50_000 };
        Machine { cpus: 2, memory: amount, disk: amount, pids: amount }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_runtime_that_does_not_answer_makes_the_node_unready_with_its_reason() {
        let broken = RuntimeHealth::Broken { reason: "start containerd".to_owned() };
        let list = conditions(&[], &settings(), &plenty(), &broken, at(1));
        let ready = list.iter().find(|c| c.type_ == "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.message.as_deref()), ("False", Some("start containerd")));
    }

    #[test]
    fn the_time_of_a_transition_moves_only_when_the_status_does() {
        let ready = RuntimeHealth::Ready { version: String::new() };
        let first = conditions(&[], &settings(), &plenty(), &ready, at(1));
        let second = conditions(&first, &settings(), &plenty(), &ready, at(2));
        assert!(second.iter().all(|c| c.last_transition_time == Some(Time(at(1)))));
        assert!(second.iter().all(|c| c.last_heartbeat_time == Some(Time(at(2)))));
        assert!(same(&first, &second));
        let third = conditions(&second, &settings(), &plenty(), &RuntimeHealth::Unknown, at(3));
        let moved: Vec<_> = third.iter().filter(|c| c.last_transition_time == Some(Time(at(3)))).collect();
        assert_eq!(moved.len(), 1);
        assert_eq!(moved[0].type_, "Ready");
        assert!(!same(&second, &third));
    }

    #[test]
    fn a_full_disk_is_disk_pressure() {
        let mut machine = plenty();
        machine.disk.available = 9_000;
        let list = conditions(&[], &settings(), &machine, &RuntimeHealth::Unknown, at(1));
        let disk = list.iter().find(|c| c.type_ == "DiskPressure").unwrap();
        assert_eq!((disk.status.as_str(), disk.reason.as_deref()), ("True", Some("KubeletHasDiskPressure")));
    }
}
