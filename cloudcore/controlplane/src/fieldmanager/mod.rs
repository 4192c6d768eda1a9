//! Who owns which field of an object: server-side apply, and `metadata.managedFields` of every write.
//!
//! Pure: states and a [`Claim`] in, the new state out; the time is handed in. Follows `sigs.k8s.io/structured-merge-diff` (merge,
//! typed, fieldpath) and `k8s.io/apimachinery/pkg/util/managedfields`. Calls `schema` for the shape of objects and `status` for its
//! answers; the API server calls it in every write.
//!
//! - [`update`]: what a create, update or patch changed becomes the writer's.
//! - [`apply`]: lays a configuration over an object, takes away what the applier no longer wants, and refuses what others own.

mod apply;
mod compare;
mod conflict;
mod element;
mod items;
mod last_applied;
mod managed;
mod merge;
mod set;
mod typed;
mod update;

pub use apply::{ApplyError, apply};
pub use compare::{Comparison, compare};
pub use element::Element;
pub use set::Set;
pub use typed::{fields_of, problems};
pub use update::update;

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::schema::{Kind, Shape};

/// Deeper than this everything is owned whole: `fieldsV1` of a deep object must still be readable.
const DEEPEST: usize = 64;

/// Who writes, and as what.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The shape of the objects.
    pub shape: Shape<'a>,
    /// Name of the manager, as sent or from the user agent; may be empty.
    pub manager: &'a str,
    /// Version in which it writes, `apps/v1`.
    pub api_version: &'a str,
    /// Through which subresource, or empty.
    pub subresource: &'a str,
    /// Fields that this way of writing does not reach, with all below them.
    pub ignored: &'a Set,
    /// Now, as Kubernetes writes times.
    pub now: &'a str,
}

/// Kind of a value at a depth.
fn kind_at(shape: Shape<'_>, value: &Value, depth: usize) -> Kind {
    if depth >= DEEPEST { Kind::Leaf } else { shape.kind(value) }
}

/// Fields that nobody owns: they are the server's, or say which object it is.
static UNOWNED: LazyLock<Set> = LazyLock::new(|| {
    const METADATA: &[&str] = &[
        "creationTimestamp",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    ];
    let metadata = METADATA.iter().map(|name| Set::of_names(&["metadata", name]));
    let roots = ["apiVersion", "kind", "metadata"].iter().map(|name| Set::of_names(&[name]));
    metadata.chain(roots).fold(Set::default(), |all, one| all.union(&one))
});

/// The entries of an object, as written.
fn written(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

/// Puts entries into an object, or takes the old ones out.
fn write(object: &mut Value, entries: Option<Value>) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    match entries {
        Some(entries) => drop(metadata.insert("managedFields".to_owned(), entries)),
        None => drop(metadata.shift_remove("managedFields")),
    }
}

/// Whether two maps differ at most in the value of `key`.
fn same_but(old: &Map<String, Value>, new: &Map<String, Value>, key: &str) -> bool {
    old.len() == new.len()
        && old.iter().all(|(name, value)| {
            let other = new.get(name);
            other == Some(value) || name == key && other.is_some()
        })
}

/// Whether a write changes nothing but the times of entries; then the object stays as it is.
pub fn is_same(old: &Value, new: &Value) -> bool {
    let (Some(before), Some(after)) = (old.as_object(), new.as_object()) else { return old == new };
    let metadata = (before.get("metadata").and_then(Value::as_object), after.get("metadata"));
    let (Some(was), Some(Value::Object(is))) = metadata else { return old == new };
    same_but(before, after, "metadata")
        && same_but(was, is, "managedFields")
        && managed::same_but_times(was.get("managedFields"), is.get("managedFields"))
}

#[cfg(test)]
mod tests;
