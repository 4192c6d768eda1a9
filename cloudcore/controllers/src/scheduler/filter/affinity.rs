//! The pod's node selector and required node affinity.

use std::collections::BTreeSet;

use super::Candidate;
use crate::scheduler::pending::Pending;
use crate::scheduler::reason::{Fault, Reason, Rejection};

/// The only nodes that can do, if every term names some.
pub(super) fn named(pod: &Pending) -> Result<Option<BTreeSet<String>>, Fault> {
    let Some(terms) = pod.required.as_ref().filter(|terms| !terms.is_empty()) else { return Ok(None) };
    let mut named = BTreeSet::new();
    for term in terms {
        match term.names() {
            Some(names) => named.extend(names),
            None => return Ok(None),
        }
    }
    if named.is_empty() { Err(Fault::AffinityConflict) } else { Ok(Some(named)) }
}

pub(super) fn filter(pod: &Pending, on: Candidate<'_>) -> Result<(), Rejection> {
    match pod.wants(on.name, &on.facts.labels) {
        true => Ok(()),
        false => Err(Reason::NodeAffinity.alone(true)),
    }
}
