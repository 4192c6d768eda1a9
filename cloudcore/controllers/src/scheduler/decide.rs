//! One decision: filter, score, choose. No I/O.

use std::collections::BTreeMap;

use super::filter::{Candidate, Question};
use super::labels::PodSelector;
use super::pending::Pending;
use super::reason::{Diagnosis, Preemption};
use super::score::score;
use super::snapshot::{NodeName, Snapshot};

/// The best node for a pod; the dice choose among equals. `kin` as in [`score`].
///
/// # Errors
/// If there is none: why.
pub(crate) fn decide(
    snapshot: &Snapshot,
    pod: &Pending,
    kin: Option<&PodSelector>,
    dice: &mut fastrand::Rng,
) -> Result<NodeName, Diagnosis> {
    let question = Question::new(snapshot, pod).map_err(|fault| Diagnosis {
        fault: Some(fault),
        preemption: Preemption::Fruitless,
        ..Diagnosis::default()
    })?;
    let (mut candidates, mut rejected) = (Vec::new(), BTreeMap::new());
    for (name, node, facts) in snapshot.nodes() {
        match question.filter(Candidate { name, node, facts }) {
            Ok(()) => candidates.push((name, Candidate { name, node, facts })),
            Err(rejection) => drop(rejected.insert(NodeName::clone(name), rejection)),
        }
    }
    // The node that was cleared for this pod is its own, as long as it fits.
    if let Some((name, _)) = candidates.iter().find(|(name, _)| pod.nominated.as_deref() == Some(name)) {
        return Ok(NodeName::clone(name));
    }
    let (names, nodes): (Vec<_>, Vec<_>) = candidates.into_iter().unzip();
    if let [only] = names.as_slice() {
        return Ok(NodeName::clone(only));
    }
    let scores = score(snapshot, pod, kin, &nodes);
    let best = scores.iter().copied().max();
    let equals: Vec<_> = names.iter().zip(&scores).filter(|(_, score)| Some(**score) == best).collect();
    match dice.choice(equals) {
        Some((name, _)) => Ok(NodeName::clone(name)),
        None => Err(Diagnosis { nodes: rejected, preemption: Preemption::Fruitless, fault: None }),
    }
}
