//! Claims that must be there, and volumes that must be within reach. Source: Kubernetes v1.36 `plugins/volumebinding`.

use super::Candidate;
use crate::scheduler::pending::Pending;
use crate::scheduler::reason::{Fault, Reason, Rejection};
use crate::scheduler::snapshot::Snapshot;
use crate::scheduler::volumes::{Claim, Volumes};

/// What is wrong with the pod's claims, whatever the node.
pub(super) fn look(snapshot: &Snapshot, pod: &Pending) -> Result<(), Fault> {
    for name in &pod.claims {
        let Some(claim) = claim(snapshot, pod, name) else { return Err(Fault::ClaimMissing(name.clone())) };
        if claim.going {
            return Err(Fault::ClaimGoing(name.clone()));
        }
        if claim.volume.is_none() && !waits(&snapshot.volumes, claim) {
            return Err(Fault::ClaimUnbound);
        }
    }
    Ok(())
}

pub(super) fn filter(snapshot: &Snapshot, pod: &Pending, on: Candidate<'_>) -> Result<(), Rejection> {
    let volumes = &snapshot.volumes;
    for claim in pod.claims.iter().filter_map(|name| claim(snapshot, pod, name)) {
        let reached = |terms: &Option<Vec<_>>| {
            terms.as_ref().is_none_or(|terms: &Vec<crate::scheduler::labels::NodeTerm>| {
                terms.iter().any(|term| term.matches(on.name, &on.facts.labels))
            })
        };
        match &claim.volume {
            Some(name) => match volumes.volumes.get(name) {
                None => return Err(Reason::VolumeGone.alone(true)),
                Some(volume) if !reached(&volume.terms) => return Err(Reason::VolumeAffinity.alone(true)),
                Some(_) => {}
            },
            None => {
                let class = claim.class.as_deref().unwrap_or_default();
                let made = volumes.classes.get(class).is_some_and(|class| class.provisioned);
                let mut free =
                    volumes.volumes.values().filter(|volume| volume.free_in.as_deref() == Some(class));
                if !made && !free.any(|volume| reached(&volume.terms)) {
                    return Err(Reason::NoVolume.alone(true));
                }
            }
        }
    }
    Ok(())
}

fn claim<'s>(snapshot: &'s Snapshot, pod: &Pending, name: &str) -> Option<&'s Claim> {
    snapshot.volumes.claims.get(&(pod.footprint.identity.namespace.clone(), name.to_owned()))
}

/// Whether a claim is bound only when a pod comes.
fn waits(volumes: &Volumes, claim: &Claim) -> bool {
    claim.class.as_ref().and_then(|name| volumes.classes.get(name)).is_some_and(|class| class.waits)
}
