//! Telling pod templates apart, and naming them.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

use super::view::Set;
use crate::hash;

/// The label that tells the pods of a deployment's templates apart.
pub(super) const HASH: &str = "pod-template-hash";

/// The short name of a template; `collisions` makes another one when the name is taken.
pub(super) fn hash_of(template: &PodTemplateSpec, collisions: i32) -> String {
    hash::short(&serde_json::to_value(template).unwrap_or(Value::Null), collisions)
}

/// The oldest of `sets` that is made from `template`.
pub(super) fn find(sets: &[Set], template: &PodTemplateSpec) -> Option<Set> {
    let mine = without_hash(template);
    let same = |set: &&Set| {
        let theirs = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
        theirs.is_some_and(|theirs| without_hash(theirs) == mine)
    };
    sets.iter().filter(same).min_by_key(|set| age(set)).cloned()
}

/// Sorts the oldest first.
pub(super) fn age(set: &Set) -> (Option<jiff::Timestamp>, Option<String>) {
    (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.metadata.name.clone())
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let meta = template.metadata.get_or_insert_default();
    if let Some(labels) = &mut meta.labels {
        labels.remove(HASH);
    }
    meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
    meta.annotations = meta.annotations.take().filter(|annotations| !annotations.is_empty());
    // The API may fill in a time of null.
    meta.creation_timestamp = None;
    template
}
