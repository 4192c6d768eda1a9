//! A pod that has no node yet, and what it wants of one.

use k8s_openapi::api::core::v1::{Affinity, Pod, Taint, Toleration, TopologySpreadConstraint};

use super::labels::{Labels, NodeTerm, PodSelector};
use super::pod::Footprint;

/// A pod that has no node yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) footprint: Footprint,
    pub(crate) tolerations: Vec<Toleration>,
    /// Labels that the node must have.
    pub(crate) selector: Vec<(String, String)>,
    /// One of these must match, where there are any at all.
    pub(crate) required: Option<Vec<NodeTerm>>,
    pub(crate) preferred: Vec<(i64, NodeTerm)>,
    pub(crate) spread: Vec<Spread>,
    pub(crate) images: Vec<String>,
    pub(crate) claims: Vec<String>,
    /// Whether lower pods may be evicted for it.
    pub(crate) preempts: bool,
    /// The node that was cleared for it.
    pub(crate) nominated: Option<String>,
    /// Counts changes of the spec.
    pub(crate) generation: Option<i64>,
}

/// A topology spread constraint.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    pub(crate) max_skew: i64,
    pub(crate) topology_key: String,
    pub(crate) selector: PodSelector,
    /// With fewer places than these, an empty one is assumed.
    pub(crate) min_domains: usize,
    /// Whether only nodes count that the pod's node selector and affinity match.
    pub(crate) honor_affinity: bool,
    /// Whether only nodes count whose taints the pod tolerates.
    pub(crate) honor_taints: bool,
    /// `DoNotSchedule` rather than `ScheduleAnyway`.
    pub(crate) hard: bool,
}

// === impl Pending ===

impl Pending {
    /// None for a pod without a spec, which the API does not make.
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let footprint = Footprint::of(pod)?;
        let node_affinity =
            spec.affinity.as_ref().and_then(|Affinity { node_affinity, .. }| node_affinity.as_ref());
        let required = node_affinity
            .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
        let preferred = node_affinity
            .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
        let preferred = preferred.into_iter().flatten();
        let spread = spec.topology_spread_constraints.iter().flatten();
        let inits = spec.init_containers.iter().flatten();
        let volumes = spec.volumes.iter().flatten();
        let claims = volumes.filter_map(|volume| {
            let direct = volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone());
            let own = || format!("{}-{}", footprint.identity.name, volume.name);
            direct.or_else(|| volume.ephemeral.as_ref().map(|_| own()))
        });
        Some(Self {
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            selector: spec.node_selector.clone().into_iter().flatten().collect(),
            required: required
                .map(|required| required.node_selector_terms.iter().filter_map(NodeTerm::new).collect()),
            preferred: preferred
                .filter_map(|term| Some((i64::from(term.weight), NodeTerm::new(&term.preference)?)))
                .collect(),
            spread: spread.map(|constraint| Spread::new(constraint, &footprint.class.labels)).collect(),
            images: spec.containers.iter().chain(inits).filter_map(|one| one.image.clone()).collect(),
            claims: claims.collect(),
            preempts: spec.preemption_policy.as_deref() != Some("Never"),
            nominated: pod.status.as_ref().and_then(|status| status.nominated_node_name.clone()),
            generation: pod.metadata.generation,
            footprint,
        })
    }

    pub(crate) fn uid(&self) -> &str {
        &self.footprint.identity.uid
    }

    /// The first of `taints` with one of `effects` that no toleration tolerates.
    pub(crate) fn untolerated<'t>(&self, taints: &'t [Taint], effects: &[&str]) -> Option<&'t Taint> {
        let mut taints = taints.iter().filter(|taint| effects.contains(&taint.effect.as_str()));
        taints.find(|taint| !self.tolerations.iter().any(|toleration| tolerates(toleration, taint)))
    }

    /// Whether its node selector and required affinity match.
    pub(crate) fn wants(&self, node: &str, labels: &Labels) -> bool {
        self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.required.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(node, labels)))
    }
}

impl Spread {
    fn new(constraint: &TopologySpreadConstraint, own: &Labels) -> Self {
        let matching = constraint.match_label_keys.as_deref().unwrap_or_default();
        let honors = |policy: &Option<String>, default| policy.as_ref().map_or(default, |one| one == "Honor");
        Self {
            max_skew: i64::from(constraint.max_skew),
            topology_key: constraint.topology_key.clone(),
            selector: PodSelector::new(constraint.label_selector.as_ref(), own, matching, &[]),
            min_domains: constraint.min_domains.and_then(|count| usize::try_from(count).ok()).unwrap_or(1),
            honor_affinity: honors(&constraint.node_affinity_policy, true),
            honor_taints: honors(&constraint.node_taints_policy, false),
            hard: constraint.when_unsatisfiable == "DoNotSchedule",
        }
    }
}

/// Whether `toleration` speaks of `taint`. Source: Kubernetes v1.36 `core/v1 Toleration.ToleratesTaint`.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match text(&toleration.operator).as_str() {
        "" | "Equal" => text(&toleration.value) == text(&taint.value),
        "Exists" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_speak_of_taints_by_key_value_and_effect() {
        let taint = |key: &str, value: &str, effect: &str| Taint {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            effect: effect.to_owned(),
            time_added: None,
        };
        let toleration = |key: &str, operator: &str, value: &str, effect: &str| Toleration {
            key: Some(key.to_owned()),
            operator: Some(operator.to_owned()),
            value: Some(value.to_owned()),
            effect: Some(effect.to_owned()),
            toleration_seconds: None,
        };
        for (toleration, expected) in [
            (toleration("k", "Equal", "v", "NoSchedule"), true),
            (toleration("k", "", "v", ""), true),
            (toleration("k", "Equal", "w", "NoSchedule"), false),
            (toleration("k", "Exists", "", "NoSchedule"), true),
            (toleration("k", "Exists", "", "NoExecute"), false),
            (toleration("", "Exists", "", ""), true),
            (toleration("l", "Exists", "", ""), false),
        ] {
            assert_eq!(tolerates(&toleration, &taint("k", "v", "NoSchedule")), expected, "{toleration:?}");
        }
    }
}
