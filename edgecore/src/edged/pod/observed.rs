//! What the runtime holds of one pod, in the order that questions are asked.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;

use super::policy::RestartPolicy;
use crate::edged::clock::Look;
use crate::edged::runtime::{Container, ContainerId, ContainerState, Sandbox, SandboxId};

/// Sandboxes and containers of one pod, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// All sandboxes, newest first.
    pub sandboxes: Vec<Sandbox>,
    /// All containers, newest first.
    pub containers: Vec<Container>,
    /// Addresses of the newest sandbox, if it is ready and has a network of its own.
    pub addresses: Vec<IpAddr>,
    /// Containers that were stopped in order to be started again: how they ended says nothing.
    pub condemned: BTreeSet<ContainerId>,
    /// When containers began, as far as somebody looked then, on the clock that does not jump.
    pub began: BTreeMap<ContainerId, Timestamp>,
    /// When containers ended, on the clock that does not jump.
    pub ended: BTreeMap<ContainerId, Timestamp>,
}

impl Observed {
    /// Says when containers began and ended; what was said at the look `before` stays so.
    pub fn date(&mut self, before: &Self, look: Look) {
        for container in &self.containers {
            let id = &container.id;
            let began = match &container.state {
                ContainerState::Running { started } => Some(*started),
                _ => None,
            };
            let began = before.began.get(id).copied().or_else(|| Some(look.taken_over(began?)));
            self.began.extend(began.map(|began| (id.clone(), began)));
            if let Some(exit) = container.exit() {
                let ended = before.ended.get(id).copied();
                self.ended.insert(id.clone(), ended.unwrap_or_else(|| look.taken_over(exit.finished)));
            }
        }
    }

    /// When a container that has ended did so, on the clock that does not jump.
    pub fn ended_at(&self, container: &Container) -> Option<Timestamp> {
        self.ended.get(&container.id).copied().or_else(|| Some(container.exit()?.finished))
    }

    /// Sorts what a runtime listed.
    pub fn new(mut sandboxes: Vec<Sandbox>, mut containers: Vec<Container>, addresses: Vec<IpAddr>) -> Self {
        sandboxes.sort_by_key(|sandbox| Reverse((sandbox.attempt, sandbox.created)));
        containers.sort_by_key(|container| Reverse((container.created, container.attempt)));
        Self { sandboxes, containers, addresses, ..Self::default() }
    }

    /// The sandbox that containers may be started in: the newest one, if it is usable.
    pub fn current(&self, host_network: bool) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|newest| newest.ready && (host_network || !self.addresses.is_empty()))
    }

    /// The newest container of that name.
    pub fn latest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The newest container of that name inside `sandbox`.
    pub fn latest_in(&self, name: &str, sandbox: &SandboxId) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name && container.sandbox == *sandbox)
    }

    /// Containers of that name that have ended, newest first.
    pub fn ended<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Container> {
        self.containers.iter().filter(move |container| container.name == name && container.exit().is_some())
    }

    /// Whether this container, which has ended, is followed by another one.
    pub fn restarts(&self, policy: RestartPolicy, container: &Container) -> bool {
        self.condemned.contains(&container.id) || container.exit().is_some_and(|exit| policy.restarts(exit))
    }

    /// Whether nothing of the pod is left in the runtime.
    pub fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;
    use crate::edged::pod::policy;
    use crate::edged::runtime::{Exit, PodUid, labels};

    fn container(state: ContainerState) -> Container {
        Container {
            id: ContainerId("c".into()),
            sandbox: SandboxId("s".into()),
            uid: PodUid("u".into()),
            name: "c".into(),
            attempt: 0,
            created: Timestamp::UNIX_EPOCH,
            state,
            image: String::new(),
            image_ref: String::new(),
            labels: Default::default(),
            annotations: [(labels::BACK_OFF.to_owned(), "40".to_owned())].into(),
            last_words: None,
        }
    }

    fn exit(started: Timestamp, finished: Timestamp) -> Exit {
        Exit { code: 1, reason: String::new(), message: String::new(), started, finished }
    }

    proptest! {
        /// The wall clock jumps by `first` while a container runs and by `then` after it has ended.
        #[test]
        fn a_back_off_lasts_as_long_as_it_should_whatever_the_clock_does(
            first in -400_000_000_i64..400_000_000, then in -400_000_000_i64..400_000_000, ran in 1_i64..500, late in 0_i64..5,
        ) {
            let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
            let see = |state: ContainerState, before: &Observed, wall: i64, now: i64, last: Option<i64>| {
                let mut seen = Observed::new(Vec::new(), vec![container(state)], Vec::new());
                seen.date(before, Look { wall: at(wall), now: at(now), before: last.map(at) });
                seen
            };
            let running = see(ContainerState::Running { started: at(0) }, &Observed::default(), 0, 0, None);
            let end = exit(at(0), at(ran + first));
            let ended = ContainerState::Exited(end.clone());
            let saw = ran + late;
            let seen = see(ended.clone(), &running, saw + first, saw, Some(0));
            let due = policy::due(&seen, &seen.containers[0], &end, at(saw));
            prop_assert!(due >= at(40) && due <= at(saw + 40), "{due}");
            // Later, after another jump, it is still the same moment.
            let later = see(ended, &seen, saw + 7 + then, saw + 7, Some(saw));
            prop_assert_eq!(policy::due(&later, &later.containers[0], &end, at(saw + 7)), due);
            prop_assert_eq!(policy::due(&later, &later.containers[0], &end, at(saw + 100)), due);
            prop_assert_eq!(policy::back_off_of(&later, &later.containers[0], &end), Duration::from_secs(40));
        }
    }

    #[test]
    fn a_container_that_ran_long_is_forgiven_by_the_time_that_passed_and_not_by_the_clock() {
        let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
        let day = SignedDuration::from_hours(24);
        let run = |lived: i64, finished: Timestamp| {
            let mut before = Observed::new(
                Vec::new(),
                vec![container(ContainerState::Running { started: at(0) })],
                Vec::new(),
            );
            before.date(&Observed::default(), Look { wall: at(0), now: at(0), before: None });
            let end = exit(at(0), finished);
            let mut seen =
                Observed::new(Vec::new(), vec![container(ContainerState::Exited(end.clone()))], Vec::new());
            seen.date(&before, Look { wall: finished, now: at(lived), before: Some(at(lived - 1)) });
            policy::back_off_of(&seen, &seen.containers[0], &end)
        };
        assert_eq!(run(5, at(5) + day), Duration::from_secs(40), "the clock jumped a day forward");
        assert_eq!(run(900, at(900) - day), Duration::ZERO, "it jumped a day back");
    }
}
