//! The reconciler against a simulated runtime that crashes, loses sandboxes and is restarted at any moment.

mod sim;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::edged::pod::status;
use crate::edged::runtime::Container;
use sim::{OnDisk, Sim, facts, pod};

fn web() -> Pod {
    pod(json!({ "containers": [{ "name": "a", "image": "i:1" }, { "name": "b", "image": "i:1" }] }))
}

#[test]
fn a_pod_gets_its_sandbox_then_its_containers_and_is_left_alone() {
    let mut sim = Sim::new(web());
    let plan = sim.settle();
    assert_eq!(sim.running(), ["a", "b"]);
    assert_eq!(plan, Plan::default());
    sim.restart();
    let before = sim.seen.clone();
    sim.settle();
    assert_eq!(sim.seen, before, "a restart touches nothing");
}

#[test]
fn crashes_are_answered_at_once_then_after_ten_seconds_doubling_to_five_minutes_and_forgiven_after_ten() {
    let mut sim = Sim::new(web());
    sim.settle();
    for pause in [0, 10, 20, 40, 80, 160, 300, 300] {
        sim.exit("a", 1);
        let crashed = sim.now;
        sim.restart();
        while !sim.running().contains(&"a") {
            if let Some(wake) = sim.settle().wake {
                sim.now = wake.max(sim.now);
            }
        }
        let waited = sim.now.duration_since(crashed).as_secs();
        assert!((pause..=pause + 1).contains(&waited), "{waited} s instead of {pause} s");
    }
    sim.pass(Duration::from_secs(601));
    sim.exit("a", 1);
    sim.settle();
    assert_eq!(sim.running(), ["a", "b"], "a long run is rewarded");
    assert_eq!(sim.seen.latest("a").map(Container::restarts), Some(9));
}

#[test]
fn policies_decide_who_comes_back_and_how_the_pod_ends() {
    for (policy, code, comes_back, phase) in [
        ("Always", 0, true, "Running"),
        ("OnFailure", 1, true, "Running"),
        ("OnFailure", 0, false, "Succeeded"),
        ("Never", 0, false, "Succeeded"),
        ("Never", 3, false, "Failed"),
    ] {
        let mut sim =
            Sim::new(pod(json!({ "restartPolicy": policy, "containers": [{ "name": "a", "image": "i" }] })));
        sim.settle();
        sim.exit("a", code);
        sim.settle();
        assert_eq!(!sim.running().is_empty(), comes_back, "{policy} {code}");
        assert_eq!(sim.phase(), phase, "{policy} {code}");
    }
}

#[test]
fn a_new_image_replaces_the_container_and_nothing_else_does() {
    let mut sim = Sim::new(web());
    sim.settle();
    let a = sim.seen.latest("a").map(|c| c.id.clone());
    let spec = sim.pod.spec.as_mut().expect("a spec");
    spec.containers[0].env = serde_json::from_value(json!([{ "name": "X", "value": "1" }])).expect("env");
    sim.settle();
    assert_eq!(sim.seen.latest("a").map(|c| c.id.clone()), a);
    sim.pod.spec.as_mut().expect("a spec").containers[0].image = Some("i:2".into());
    let plan = step(sim.view());
    assert!(matches!(&plan.actions[..], [Action::StopContainer { name, .. }] if name == "a"), "{plan:?}");
}

#[test]
fn an_ephemeral_container_is_started_once_and_never_again() {
    let mut sim = Sim::new(web());
    sim.settle();
    let spec = sim.pod.spec.as_mut().expect("a spec");
    spec.ephemeral_containers =
        serde_json::from_value(json!([{ "name": "debugger", "image": "i" }])).expect("a list");
    sim.settle();
    assert!(sim.running().contains(&"debugger"), "{:?}", sim.running());
    sim.exit("debugger", 1);
    sim.settle();
    sim.pass(Duration::from_secs(3600));
    sim.settle();
    sim.lose_sandbox(true);
    sim.settle();
    assert_eq!(sim.started.iter().filter(|name| *name == "debugger").count(), 0, "{:?}", sim.started);
    let status = sim.prior.as_ref().and_then(|status| status.ephemeral_container_statuses.as_ref());
    let state = status.and_then(|list| list[0].state.clone()).expect("its state");
    assert_eq!(state.terminated.map(|end| end.exit_code), Some(1));
    assert!(sim.running().contains(&"a"));
}

