//! What is registered now, compiled once per change.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::policy::{Binding, Policy};
use super::webhook::Webhook;
use crate::registry::admission::GROUP;
use crate::schema::Json;
use crate::store::{Collection, ListQuery, Object, Store};

/// Plurals of the kinds.
pub(super) const MUTATING: &str = "mutatingwebhookconfigurations";
pub(super) const VALIDATING: &str = "validatingwebhookconfigurations";
pub(super) const POLICIES: &str = "validatingadmissionpolicies";
pub(super) const BINDINGS: &str = "validatingadmissionpolicybindings";

/// The compiled registrations.
#[derive(Default)]
pub(in crate::apiserver) struct Registrations {
    mutating: Known<Vec<Arc<Webhook>>>,
    validating: Known<Vec<Arc<Webhook>>>,
    policies: Known<Policy>,
    bindings: Known<Binding>,
}

/// Objects of one kind as they were when they were compiled last, by name.
struct Known<T>(Mutex<Vec<One<T>>>);

#[derive(Clone)]
struct One<T> {
    name: Box<str>,
    revision: u64,
    made: Arc<T>,
}

/// Whether there is an object of any of these kinds.
pub(super) fn any(store: &Store, plurals: &[&str]) -> bool {
    plurals.iter().any(|plural| store.count(&Collection::new(GROUP, plural)) > 0)
}

// === impl Registrations ===

impl Registrations {
    /// The webhooks that may change objects, in the order in which they are asked.
    pub(super) fn mutating(&self, store: &Store) -> Vec<Arc<Webhook>> {
        webhooks(&self.mutating.current(store, MUTATING, webhooks_of))
    }

    /// The webhooks that may only refuse.
    pub(super) fn validating(&self, store: &Store) -> Vec<Arc<Webhook>> {
        webhooks(&self.validating.current(store, VALIDATING, webhooks_of))
    }

    /// The policies, with what binds each to requests. Those that nothing binds are left out.
    pub(super) fn policies(&self, store: &Store) -> Vec<(Arc<Policy>, Vec<Arc<Binding>>)> {
        let bindings = self.bindings.current(store, BINDINGS, Binding::compile);
        if bindings.is_empty() {
            return Vec::new();
        }
        let bound = |policy: Arc<Policy>| {
            let own: Vec<_> = bindings.iter().filter(|one| one.policy == policy.name).cloned().collect();
            (policy, own)
        };
        let policies = self.policies.current(store, POLICIES, Policy::compile).into_iter().map(bound);
        policies.filter(|(_, bindings)| !bindings.is_empty()).collect()
    }
}

fn webhooks(configurations: &[Arc<Vec<Arc<Webhook>>>]) -> Vec<Arc<Webhook>> {
    configurations.iter().flat_map(|one| one.iter().cloned()).collect()
}

fn webhooks_of(configuration: &Value) -> Vec<Arc<Webhook>> {
    let name = configuration.text("/metadata/name");
    configuration.list("/webhooks").iter().map(|webhook| Arc::new(Webhook::compile(name, webhook))).collect()
}

// === impl Known ===

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Known<T> {
    /// All of them, sorted by name. Only those are compiled that changed.
    fn current(&self, store: &Store, plural: &str, make: fn(&Value) -> T) -> Vec<Arc<T>> {
        let collection = Collection::new(GROUP, plural);
        let query = ListQuery { collection: &collection, namespace: None, at: None, after: None, limit: 0 };
        // The newest state is always there.
        let there = store.list(&query, |_| true).map(|page| page.objects).unwrap_or_default();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *known).into_iter().peekable();
        for (key, object) in there {
            while before.peek().is_some_and(|one| one.name < key.name) {
                before.next();
            }
            let kept = before.next_if(|one| one.name == key.name && one.revision == object.revision);
            known.push(kept.unwrap_or_else(|| One::new(key.name, &object, make)));
        }
        known.iter().map(|one| Arc::clone(&one.made)).collect()
    }
}

impl<T> One<T> {
    fn new(name: Box<str>, object: &Object, make: fn(&Value) -> T) -> Self {
        Self { name, revision: object.revision, made: Arc::new(make(&object.value())) }
    }
}
