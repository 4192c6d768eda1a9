//! A simulated runtime and machine under one pod, and the checks of every action on them.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Value, json};

use super::super::{Action, Goal, Memory, Plan, Trouble, View, Volumes, has_ended, step};
use crate::edged::pod::observed::Observed;
use crate::edged::pod::status::{self, NodeFacts};
use crate::edged::pod::{hash, members, policy};
use crate::edged::probes::Healths;
use crate::edged::runtime::{
    Container, ContainerId, ContainerState, Exit, PodUid, Sandbox, SandboxId, labels,
};

/// What of a pod's volumes lies on the machine, whoever knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OnDisk {
    Nothing,
    Some,
    All,
}

/// A runtime that does what it is told, and a worker's memory.
pub(super) struct Sim {
    pub(super) pod: Pod,
    pub(super) goal: Goal,
    pub(super) seen: Observed,
    pub(super) memory: Memory,
    pub(super) healths: Healths,
    pub(super) prior: Option<PodStatus>,
    pub(super) now: Timestamp,
    next_id: u32,
    pub(super) on_disk: OnDisk,
    /// Whether volumes can be made ready: what they are made from may be missing.
    pub(super) mountable: bool,
    /// Names in the order in which they were started in the current sandbox.
    pub(super) started: Vec<String>,
}

pub(super) fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "p", "namespace": "default", "uid": "u" }, "spec": spec,
    }))
    .expect("a pod")
}

pub(super) fn facts() -> NodeFacts {
    NodeFacts { address: [192, 0, 2, 1].into(), runtime: "containerd".into() }
}

impl Sim {
    pub(super) fn new(pod: Pod) -> Self {
        Self {
            pod,
            goal: Goal::Run,
            seen: Observed::default(),
            memory: Memory::default(),
            healths: Healths::default(),
            prior: None,
            now: Timestamp::from_second(1_700_000_000).expect("a time"),
            next_id: 0,
            on_disk: OnDisk::Nothing,
            mountable: true,
            started: Vec::new(),
        }
    }

    pub(super) fn view(&self) -> View<'_> {
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

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += SignedDuration::try_from(time).expect("a duration");
    }

    /// Makes volumes ready if the pod runs, as the worker does before each step.
    fn prepare(&mut self) {
        let runs = self.goal == Goal::Run && !has_ended(self.view());
        let paused = self.memory.mounting.as_ref().is_some_and(|trouble| trouble.until > self.now);
        if !runs || self.memory.volumes == Volumes::Ready || paused {
            return;
        }
        if self.mountable {
            self.on_disk = OnDisk::All;
            (self.memory.volumes, self.memory.mounting) = (Volumes::Ready, None);
        } else {
            self.on_disk = self.on_disk.max(OnDisk::Some);
            self.memory.volumes = Volumes::Unknown;
            self.memory.mounting = Some(failed_mount(self.now));
        }
    }

    /// What to do now; told as the worker tells it.
    fn plan(&mut self) -> Plan {
        self.prepare();
        let plan = step(self.view());
        if plan.actions.is_empty() || self.prior.is_none() {
            self.prior = Some(status::build(self.view(), &facts()));
        }
        plan
    }

    /// Steps until nothing is left to do; checks every action. Returns the last plan.
    pub(super) fn settle(&mut self) -> Plan {
        for _ in 0..100 {
            let plan = self.plan();
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

    pub(super) fn check(&self, action: &Action) {
        let current = self.seen.current(false);
        match action {
            Action::StopContainer { id, .. } if self.goal == Goal::Run && !has_ended(self.view()) => {
                let container = self.seen.containers.iter().find(|c| c.id == *id).expect("it exists");
                let healthy = container.running() && current.is_some_and(|s| s.id == container.sandbox);
                assert!(!healthy, "a healthy container was stopped: {container:?}");
            }
            Action::StartContainer { name, sandbox, .. } => {
                assert_eq!(self.goal, Goal::Run);
                assert_eq!(self.on_disk, OnDisk::All, "{name} was started without its volumes");
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
            Action::Finish | Action::ReleaseVolumes => {
                assert!(self.goal != Goal::Run || has_ended(self.view()), "{action:?} of a pod that runs");
                assert!(
                    !self.seen.containers.iter().any(Container::running),
                    "finished while something runs"
                );
                assert!(!self.seen.sandboxes.iter().any(|sandbox| sandbox.ready), "finished with a sandbox");
            }
            _ => {}
        }
    }

    pub(super) fn apply(&mut self, action: Action) {
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
            Action::ReleaseVolumes => {
                self.on_disk = OnDisk::Nothing;
                (self.memory.volumes, self.memory.mounting) = (Volumes::Released, None);
            }
            Action::Finish => {
                self.on_disk = OnDisk::Nothing;
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
    pub(super) fn exit(&mut self, name: &str, code: i32) {
        let id = self.seen.containers.iter().find(|c| c.name == name && c.running()).map(|c| c.id.clone());
        if let Some(id) = id {
            self.end(&id, code);
        }
    }

    pub(super) fn lose_sandbox(&mut self, with_containers: bool) {
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
    pub(super) fn restart(&mut self) {
        self.memory = Memory::default();
    }

    /// edgecore does so many things and dies.
    pub(super) fn die_after(&mut self, actions: usize) {
        for _ in 0..actions {
            if let Some(action) = self.plan().actions.into_iter().next() {
                self.check(&action);
                self.apply(action);
            }
        }
        self.restart();
    }

    pub(super) fn running(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.seen.containers.iter().filter(|c| c.running()).map(|c| c.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    pub(super) fn phase(&self) -> String {
        status::build(self.view(), &facts()).phase.unwrap_or_default()
    }
}

fn failed_mount(now: Timestamp) -> Trouble {
    let (reason, message) = ("FailedMount".to_owned(), String::new());
    Trouble { reason, message, since: now, until: now + SignedDuration::from_secs(1), failures: 0 }
}
