//! The reconciler against a simulated runtime that crashes, loses sandboxes and is restarted at any moment.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::edged::pod::status::{self, NodeFacts};
use crate::edged::pod::{hash, members};
use crate::edged::runtime::{Container, ContainerState, Exit, PodUid, Sandbox, labels};

/// A runtime that does what it is told, and a worker's memory.
struct Sim {
    pod: Pod,
    goal: Goal,
    seen: Observed,
    memory: Memory,
    healths: Healths,
    prior: Option<PodStatus>,
    now: Timestamp,
    next_id: u32,
    /// Names in the order in which they were started in the current sandbox.
    started: Vec<String>,
}

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "p", "namespace": "default", "uid": "u" }, "spec": spec,
    }))
    .expect("a pod")
}

fn facts() -> NodeFacts {
    NodeFacts { address: [192, 0, 2, 1].into(), runtime: "containerd".into() }
}

impl Sim {
    fn new(pod: Pod) -> Self {
        Self {
            pod,
            goal: Goal::Run,
            seen: Observed::default(),
            memory: Memory { volumes_ready: true, ..Memory::default() },
            healths: Healths::default(),
            prior: None,
            now: Timestamp::from_second(1_700_000_000).expect("a time"),
            next_id: 0,
            started: Vec::new(),
        }
    }

    fn view(&self) -> View<'_> {
        View {
            pod: &self.pod,
            goal: self.goal,
            seen: &self.seen,
            prior: self.prior.as_ref(),
            memory: &self.memory,
            healths: &self.healths,
            now: self.now,
            wall: self.now,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += SignedDuration::try_from(time).expect("a duration");
    }

    /// Steps until nothing is left to do; checks every action. Returns the last plan.
    fn settle(&mut self) -> Plan {
        for _ in 0..100 {
            let plan = step(self.view());
            self.prior = Some(status::build(self.view(), &facts()));
            if plan.actions.is_empty() {
                return plan;
            }
            for action in plan.actions {
                self.check(&action);
                self.apply(action);
            }
            self.pass(Duration::from_millis(10));
        }
        panic!("it never settles: {:#?}", self.seen);
    }

    fn check(&self, action: &Action) {
        let current = self.seen.current(false);
        match action {
            Action::StopContainer { id, .. } if self.goal == Goal::Run && !has_ended(self.view()) => {
                let container = self.seen.containers.iter().find(|c| c.id == *id).expect("it exists");
                let healthy = container.running() && current.is_some_and(|s| s.id == container.sandbox);
                assert!(!healthy, "a healthy container was stopped: {container:?}");
            }
            Action::StartContainer { name, sandbox, .. } => {
                assert_eq!(self.goal, Goal::Run);
                assert_eq!(
                    current.map(|current| &current.id),
                    Some(sandbox),
                    "started in a sandbox that is not current"
                );
                let twin = self.seen.containers.iter().find(|c| c.name == *name && c.running());
                assert!(twin.is_none(), "a second {name} was started");
                let inits = policy::inits(&self.pod);
                let at = inits.iter().position(|init| init.name == *name).unwrap_or(inits.len());
                for before in &inits[..at] {
                    let done = self.seen.latest_in(&before.name, sandbox);
                    let passed = done
                        .is_some_and(|c| c.running() || c.exit().is_some_and(|exit| exit.code == 0))
                        || (policy::is_sidecar(before) && done.is_some());
                    assert!(passed, "{name} was started before {}", before.name);
                }
                if let Some((last, exit)) = self.seen.latest(name).and_then(|c| Some((c, c.exit()?)))
                    && last.sandbox == *sandbox
                {
                    assert!(
                        self.now >= policy::due(&self.seen, last, exit, self.now),
                        "{name} was started before its pause was over"
                    );
                }
            }
            Action::CreateSandbox { .. } => {
                assert!(current.is_none(), "a second sandbox");
                assert!(
                    !self.seen.containers.iter().any(Container::running),
                    "containers run in a dead sandbox"
                );
            }
            Action::RemoveContainer(id) => {
                let container = self.seen.containers.iter().find(|c| c.id == *id).expect("it exists");
                assert!(!container.running(), "a running container was removed");
            }
            Action::Finish => {
                assert_ne!(self.goal, Goal::Run);
                assert!(
                    !self.seen.containers.iter().any(Container::running),
                    "finished while something runs"
                );
                assert!(!self.seen.sandboxes.iter().any(|sandbox| sandbox.ready), "finished with a sandbox");
            }
            _ => {}
        }
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::StopContainer { id, again, .. } => {
                if again {
                    self.seen.condemned.insert(id.clone());
                }
                self.end(&id, 137);
            }
            Action::StopSandbox(id) => {
                for sandbox in self.seen.sandboxes.iter_mut().filter(|sandbox| sandbox.id == id) {
                    sandbox.ready = false;
                }
            }
            Action::RemoveContainer(id) => self.seen.containers.retain(|container| container.id != id),
            Action::RemoveSandbox(id) => {
                self.seen.sandboxes.retain(|sandbox| sandbox.id != id);
                self.seen.containers.retain(|container| container.sandbox != id);
            }
            Action::CreateSandbox { attempt } => {
                let id = SandboxId(self.id());
                self.started.clear();
                self.seen.sandboxes.push(Sandbox {
                    id,
                    uid: PodUid("u".into()),
                    name: "p".into(),
                    namespace: "default".into(),
                    attempt,
                    created: self.now,
                    ready: true,
                });
                self.seen.addresses = vec![[10, 0, 0, 1].into()];
            }
            Action::StartContainer { name, restarts, back_off, sandbox } => {
                let (_, spec) = members::find(&self.pod, &name).expect("it is in the pod");
                let hash = hash::of(&spec);
                self.started.push(name.clone());
                let id = ContainerId(self.id());
                self.seen.containers.push(Container {
                    id,
                    sandbox,
                    uid: PodUid("u".into()),
                    name,
                    attempt: restarts,
                    created: self.now,
                    state: ContainerState::Running { started: self.now },
                    image: "i".into(),
                    image_ref: "i".into(),
                    labels: HashMap::new(),
                    annotations: HashMap::from([
                        (labels::CONTAINER_HASH.into(), hash),
                        (labels::RESTART_COUNT.into(), restarts.to_string()),
                        (labels::BACK_OFF.into(), back_off.as_secs().to_string()),
                    ]),
                    last_words: None,
                });
            }
            Action::ReleaseVolumes => self.memory.volumes_ready = false,
            Action::Finish => {
                self.seen = Observed::default();
                self.memory.finished = true;
            }
        }
        let seen = std::mem::take(&mut self.seen);
        self.seen = Observed::new(seen.sandboxes, seen.containers, seen.addresses);
    }

    fn id(&mut self) -> String {
        self.next_id += 1;
        format!("id{}", self.next_id)
    }

    fn end(&mut self, id: &ContainerId, code: i32) {
        for container in self.seen.containers.iter_mut().filter(|container| container.id == *id) {
            if let ContainerState::Running { started } = container.state {
                let exit =
                    Exit { code, reason: String::new(), message: String::new(), started, finished: self.now };
                container.state = ContainerState::Exited(exit);
            }
        }
    }

    /// Ends the newest running container of that name by itself.
    fn exit(&mut self, name: &str, code: i32) {
        let id = self.seen.containers.iter().find(|c| c.name == name && c.running()).map(|c| c.id.clone());
        if let Some(id) = id {
            self.end(&id, code);
        }
    }

    fn lose_sandbox(&mut self, with_containers: bool) {
        let current = self.seen.current(false).map(|sandbox| sandbox.id.clone());
        for sandbox in self.seen.sandboxes.iter_mut().filter(|sandbox| Some(&sandbox.id) == current.as_ref())
        {
            sandbox.ready = false;
        }
        self.seen.addresses.clear();
        if with_containers {
            let all: Vec<ContainerId> =
                self.seen.containers.iter().map(|container| container.id.clone()).collect();
            for id in all {
                self.end(&id, 255);
            }
        }
    }

    /// A new edgecore knows only what the runtime holds and what was reported.
    fn restart(&mut self) {
        self.memory = Memory { volumes_ready: true, ..Memory::default() };
    }

    fn running(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.seen.containers.iter().filter(|c| c.running()).map(|c| c.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    fn phase(&self) -> String {
        status::build(self.view(), &facts()).phase.unwrap_or_default()
    }
}

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
    sim.memory.volumes_ready = false;
    let until = sim.now + SignedDuration::from_secs(1);
    let (reason, message) = ("FailedMount".to_owned(), String::new());
    sim.memory.volumes = Some(Trouble { reason, message, since: sim.now, until, failures: 0 });
    assert_eq!(step(sim.view()), Plan { actions: vec![], wake: Some(until) });
}

