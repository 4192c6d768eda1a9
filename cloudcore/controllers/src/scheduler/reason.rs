//! Why a pod found no node, in Kubernetes' words.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::snapshot::NodeName;

/// What a filter says of a node.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Reason {
    Unschedulable,
    Taint,
    NodeAffinity,
    /// Only named nodes are wanted, and this is not one of them.
    NotNamed,
    Ports,
    TooManyPods,
    /// Of this resource.
    Insufficient(String),
    Affinity,
    AntiAffinity,
    ExistingAntiAffinity,
    Spread,
    /// The node lacks a label of the constraint.
    SpreadLabel,
    VolumeAffinity,
    NoVolume,
    VolumeGone,
}

/// A node that was rejected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Rejection {
    pub(crate) reasons: Vec<Reason>,
    /// Whether the node would not do without its pods either.
    pub(crate) hopeless: bool,
}

/// What is wrong with a pod, whatever the node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// Its node affinity names nodes that exclude each other.
    AffinityConflict,
    ClaimMissing(String),
    ClaimGoing(String),
    ClaimLost {
        claim: String,
        volume: String,
    },
    ClaimUnbound,
}

/// Why a pod found no node.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Diagnosis {
    pub(crate) fault: Option<Fault>,
    /// By node; empty if there are no nodes at all.
    pub(crate) nodes: BTreeMap<NodeName, Rejection>,
    /// What came of looking for pods to evict.
    pub(crate) preemption: Preemption,
}

/// What came of looking for pods to evict.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Preemption {
    /// Pods are evicted for it; the message does not mention it.
    #[default]
    Under,
    /// None was found.
    Fruitless,
    /// It must not.
    Forbidden,
    /// Those that it evicted before are not gone yet.
    Waiting,
}

// === impl Reason ===

impl Reason {
    /// A node that is rejected for this only.
    pub(crate) fn alone(self, hopeless: bool) -> Rejection {
        Rejection { reasons: vec![self], hopeless }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unschedulable => "node(s) were unschedulable",
            Self::Taint => "node(s) had untolerated taint(s)",
            Self::NodeAffinity => "node(s) didn't match Pod's node affinity/selector",
            Self::NotNamed => "node(s) didn't satisfy plugin(s) [NodeAffinity]",
            Self::Ports => "node(s) didn't have free ports for the requested pod ports",
            Self::TooManyPods => "Too many pods",
            Self::Insufficient(resource) => return write!(f, "Insufficient {resource}"),
            Self::Affinity => "node(s) didn't match pod affinity rules",
            Self::AntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Self::ExistingAntiAffinity => "node(s) didn't satisfy existing pods anti-affinity rules",
            Self::Spread => "node(s) didn't match pod topology spread constraints",
            Self::SpreadLabel => {
                "node(s) didn't match pod topology spread constraints (missing required label)"
            }
            Self::VolumeAffinity => "node(s) didn't match PersistentVolume's node affinity",
            Self::NoVolume => "node(s) didn't find available persistent volumes to bind",
            Self::VolumeGone => "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AffinityConflict => f.write_str("pod affinity terms conflict"),
            Self::ClaimMissing(name) => write!(f, "persistentvolumeclaim \"{name}\" not found"),
            Self::ClaimGoing(name) => write!(f, "persistentvolumeclaim \"{name}\" is being deleted"),
            Self::ClaimLost { claim, volume } => write!(
                f,
                "persistentvolumeclaim \"{claim}\" bound to non-existent persistentvolume \"{volume}\""
            ),
            Self::ClaimUnbound => f.write_str("pod has unbound immediate PersistentVolumeClaims"),
        }
    }
}

// === impl Diagnosis ===

impl Diagnosis {
    /// Whether any node was rejected for one of these.
    pub(crate) fn has(&self, which: impl Fn(&Reason) -> bool) -> bool {
        self.nodes.values().flat_map(|rejection| &rejection.reasons).any(which)
    }
}

/// The message of the event `FailedScheduling` and of the condition. `all` is how many nodes there are.
///
/// Source: Kubernetes v1.36 `pkg/scheduler/framework FitError`.
pub(crate) fn message(diagnosis: &Diagnosis, all: usize) -> String {
    if all == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let reasons = match &diagnosis.fault {
        Some(fault) => fault.to_string(),
        None => histogram(diagnosis.nodes.values().flat_map(|one| one.reasons.iter().map(Reason::to_string))),
    };
    let preemption = match diagnosis.preemption {
        Preemption::Under => return format!("0/{all} nodes are available: {reasons}."),
        Preemption::Forbidden => "not eligible due to preemptionPolicy=Never.".to_owned(),
        Preemption::Waiting => "not eligible due to a terminating pod on the nominated node.".to_owned(),
        Preemption::Fruitless => {
            let hopeful = diagnosis.nodes.values().filter(|one| !one.hopeless).count();
            let hopeful = if diagnosis.fault.is_some() { 0 } else { hopeful };
            let told = std::iter::repeat_n("No preemption victims found for incoming pod", hopeful)
                .chain(std::iter::repeat_n("Preemption is not helpful for scheduling", all - hopeful));
            format!("0/{all} nodes are available: {}.", histogram(told.map(str::to_owned)))
        }
    };
    format!("0/{all} nodes are available: {reasons}. preemption: {preemption}")
}

/// How often each was said, sorted as texts.
fn histogram(told: impl Iterator<Item = String>) -> String {
    let mut counts = HashMap::<String, usize>::new();
    told.for_each(|one| *counts.entry(one).or_default() += 1);
    let mut lines: Vec<_> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    lines.sort();
    lines.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis(rejections: Vec<Rejection>) -> Diagnosis {
        let nodes = rejections.into_iter().enumerate();
        let nodes = nodes.map(|(at, rejection)| (format!("n{at}").into(), rejection)).collect();
        Diagnosis { nodes, preemption: Preemption::Fruitless, ..Diagnosis::default() }
    }

    #[test]
    fn reasons_are_counted_and_sorted_as_texts() {
        let both = Rejection {
            reasons: vec![Reason::Insufficient("cpu".to_owned()), Reason::TooManyPods],
            hopeless: false,
        };
        let mut rejections = vec![both.clone(), both];
        rejections.extend(std::iter::repeat_n(Reason::Taint.alone(true), 10));
        assert_eq!(
            message(&diagnosis(rejections), 12),
            "0/12 nodes are available: 10 node(s) had untolerated taint(s), 2 Insufficient cpu, 2 Too many pods. \
             preemption: 0/12 nodes are available: 10 Preemption is not helpful for scheduling, \
             2 No preemption victims found for incoming pod."
        );
    }

    #[test]
    fn the_rest_of_the_messages_are_kubernetes_own() {
        assert_eq!(message(&Diagnosis::default(), 0), "no nodes available to schedule pods");
        let mut fault = diagnosis(Vec::new());
        fault.fault = Some(Fault::ClaimMissing("nope".to_owned()));
        assert_eq!(
            message(&fault, 1),
            "0/1 nodes are available: persistentvolumeclaim \"nope\" not found. preemption: 0/1 nodes are available: \
             1 Preemption is not helpful for scheduling."
        );
        let mut never = diagnosis(vec![Reason::Ports.alone(false)]);
        never.preemption = Preemption::Forbidden;
        assert_eq!(
            message(&never, 1),
            "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. \
             preemption: not eligible due to preemptionPolicy=Never."
        );
        never.preemption = Preemption::Under;
        assert!(message(&never, 1).ends_with("pod ports."));
    }
}
