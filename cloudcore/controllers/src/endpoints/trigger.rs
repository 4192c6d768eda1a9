//! When the change happened that leads to a new state, so that one can measure how long it took to get around.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use crate::pods::condition;

/// What was last seen, by service.
#[derive(Default)]
pub(super) struct Triggers(Mutex<HashMap<ObjectRef<Service>, Seen>>);

#[derive(Default)]
struct Seen {
    service: Option<Timestamp>,
    pods: HashMap<String, Timestamp>,
}

impl Triggers {
    /// When the first of the changes happened that are new since the last call; nothing if there are none.
    pub(super) fn changed<'p>(
        &self,
        service: &Service,
        pods: impl Iterator<Item = &'p Pod>,
    ) -> Option<Timestamp> {
        let pods = pods.filter_map(|pod| Some((pod.name_any(), ready_change(pod)?))).collect();
        let made = service.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(ObjectRef::from_obj(service)).or_default().see(made, pods)
    }

    pub(super) fn forget(&self, service: &ObjectRef<Service>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(service);
    }
}

impl Seen {
    fn see(&mut self, service: Option<Timestamp>, pods: HashMap<String, Timestamp>) -> Option<Timestamp> {
        let new_pods = pods.iter().filter(|(name, time)| self.pods.get(*name) < Some(*time));
        let first = new_pods.map(|(_, time)| *time).min();
        let new_service = service.filter(|time| self.service < Some(*time));
        (self.service, self.pods) = (service, pods);
        first.into_iter().chain(new_service).min()
    }
}

fn ready_change(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready")?.last_transition_time.as_ref().map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pods(all: &[(&str, i64)]) -> HashMap<String, Timestamp> {
        all.iter().map(|(name, second)| ((*name).to_owned(), at(*second))).collect()
    }

    #[test]
    fn the_first_of_the_new_changes_counts_and_an_old_one_never_again() {
        let mut seen = Seen::default();
        assert_eq!(seen.see(Some(at(1)), pods(&[("a", 5), ("b", 7)])), Some(at(1)));
        assert_eq!(seen.see(Some(at(1)), pods(&[("a", 5), ("b", 7)])), None);
        assert_eq!(seen.see(Some(at(1)), pods(&[("a", 9), ("b", 8)])), Some(at(8)));
        assert_eq!(seen.see(Some(at(1)), pods(&[("a", 9)])), None);
        assert_eq!(seen.see(Some(at(1)), pods(&[("a", 9), ("b", 8)])), Some(at(8)));
    }
}
