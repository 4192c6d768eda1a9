//! Claims that must be there, and volumes that must be within reach. Source: Kubernetes v1.36 `plugins/volumebinding`.

use super::Candidate;
use crate::scheduler::pending::Pending;
use crate::scheduler::reason::{Fault, Reason, Rejection};
use crate::scheduler::snapshot::Snapshot;
use crate::scheduler::volumes::{Claim, Volumes};
use crate::volumes::matching::best;

/// What a claim gets that waited for its pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Choice {
    /// The claim, by name.
    pub(crate) claim: String,
    /// The volume; none if it is made on demand.
    pub(crate) volume: Option<String>,
}

/// What is wrong with the pod's claims, whatever the node.
pub(super) fn look(snapshot: &Snapshot, pod: &Pending) -> Result<(), Fault> {
    for name in &pod.claims {
        let Some(claim) = claim(snapshot, pod, name) else { return Err(Fault::ClaimMissing(name.clone())) };
        if claim.lost {
            let volume = claim.volume.clone().unwrap_or_default();
            return Err(Fault::ClaimLost { claim: name.clone(), volume });
        }
        if claim.going {
            return Err(Fault::ClaimGoing(name.clone()));
        }
        if !claim.bound && !waits(&snapshot.volumes, claim) {
            return Err(Fault::ClaimUnbound);
        }
    }
    Ok(())
}

pub(super) fn filter(snapshot: &Snapshot, pod: &Pending, on: Candidate<'_>) -> Result<(), Rejection> {
    let volumes = &snapshot.volumes.volumes;
    for claim in pod.claims.iter().filter_map(|name| claim(snapshot, pod, name)).filter(|claim| claim.bound) {
        match claim.volume.as_ref().and_then(|name| volumes.get(name)) {
            None => return Err(Reason::VolumeGone.alone(true)),
            Some(volume) if !volume.reaches(on.name, &on.facts.labels) => {
                return Err(Reason::VolumeAffinity.alone(true));
            }
            Some(_) => {}
        }
    }
    choose(snapshot, pod, on).map(drop)
}

/// What the pod's claims that wait for it get if it runs on a node: each another volume, the smallest that does.
///
/// # Errors
/// If one gets none.
pub(crate) fn choose<'s>(
    snapshot: &'s Snapshot,
    pod: &'s Pending,
    on: Candidate<'_>,
) -> Result<Vec<Choice>, Rejection> {
    let all = &snapshot.volumes;
    let named = |name: &'s String| Some((name, claim(snapshot, pod, name)?));
    let mut waiting: Vec<_> = pod.claims.iter().filter_map(named).filter(|(_, claim)| !claim.bound).collect();
    waiting.sort_by_key(|(_, claim)| claim.wish.size());
    let mut choices: Vec<Choice> = Vec::new();
    for (name, claim) in waiting {
        if claim.selected.as_ref().is_some_and(|node| node != on.name) {
            return Err(Reason::NoVolume.alone(true));
        }
        let is_taken = |name: &str| choices.iter().any(|choice| choice.volume.as_deref() == Some(name));
        let free = all.volumes.iter().filter(|(name, _)| !is_taken(name)).map(|(_, volume)| &volume.offer);
        let reached = |name: &str| {
            all.volumes.get(name).is_some_and(|volume| volume.reaches(on.name, &on.facts.labels))
        };
        let found = if claim.selected.is_some() {
            None
        } else {
            best(&claim.wish, free, |offer| reached(&offer.name))
        };
        let volume = found.map(|offer| offer.name.clone());
        let made = all.classes.get(claim.wish.class()).is_some_and(|class| class.provisioned);
        if volume.is_none() && !made {
            return Err(Reason::NoVolume.alone(true));
        }
        choices.push(Choice { claim: name.clone(), volume });
    }
    Ok(choices)
}

fn claim<'s>(snapshot: &'s Snapshot, pod: &Pending, name: &str) -> Option<&'s Claim> {
    snapshot.volumes.claims.get(&(pod.footprint.identity.namespace.clone(), name.to_owned()))
}

/// Whether a claim is bound only when a pod comes.
fn waits(volumes: &Volumes, claim: &Claim) -> bool {
    claim.volume.is_none() && volumes.classes.get(claim.wish.class()).is_some_and(|class| class.waits)
}
