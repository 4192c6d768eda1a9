//! Objects and their names.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{Document, WriteError};
use crate::selector::Index;
use crate::status::qualified;

/// All objects of one resource, written as Kubernetes does: `pods`, `deployments.apps`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Collection(Arc<str>);

impl Collection {
    /// The collection of a resource; the group of core resources is empty.
    pub fn new(group: &str, plural: &str) -> Self {
        Self(qualified(plural, group).into())
    }

    pub(super) fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// `deployments.apps`
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where in its collection an object is. The namespace of cluster-scoped objects is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace, or empty.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
}

impl Key {
    /// A key.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// One object of all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectId {
    /// Which collection.
    pub collection: Collection,
    /// Where in it.
    pub key: Key,
}

impl ObjectId {
    /// An id.
    pub fn new(collection: &Collection, namespace: &str, name: &str) -> Self {
        Self { collection: collection.clone(), key: Key::new(namespace, name) }
    }
}

/// One version of an object, as it goes over the wire.
#[derive(Debug)]
pub struct Object {
    /// Its `metadata.resourceVersion`.
    pub revision: u64,
    /// When it was written, in seconds since 1970.
    pub written: i64,
    /// The document.
    pub document: Document,
    /// What selectors can ask for.
    pub index: Index,
}

impl Object {
    /// Stamps `value` with `revision` and makes it a version of an object.
    pub(super) fn stamp(
        collection: &Collection,
        revision: u64,
        written: i64,
        mut value: Value,
    ) -> Result<Self, WriteError> {
        let metadata =
            value.get_mut("metadata").and_then(Value::as_object_mut).ok_or(WriteError::Malformed)?;
        metadata.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
        let json = serde_json::to_vec(&value).map_err(|_| WriteError::Malformed)?;
        let index = Index::of(collection.as_str(), &value);
        Ok(Self { revision, written, document: Document::new(&json), index })
    }

    /// Reads back what [`Object::stamp`] made.
    pub(super) fn load(
        collection: &Collection,
        revision: u64,
        written: i64,
        json: Vec<u8>,
    ) -> Result<Self, serde_json::Error> {
        let index = Index::read(collection.as_str(), &json)?;
        Ok(Self { revision, written, document: Document::new(&json), index })
    }

    /// The document as it goes over the wire.
    pub fn json(&self) -> Bytes {
        self.document.text()
    }

    /// The parsed document.
    pub fn value(&self) -> Value {
        // Invariant: the document was serialised from a `Value` or parsed on load; null keeps this total.
        serde_json::from_slice(&self.json()).unwrap_or_default()
    }
}
