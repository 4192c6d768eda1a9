//! One look at a stateful set: its status, and the next step.
//!
//! Source: Kubernetes v1.36 `pkg/controller/statefulset/stateful_set_control.go`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::pod::{identity, ordinal};
use crate::cache::is_going;
use crate::history::POD_LABEL;
use crate::pods::{is_available, is_finished, is_ready, phase, ready_since};

/// A template that pods are made from, and its name on them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Revision {
    pub(super) name: String,
    pub(super) template: PodTemplateSpec,
}

/// Those that a set goes from and to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Revisions {
    pub(super) current: Revision,
    pub(super) update: Revision,
    pub(super) collisions: i32,
}

/// Why a pod is deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Why {
    /// It has ended, which a pod of a set should not.
    Ended,
    /// The set has become smaller.
    Surplus,
    /// It is not as the set's template says.
    Outdated,
}

/// What is to be done now. One at a time where the set is ordered.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: StatefulSetStatus,
    /// Numbers whose pods are missing, and whether they get the old template.
    pub(super) create: Vec<(i32, Old)>,
    pub(super) delete: Vec<(Arc<Pod>, Why)>,
    /// Pods that lost the labels which tell who they are.
    pub(super) relabel: Vec<(Arc<Pod>, i32)>,
    /// When a pod will have been ready for long enough.
    pub(super) again: Option<Duration>,
}

/// Whether a pod gets the template that the set is about to leave.
pub(super) type Old = bool;

/// A set with its pods by number.
struct View<'s> {
    spec: &'s StatefulSetSpec,
    now: Timestamp,
    ordered: bool,
    /// The numbers that should have a pod.
    first: i32,
    count: i32,
    pods: BTreeMap<i32, &'s Arc<Pod>>,
}

/// Decides about a set with all pods that it controls.
pub(super) fn plan(set: &StatefulSet, revisions: &Revisions, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = &set.spec else { return plan };
    let view = View {
        spec,
        now,
        ordered: spec.pod_management_policy.as_deref() != Some("Parallel"),
        first: spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0),
        count: spec.replicas.unwrap_or(1).max(0),
        pods: pods.iter().filter_map(|pod| Some((ordinal(set, pod)?, pod))).collect(),
    };
    plan.status = view.status(set, revisions);
    plan.again = view.next_available();
    if is_going(set) {
        return plan;
    }
    let missing_labels = |(ordinal, pod): (&i32, &&Arc<Pod>)| {
        let complete =
            identity(set, *ordinal).iter().all(|(key, value)| pod.labels().get(key) == Some(value));
        (!complete && !is_going(&***pod)).then(|| (Arc::clone(pod), *ordinal))
    };
    plan.relabel = view.pods.iter().filter_map(missing_labels).collect();
    let _ = view
        .fill(&mut plan)
        .and_then(|()| view.shrink(&mut plan))
        .and_then(|()| view.update(revisions, &mut plan));
    plan
}

