//! Required affinity and anti-affinity to other pods, from both sides. Source: Kubernetes v1.36
//! `plugins/interpodaffinity/filtering.go`.

use std::collections::{HashMap, HashSet};

use super::Candidate;
use crate::scheduler::labels::{Labels, Namespaces, PodTerm};
use crate::scheduler::pending::Pending;
use crate::scheduler::pod::Class;
use crate::scheduler::reason::{Reason, Rejection};
use crate::scheduler::snapshot::{NodeName, Snapshot};

/// A topology label's key and value.
type Place = (String, String);

/// Where the pods are that the rules speak of.
pub(super) struct Relations {
    /// Keys of the affinity terms.
    affinity: Vec<String>,
    /// Where pods are that match all affinity terms.
    near: HashSet<Place>,
    /// Whether the pod would be the first of its kind, which may go anywhere.
    first: bool,
    /// Where pods are that an anti-affinity term of this pod matches.
    far: HashSet<Place>,
    /// Where pods are with an anti-affinity term that matches this pod.
    repelled: HashSet<Place>,
}

impl Relations {
    pub(super) fn of(snapshot: &Snapshot, pod: &Pending) -> Self {
        let own = &*pod.footprint.class;
        let (affinity, anti) = (&own.terms.affinity, &own.terms.anti_affinity);
        let spaces = &snapshot.namespaces;
        let mut relations = Self {
            affinity: affinity.iter().map(|term| term.topology_key.clone()).collect(),
            near: HashSet::new(),
            first: false,
            far: HashSet::new(),
            repelled: HashSet::new(),
        };
        for (class, nodes) in snapshot.classes() {
            if !affinity.is_empty() && all_match(affinity, class, spaces) {
                affinity.iter().for_each(|term| gather(&mut relations.near, snapshot, term, nodes));
            }
            for term in anti.iter().filter(|term| term.matches(&class.namespace, &class.labels, spaces)) {
                gather(&mut relations.far, snapshot, term, nodes);
            }
            let theirs = class.terms.anti_affinity.iter();
            for term in theirs.filter(|term| term.matches(&own.namespace, &own.labels, spaces)) {
                gather(&mut relations.repelled, snapshot, term, nodes);
            }
        }
        relations.first = relations.near.is_empty() && all_match(affinity, own, spaces);
        relations
    }

    pub(super) fn filter(&self, on: Candidate<'_>) -> Result<(), Rejection> {
        let labels = &on.facts.labels;
        let labelled = self.affinity.iter().all(|key| labels.contains_key(key));
        let near =
            || self.affinity.iter().all(|key| place(key, labels).is_some_and(|one| self.near.contains(&one)));
        if !labelled || !(self.first || near()) {
            return Err(Reason::Affinity.alone(true));
        }
        let within = |places: &HashSet<Place>| {
            places.iter().any(|(key, value)| labels.get(key).is_some_and(|mine| mine == value))
        };
        if within(&self.far) {
            return Err(Reason::AntiAffinity.alone(false));
        }
        if within(&self.repelled) { Err(Reason::ExistingAntiAffinity.alone(false)) } else { Ok(()) }
    }
}

fn all_match(terms: &[PodTerm], class: &Class, namespaces: &Namespaces) -> bool {
    terms.iter().all(|term| term.matches(&class.namespace, &class.labels, namespaces))
}

fn place(key: &str, labels: &Labels) -> Option<Place> {
    Some((key.to_owned(), labels.get(key)?.clone()))
}

/// Adds the places of `nodes` under the term's label.
fn gather(places: &mut HashSet<Place>, snapshot: &Snapshot, term: &PodTerm, nodes: &HashMap<NodeName, i64>) {
    let facts = nodes.keys().filter_map(|name| snapshot.node(name)?.facts.as_ref());
    places.extend(facts.filter_map(|facts| place(&term.topology_key, &facts.labels)));
}
