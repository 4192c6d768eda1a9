//! The reconciler: what a pod should be, what the runtime holds, what time it is → what to do next. No I/O.
//! When and how a pod ends is in [`end`], where its containers run in [`place`], and which of them start in [`start`].
//!
//! Each call names only what can be done now; the worker does it, looks again and asks again. So a crash between any two
//! actions is just another starting point.

mod end;
mod place;
mod start;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::observed::Observed;
use super::policy;
use crate::edged::admission::Rejection;
use crate::edged::housekeeping::Eviction;
use crate::edged::probes::Healths;
use crate::edged::runtime::{ContainerId, SandboxId};
use end::{deadline, wind_down};
use place::{replace_sandbox, sweep};
use start::{start_ephemerals, start_inits, start_mains};

pub use end::{ending, has_ended, past_deadline};

/// What a pod is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// It runs.
    Run,
    /// It ends within this time and everything of it is removed.
    Stop {
        /// Time for its containers to end by themselves.
        grace: Duration,
    },
}

/// Something to do for a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Stop a container; neighbours in a plan are stopped at the same time.
    StopContainer {
        /// Which.
        id: ContainerId,
        /// Its name in the pod.
        name: String,
        /// Time to end by itself.
        grace: Duration,
        /// What to say in the event.
        why: String,
        /// It is stopped in order to be started again, however it ends.
        again: bool,
    },
    /// End a sandbox and release its network.
    StopSandbox(SandboxId),
    /// Forget a container that ended long ago, and its log.
    RemoveContainer(ContainerId),
    /// Forget a sandbox that nothing refers to.
    RemoveSandbox(SandboxId),
    /// Make a sandbox.
    CreateSandbox {
        /// How many there were before.
        attempt: u32,
    },
    /// Make sure of the image, make the container and start it.
    StartContainer {
        /// Its name in the pod.
        name: String,
        /// How often it was restarted before.
        restarts: u32,
        /// What it will have to wait if it ends.
        back_off: Duration,
        /// Where to start it.
        sandbox: SandboxId,
    },
    /// Give volumes back: the pod has ended for good but its object stays. Its containers' last words stay with it.
    ReleaseVolumes,
    /// Everything has ended: remove what is left, report the end.
    Finish,
}

/// What could not be done, and when to try again.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// One word, as Kubernetes knows it, such as `ErrImagePull`.
    pub reason: String,
    /// What happened, in the words of who refused.
    pub message: String,
    /// When it happened.
    pub since: Timestamp,
    /// Not before.
    pub until: Timestamp,
    /// How often in a row.
    pub failures: u32,
}

impl Trouble {
    /// Whether the container was made and has ended: its own back-off counts.
    pub fn is_end(&self) -> bool {
        matches!(self.reason.as_str(), "RunContainerError" | "PostStartHookError")
    }

    /// Whether an image could not be fetched.
    pub fn is_pull(&self) -> bool {
        matches!(self.reason.as_str(), "ErrImagePull" | "ImagePullBackOff")
    }
}

/// What is known of a pod's volumes on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Volumes {
    /// Nothing: an agent before this one may have set some up, and so may an attempt that failed.
    #[default]
    Unknown,
    /// All of them are there: containers may start.
    Ready,
    /// Nothing of them is there: the pod has ended, and nobody sets them up again.
    Released,
}

/// What the worker remembers between steps; losing it costs at most an early retry.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Containers that could not be started, by name.
    pub containers: BTreeMap<String, Trouble>,
    /// The sandbox could not be made.
    pub sandbox: Option<Trouble>,
    /// The volumes.
    pub volumes: Volumes,
    /// Volumes could not be made ready, or brought up to date.
    pub mounting: Option<Trouble>,
    /// When this node took the pod on, on the clock that does not jump.
    pub began: Option<Timestamp>,
    /// When stopping began.
    pub stopping: Option<Timestamp>,
    /// The pod has to go for the good of the node.
    pub evicted: Option<Eviction>,
    /// The pod cannot run here: the reason and the message for its status.
    pub refused: Option<Rejection>,
    /// The end has been reported.
    pub gone_said: bool,
    /// The end has been reported and nothing is left.
    pub finished: bool,
}

/// Everything a step looks at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The object.
    pub pod: &'a Pod,
    /// What it is to become.
    pub goal: Goal,
    /// What the runtime holds.
    pub seen: &'a Observed,
    /// The status that was reported last, also before a restart.
    pub prior: Option<&'a PodStatus>,
    /// What was tried before.
    pub memory: &'a Memory,
    /// How the running containers are.
    pub healths: &'a Healths,
    /// The clock that does not jump: what is waited for is reckoned in it.
    pub now: Timestamp,
    /// The wall clock, for what is written down.
    pub wall: Timestamp,
}

/// What to do, and when to ask again at the latest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// Nothing can be done before, unless something changes.
    pub wake: Option<Timestamp>,
}

impl Plan {
    fn wait(&mut self, until: Timestamp) {
        self.wake = Some(self.wake.map_or(until, |wake| wake.min(until)));
    }
}

/// Decides the next actions for a pod.
pub fn step(view: View<'_>) -> Plan {
    match view.goal {
        Goal::Stop { grace } => wind_down(view, grace, true),
        Goal::Run if has_ended(view) => {
            let grace = policy::grace(view.pod);
            let most = view.memory.evicted.as_ref().map_or(grace, |eviction| eviction.grace);
            wind_down(view, grace.min(most), false)
        }
        Goal::Run => run(view),
    }
}

fn run(view: View<'_>) -> Plan {
    let mut plan = Plan::default();
    if let Some(end) = deadline(view) {
        plan.wait(end);
    }
    match view.seen.current(policy::host_network(view.pod)) {
        None => replace_sandbox(view, &mut plan),
        Some(sandbox) => {
            sweep(view, sandbox, &mut plan);
            start_ephemerals(view, sandbox, &mut plan);
            if start_inits(view, sandbox, &mut plan) {
                start_mains(view, sandbox, &mut plan);
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests;
