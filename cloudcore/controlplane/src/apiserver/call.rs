//! One request, taken apart and looked up.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;

use super::auth::Identity;
use super::http::{Accept, Query};
use super::limits::Turn;
use crate::registry::Resource;
use crate::status::Status;
use crate::store::{Collection, ObjectId};

/// An object, or a place where one could be.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) resource: Arc<Resource>,
    pub(crate) collection: Collection,
    /// Empty for cluster-scoped resources.
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// On whose behalf it is touched; none when the server itself does it.
    pub(crate) who: Option<Arc<Identity>>,
    /// What admission has to say about it.
    pub(crate) notes: Notes,
    /// The turn in which it is touched.
    pub(crate) turn: Turn,
}

/// What admission tells the caller and the audit log beside its verdict. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<Noted>>);

/// Warnings and annotations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    pub(crate) warnings: Vec<String>,
    pub(crate) annotations: Vec<(String, String)>,
}

/// More is not kept: an answer's headers and a line of the audit log are bounded.
const NOTES: usize = 64;

impl Notes {
    /// For the caller.
    pub(crate) fn warn(&self, text: String) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.warnings.len() < NOTES && !noted.warnings.contains(&text) {
            noted.warnings.push(text);
        }
    }

    /// For the audit log.
    pub(crate) fn annotate(&self, key: String, value: String) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.annotations.len() < NOTES && !noted.annotations.iter().any(|(known, _)| *known == key) {
            noted.annotations.push((key, value));
        }
    }

    /// What there is so far; it is told once.
    pub(super) fn take(&self) -> Noted {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Target {
    pub(crate) fn new(resource: Arc<Resource>, namespace: &str, name: &str) -> Self {
        let (group, plural) = resource.stored_as();
        let collection = Collection::new(group, plural);
        let namespace = if resource.namespaced { namespace } else { "" };
        Self {
            resource,
            collection,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            who: None,
            notes: Notes::default(),
            turn: Turn::default(),
        }
    }

    /// The same place, touched by `who`.
    pub(crate) fn asked_by(self, who: &Arc<Identity>) -> Self {
        Self { who: Some(Arc::clone(who)), ..self }
    }

    /// The same place under another name.
    pub(crate) fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    pub(crate) fn id(&self) -> ObjectId {
        ObjectId::new(&self.collection, &self.namespace, &self.name)
    }

    pub(crate) fn not_found(&self) -> Status {
        Status::not_found(&self.resource.group, &self.resource.plural, &self.name)
    }

    /// Whether it is one of the core kinds of this plural.
    pub(crate) fn is_core(&self, plural: &str) -> bool {
        self.resource.group.is_empty() && self.resource.plural == plural
    }

    pub(crate) fn is_crd(&self) -> bool {
        self.resource.plural == "customresourcedefinitions" && self.resource.group == "apiextensions.k8s.io"
    }
}

/// A request for a resource.
pub(super) struct Call {
    /// The name is empty when the request is about the collection.
    pub(super) target: Target,
    pub(super) query: Query,
    pub(super) accept: Accept,
    pub(super) headers: HeaderMap,
    pub(super) who: Arc<Identity>,
}

impl Call {
    /// For lists: the namespace, or none for all of them.
    pub(super) fn within(&self) -> Option<&str> {
        Some(self.target.namespace.as_str()).filter(|namespace| !namespace.is_empty())
    }
}