#[test]
fn init_containers_run_in_order_and_again_in_a_new_sandbox() {
    let mut sim = Sim::new(pod(json!({
        "initContainers": [{ "name": "i1", "image": "i" }, { "name": "s", "image": "i", "restartPolicy": "Always" }, { "name": "i2", "image": "i" }],
        "containers": [{ "name": "a", "image": "i" }],
    })));
    sim.settle();
    assert_eq!(sim.running(), ["i1"]);
    sim.exit("i1", 1);
    sim.settle();
    assert_eq!(sim.running(), ["i1"], "it is tried again");
    sim.exit("i1", 0);
    sim.settle();
    assert_eq!(sim.running(), ["i2", "s"], "a sidecar does not hold up the next");
    sim.exit("i2", 0);
    sim.settle();
    assert_eq!(sim.running(), ["a", "s"]);
    assert_eq!(sim.started, ["i1", "i1", "s", "i2", "a"]);
    sim.lose_sandbox(true);
    sim.settle();
    assert_eq!(sim.running(), ["i1"]);
}

#[test]
fn sidecars_are_stopped_after_the_others() {
    let mut sim = Sim::new(pod(json!({
        "initContainers": [{ "name": "s", "image": "i", "restartPolicy": "Always" }],
        "containers": [{ "name": "a", "image": "i" }],
    })));
    sim.settle();
    sim.goal = Goal::Stop { grace: Duration::from_secs(5) };
    let plan = step(sim.view());
    assert!(matches!(&plan.actions[..], [Action::StopContainer { name, .. }] if name == "a"), "{plan:?}");
    sim.exit("a", 0);
    let plan = step(sim.view());
    assert!(matches!(&plan.actions[..], [Action::StopContainer { name, .. }] if name == "s"), "{plan:?}");
}

#[test]
fn a_pod_past_its_deadline_fails_with_the_reason() {
    let mut sim = Sim::new(pod(json!({
        "activeDeadlineSeconds": 30, "containers": [{ "name": "a", "image": "i" }] })));
    let plan = sim.settle();
    assert!(plan.wake.is_some(), "it wakes at the deadline");
    sim.pass(Duration::from_secs(31));
    sim.settle();
    assert!(sim.running().is_empty());
    let status = status::build(sim.view(), &facts());
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("DeadlineExceeded"))
    );
}

#[test]
fn a_pod_that_is_never_restarted_fails_when_its_sandbox_is_lost() {
    let mut sim =
        Sim::new(pod(json!({ "restartPolicy": "Never", "containers": [{ "name": "a", "image": "i" }] })));
    sim.settle();
    // The runtime has forgotten everything, as after a wiped disk.
    sim.seen = Observed::default();
    sim.settle();
    assert_eq!(sim.phase(), "Failed");
    assert!(sim.seen.is_empty(), "nothing was started again");
}

#[test]
fn nothing_starts_before_the_volumes_are_there() {
    let mut sim = Sim::new(web());
    sim.mountable = false;
    let plan = sim.settle();
    let until = sim.memory.mounting.as_ref().map(|trouble| trouble.until);
    assert_eq!((plan, sim.running().len()), (Plan { actions: vec![], wake: until }, 0));
    assert!(until.is_some());
    sim.mountable = true;
    sim.pass(Duration::from_secs(1));
    sim.settle();
    assert_eq!(sim.running(), ["a", "b"]);
}

#[test]
fn a_pod_that_has_ended_gives_its_volumes_back_whichever_agent_finds_it_so() {
    let spec = json!({ "restartPolicy": "Never", "activeDeadlineSeconds": 30, "containers": [{ "name": "a", "image": "i" }] });
    for late in [false, true] {
        for actions in 0..4 {
            let mut sim = Sim::new(pod(spec.clone()));
            sim.settle();
            assert_eq!(sim.on_disk, OnDisk::All);
            if late {
                sim.pass(Duration::from_secs(31));
            } else {
                sim.exit("a", 0);
            }
            sim.die_after(actions);
            sim.settle();
            assert_eq!(sim.on_disk, OnDisk::Nothing, "{late} {actions}");
            assert_eq!(sim.phase(), if late { "Failed" } else { "Succeeded" });
        }
    }
    // Nor what an attempt has left that failed.
    let mut sim = Sim::new(pod(spec));
    sim.mountable = false;
    sim.settle();
    assert_eq!(sim.on_disk, OnDisk::Some);
    sim.pass(Duration::from_secs(31));
    assert_eq!(sim.settle().wake, None, "nothing is tried again");
    assert_eq!((sim.on_disk, sim.phase().as_str()), (OnDisk::Nothing, "Failed"));
}