impl View<'_> {
    fn is_wanted(&self, ordinal: i32) -> bool {
        (self.first..self.first.saturating_add(self.count)).contains(&ordinal)
    }

    fn wanted(&self) -> impl DoubleEndedIterator<Item = (i32, Option<&Arc<Pod>>)> {
        let ordinals = self.first..self.first.saturating_add(self.count);
        ordinals.map(|ordinal| (ordinal, self.pods.get(&ordinal).copied()))
    }

    fn min_ready(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    fn is_running(pod: &Pod) -> bool {
        phase(pod) == "Running" && is_ready(pod)
    }

    /// Running, ready for long enough, and about to stay.
    fn is_healthy(&self, pod: &Pod) -> bool {
        Self::is_running(pod) && !is_going(pod) && is_available(pod, self.min_ready(), self.now)
    }

    /// The first number whose pod gets the new template.
    fn partition(&self) -> i32 {
        let rolling =
            self.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        self.first.saturating_add(rolling.and_then(|rolling| rolling.partition).unwrap_or(0))
    }

    fn is_rolling(&self) -> bool {
        let strategy = self.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
        strategy != Some("OnDelete")
    }

    /// How many pods may be missing or unready during an update.
    fn max_unavailable(&self) -> i32 {
        let rolling =
            self.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        match rolling.and_then(|rolling| rolling.max_unavailable.as_ref()) {
            None => 1,
            Some(IntOrString::Int(number)) => (*number).max(1),
            Some(IntOrString::String(text)) => {
                let percent = text.trim_end_matches('%').parse::<i32>().unwrap_or(0).clamp(0, 100);
                (i64::from(percent) * i64::from(self.count) / 100).try_into().unwrap_or(1).max(1)
            }
        }
    }

    /// Makes the pods that are missing; nothing further is to be done where this is `None`.
    fn fill(&self, plan: &mut Plan) -> Option<()> {
        let old = |ordinal: i32| self.is_rolling() && ordinal < self.partition();
        let mut complete = true;
        for (ordinal, pod) in self.wanted() {
            match pod {
                None => plan.create.push((ordinal, old(ordinal))),
                Some(pod) if is_finished(pod) => {
                    if !is_going(&**pod) {
                        plan.delete.push((Arc::clone(pod), Why::Ended));
                    }
                    complete = false;
                }
                Some(pod) if self.ordered && !self.is_healthy(pod) => complete = false,
                Some(_) => continue,
            }
            if self.ordered {
                return None;
            }
        }
        complete.then_some(())
    }

    /// Deletes the pods beyond the wanted number, from the highest down.
    fn shrink(&self, plan: &mut Plan) -> Option<()> {
        let is_well = |pod: &Pod| Self::is_running(pod) && !is_going(pod);
        let first_ill = self.pods.iter().find(|(_, pod)| !is_well(pod)).map(|(ordinal, _)| *ordinal);
        for (ordinal, pod) in self.pods.iter().rev().filter(|(ordinal, _)| !self.is_wanted(**ordinal)) {
            if is_going(&***pod) {
                if self.ordered {
                    return None;
                }
                continue;
            }
            // One that never ran must not hold up the others.
            if self.ordered && !self.is_healthy(pod) && first_ill != Some(*ordinal) {
                return None;
            }
            plan.delete.push((Arc::clone(pod), Why::Surplus));
            if self.ordered {
                return None;
            }
        }
        Some(())
    }

    /// Deletes pods of another template, from the highest down, as long as enough others are well.
    fn update(&self, revisions: &Revisions, plan: &mut Plan) -> Option<()> {
        if !self.is_rolling() {
            return None;
        }
        let mut allowed = self.max_unavailable();
        for (ordinal, pod) in self.wanted().rev() {
            if allowed <= 0 || ordinal < self.partition() {
                return None;
            }
            let Some(pod) = pod else {
                allowed -= 1;
                continue;
            };
            if revision_of(pod) != Some(&revisions.update.name) && !is_going(&**pod) {
                plan.delete.push((Arc::clone(pod), Why::Outdated));
                allowed -= 1;
            } else if !self.is_healthy(pod) {
                allowed -= 1;
            }
        }
        Some(())
    }

    fn next_available(&self) -> Option<Duration> {
        let left = self.pods.values().filter_map(|pod| {
            let left = ready_since(pod)?.as_second() + i64::from(self.min_ready()) - self.now.as_second();
            u64::try_from(left).ok().filter(|left| *left > 0)
        });
        left.min().map(Duration::from_secs)
    }

    fn status(&self, set: &StatefulSet, revisions: &Revisions) -> StatefulSetStatus {
        let count = |wanted: &dyn Fn(&Pod) -> bool| {
            i32::try_from(self.pods.values().filter(|pod| wanted(pod)).count()).unwrap_or(i32::MAX)
        };
        let some = |number: i32| Some(number).filter(|number| *number > 0);
        let of = |revision: &Revision| {
            count(&|pod| revision_of(pod) == Some(&revision.name) && !is_going(pod) && !phase(pod).is_empty())
        };
        let (replicas, ready) = (count(&|pod| !phase(pod).is_empty()), count(&Self::is_running));
        let (mut current, updated) = (of(&revisions.current), of(&revisions.update));
        let mut current_revision = revisions.current.name.clone();
        let is_complete = [updated, ready, replicas].iter().all(|number| *number == self.count);
        if self.is_rolling() && is_complete && self.count > 0 {
            (current, current_revision) = (updated, revisions.update.name.clone());
        }
        StatefulSetStatus {
            replicas,
            ready_replicas: some(ready),
            available_replicas: Some(count(&|pod| {
                Self::is_running(pod) && is_available(pod, self.min_ready(), self.now)
            })),
            current_replicas: some(current),
            updated_replicas: some(updated),
            current_revision: Some(current_revision),
            update_revision: Some(revisions.update.name.clone()),
            observed_generation: set.metadata.generation,
            collision_count: Some(revisions.collisions),
            conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
        }
    }
}

/// The name of the template that a pod was made from.
pub(super) fn revision_of(pod: &Pod) -> Option<&String> {
    pod.labels().get(POD_LABEL)
}
