//! Which pods have to go so that a more important one fits. No I/O.
//!
//! Source: Kubernetes v1.36 `plugins/defaultpreemption`: all less important pods of a node are taken away, and put back one by one,
//! most important first, where the pod still fits; the node where that hurts least is chosen.

use std::cmp::Reverse;
use std::sync::Arc;

use super::filter::{Candidate, Question};
use super::labels::PodSelector;
use super::pending::Pending;
use super::pod::{Footprint, Identity};
use super::reason::{Diagnosis, Preemption};
use super::snapshot::{NodeName, Snapshot};

/// On how many nodes it is tried (Kubernetes: a tenth, and at least 100).
const TRIED: usize = 100;

/// A PodDisruptionBudget: how many more of its pods may go.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    pub(crate) namespace: String,
    pub(crate) selector: PodSelector,
    pub(crate) allowed: i32,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Plan {
    pub(crate) node: NodeName,
    pub(crate) victims: Vec<Identity>,
}

struct Victims {
    pods: Vec<Arc<Footprint>>,
    /// How many of them no budget allows to go.
    violations: usize,
}

/// Pods that have to go for `pod`, which `diagnosis` says has no node. The snapshot is left as it was.
///
/// # Errors
/// If there are none: what to say about it.
pub(crate) fn preempt(
    snapshot: &mut Snapshot,
    pod: &Pending,
    diagnosis: &Diagnosis,
    budgets: &[Budget],
) -> Result<Plan, Preemption> {
    if !pod.preempts {
        return Err(Preemption::Forbidden);
    }
    let hopeful = diagnosis.nodes.iter().filter(|(_, rejection)| !rejection.hopeless);
    let hopeful: Vec<_> = hopeful.map(|(name, _)| NodeName::clone(name)).take(TRIED).collect();
    let lower = |other: &Footprint| other.priority < pod.footprint.priority;
    if let Some(node) =
        pod.nominated.as_deref().filter(|nominated| hopeful.iter().any(|one| &**one == *nominated))
    {
        let mut pods = snapshot.node(node).into_iter().flat_map(|node| node.pods.values());
        if pods.any(|other| lower(other) && other.class.going) {
            return Err(Preemption::Waiting);
        }
    }
    let plans = hopeful.into_iter().filter_map(|name| Some((victims(snapshot, pod, budgets, &name)?, name)));
    let best = plans.min_by_key(|(victims, name)| (harm(victims), NodeName::clone(name)));
    let (victims, node) = best.ok_or(Preemption::Fruitless)?;
    Ok(Plan { node, victims: victims.pods.iter().map(|victim| victim.identity.clone()).collect() })
}

/// Sorts nodes: the less, the better.
fn harm(victims: &Victims) -> impl Ord + use<> {
    let highest = victims.pods.iter().map(|victim| victim.priority).max();
    let sum: i64 = victims.pods.iter().map(|victim| i64::from(victim.priority) - i64::from(i32::MIN)).sum();
    let oldest = victims
        .pods
        .iter()
        .filter(|victim| Some(victim.priority) == highest)
        .map(|victim| victim.since)
        .min();
    (victims.violations, highest, sum, victims.pods.len(), Reverse(oldest))
}

fn victims(snapshot: &mut Snapshot, pod: &Pending, budgets: &[Budget], name: &NodeName) -> Option<Victims> {
    let there = snapshot.node(name)?.pods.values();
    let mut lower: Vec<_> = there.filter(|other| other.priority < pod.footprint.priority).cloned().collect();
    if lower.is_empty() {
        return None;
    }
    lower.sort_by_key(|victim| (Reverse(victim.priority), victim.since, victim.identity.uid.clone()));
    for victim in &lower {
        snapshot.remove(&victim.identity.uid);
    }
    let possible = fits(snapshot, pod, name);
    let mut victims = Victims { pods: Vec::new(), violations: 0 };
    if possible {
        let (protected, free) = divide(lower.clone(), budgets);
        let candidates =
            protected.into_iter().map(|pod| (pod, 1)).chain(free.into_iter().map(|pod| (pod, 0)));
        for (candidate, violations) in candidates {
            snapshot.place(Arc::clone(&candidate), name);
            if !fits(snapshot, pod, name) {
                snapshot.remove(&candidate.identity.uid);
                victims.violations += violations;
                victims.pods.push(candidate);
            }
        }
    }
    for victim in lower {
        snapshot.place(victim, name);
    }
    (possible && !victims.pods.is_empty()).then_some(victims)
}

fn fits(snapshot: &Snapshot, pod: &Pending, name: &NodeName) -> bool {
    let Some(node) = snapshot.node(name) else { return false };
    let Some(facts) = &node.facts else { return false };
    let question = Question::new(snapshot, pod);
    question.is_ok_and(|question| question.filter(Candidate { name, node, facts }).is_ok())
}

/// Those whose going a budget does not allow, and the rest.
fn divide(pods: Vec<Arc<Footprint>>, budgets: &[Budget]) -> (Vec<Arc<Footprint>>, Vec<Arc<Footprint>>) {
    let mut budgets = budgets.to_vec();
    pods.into_iter().partition(|pod| {
        let mine = budgets.iter_mut().filter(|budget| {
            budget.namespace == pod.identity.namespace && budget.selector.matches(&pod.class.labels)
        });
        let mut violated = false;
        for budget in mine {
            budget.allowed -= 1;
            violated |= budget.allowed < 0;
        }
        violated
    })
}