/// Something that happens to a pod.
#[derive(Clone, Debug)]
enum Blow {
    Exit(usize, i32),
    SandboxDies { with_containers: bool },
    EdgecoreRestarts,
    RuntimeForgets,
    VolumesCanBeMade(bool),
    TimePasses(u64),
}

fn blow() -> impl Strategy<Value = Blow> {
    prop_oneof![
        4 => (0..4usize, prop_oneof![Just(0), Just(1), Just(137)]).prop_map(|(who, code)| Blow::Exit(who, code)),
        1 => any::<bool>().prop_map(|with_containers| Blow::SandboxDies { with_containers }),
        2 => Just(Blow::EdgecoreRestarts),
        1 => Just(Blow::RuntimeForgets),
        1 => any::<bool>().prop_map(Blow::VolumesCanBeMade),
        3 => (1..700u64).prop_map(Blow::TimePasses),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens, and wherever the agent dies meanwhile: no healthy container is stopped, no name runs twice or without its
    /// volumes, order and pauses are kept (see `check`), every step comes to rest, a pod that has ended keeps no volumes, and a
    /// deletion ends with nothing left.
    #[test]
    fn a_pod_survives_any_sequence_of_blows_and_can_always_be_deleted(
        policy in prop_oneof![Just("Always"), Just("OnFailure"), Just("Never")],
        blows in proptest::collection::vec((blow(), proptest::option::of(0..5usize)), 0..25),
        partial in 0..4usize,
    ) {
        let mut sim = Sim::new(pod(json!({
            "restartPolicy": policy,
            "initContainers": [{ "name": "i1", "image": "i" }, { "name": "s", "image": "i", "restartPolicy": "Always" }],
            "containers": [{ "name": "a", "image": "i" }, { "name": "b", "image": "i" }],
        })));
        let names = ["i1", "s", "a", "b"];
        sim.settle();
        for (blow, dies) in blows {
            match blow {
                Blow::Exit(who, code) => sim.exit(names[who], code),
                Blow::SandboxDies { with_containers } => sim.lose_sandbox(with_containers),
                Blow::EdgecoreRestarts => sim.restart(),
                Blow::RuntimeForgets => sim.seen = Observed::default(),
                Blow::VolumesCanBeMade(can) => sim.mountable = can,
                Blow::TimePasses(seconds) => sim.pass(Duration::from_secs(seconds)),
            }
            if let Some(actions) = dies {
                sim.die_after(actions);
            }
            let plan = sim.settle();
            let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
            for container in sim.seen.containers.iter().filter(|container| container.running()) {
                *counts.entry(&container.name).or_default() += 1;
            }
            prop_assert!(counts.values().all(|count| *count == 1), "{counts:?}");
            prop_assert!(sim.seen.containers.len() <= 3 * names.len(), "dead containers pile up");
            // Whoever is neither running nor done is being waited for.
            let ended = has_ended(sim.view());
            if policy == "Always" && sim.running().len() < 3 && sim.running() != ["i1"] {
                prop_assert!(ended || plan.wake.is_some(), "stuck: {:?}", sim.seen);
            }
            let kept = if ended { OnDisk::Nothing..=OnDisk::Nothing } else { OnDisk::Some..=OnDisk::All };
            prop_assert!(kept.contains(&sim.on_disk), "{:?} is left of volumes; ended: {ended}", sim.on_disk);
        }
        sim.goal = Goal::Stop { grace: Duration::from_secs(1) };
        // edgecore dies in the middle of it, too.
        for _ in 0..partial {
            sim.die_after(1);
        }
        sim.settle();
        prop_assert!(sim.seen.is_empty());
        prop_assert_eq!(sim.on_disk, OnDisk::Nothing);
        prop_assert!(matches!(sim.phase().as_str(), "Succeeded" | "Failed"));
    }
}