/// Something that happens to a pod.
#[derive(Clone, Debug)]
enum Blow {
    Exit(usize, i32),
    SandboxDies { with_containers: bool },
    EdgecoreRestarts,
    RuntimeForgets,
    TimePasses(u64),
}

fn blow() -> impl Strategy<Value = Blow> {
    prop_oneof![
        4 => (0..4usize, prop_oneof![Just(0), Just(1), Just(137)]).prop_map(|(who, code)| Blow::Exit(who, code)),
        1 => any::<bool>().prop_map(|with_containers| Blow::SandboxDies { with_containers }),
        2 => Just(Blow::EdgecoreRestarts),
        1 => Just(Blow::RuntimeForgets),
        3 => (1..700u64).prop_map(Blow::TimePasses),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens: no healthy container is stopped, no name runs twice, order and pauses are kept (see `check`),
    /// every step comes to rest, and a deletion ends with nothing left.
    #[test]
    fn a_pod_survives_any_sequence_of_blows_and_can_always_be_deleted(
        policy in prop_oneof![Just("Always"), Just("OnFailure"), Just("Never")],
        blows in proptest::collection::vec(blow(), 0..25),
        partial in 0..4usize,
    ) {
        let mut sim = Sim::new(pod(json!({
            "restartPolicy": policy,
            "initContainers": [{ "name": "i1", "image": "i" }, { "name": "s", "image": "i", "restartPolicy": "Always" }],
            "containers": [{ "name": "a", "image": "i" }, { "name": "b", "image": "i" }],
        })));
        let names = ["i1", "s", "a", "b"];
        sim.settle();
        for blow in blows {
            match blow {
                Blow::Exit(who, code) => sim.exit(names[who], code),
                Blow::SandboxDies { with_containers } => sim.lose_sandbox(with_containers),
                Blow::EdgecoreRestarts => sim.restart(),
                Blow::RuntimeForgets => sim.seen = Observed::default(),
                Blow::TimePasses(seconds) => sim.pass(Duration::from_secs(seconds)),
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
        }
        sim.goal = Goal::Stop { grace: Duration::from_secs(1) };
        // edgecore dies in the middle of it, too.
        for _ in 0..partial {
            for action in step(sim.view()).actions.into_iter().take(1) {
                sim.check(&action);
                sim.apply(action);
            }
            sim.restart();
        }
        sim.settle();
        prop_assert!(sim.seen.is_empty());
        prop_assert!(matches!(sim.phase().as_str(), "Succeeded" | "Failed"));
    }
}
