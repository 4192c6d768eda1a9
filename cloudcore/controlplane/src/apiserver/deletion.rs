//! How an object goes: at once or later, and what keeps it until then.
//!
//! Pure: `objects` writes what is decided here. Source: Kubernetes v1.36 `apiserver/pkg/registry/generic/registry/store.go` and
//! `apiserver/pkg/registry/rest/delete.go`.

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::show::Shown;
use super::{Target, metadata};
use crate::registry::Dependents;
use crate::status::Status;

/// Keeps a CRD until its objects are gone.
pub(crate) const CRD_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// Keeps an owner until what it owns has forgotten it.
const ORPHAN: &str = "orphan";
/// Keeps an owner until what it owns is gone.
const FOREGROUND: &str = "foregroundDeletion";

/// What a request wants to become of what the object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// It goes after its owner.
    Background,
    /// It goes before its owner.
    Foreground,
    /// It stays.
    Orphan,
}

/// How to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deletion {
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) dry_run: bool,
    /// What the request's options say, for those who are asked about it.
    pub(crate) options: Value,
    /// Whether those were asked already who decide about it.
    pub(crate) is_settled: bool,
}

/// What became of a deleted object.
#[derive(Clone, Debug)]
pub(crate) enum Removed {
    /// It is still there and will go later.
    Terminating(Shown),
    /// It is gone; this was its last state.
    Gone(Value),
}

/// What to write.
pub(super) enum Step {
    /// It is on its way already.
    Nothing,
    /// It stays in this state until its agent or its finalizers let it go.
    Mark(Value),
    Remove,
}

impl Propagation {
    /// What `DeleteOptions` call it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "Background" => Some(Self::Background),
            "Foreground" => Some(Self::Foreground),
            "Orphan" => Some(Self::Orphan),
            _ => None,
        }
    }
}

/// Refuses when the object is not the one that the request is about.
pub(super) fn preconditions(target: &Target, how: &Deletion, object: &Value) -> Result<(), Status> {
    let refuse = |what: &str, asked: &str, found: &str, then: &str| {
        let why = format!(
            "the {what} in the precondition ({asked}) does not match the {what} in record ({found}). The object might have been {then}"
        );
        Err(Status::conflict(&target.resource.group, &target.resource.kind, &target.name, &why))
    };
    let (uid, version) = (metadata::text(object, "uid"), metadata::text(object, "resourceVersion"));
    match (&how.uid, &how.resource_version) {
        (Some(asked), _) if asked != uid => refuse("UID", asked, uid, "deleted and then recreated"),
        (_, Some(asked)) if asked != version => refuse("ResourceVersion", asked, version, "modified"),
        _ => Ok(()),
    }
}

/// What follows from a request to delete `old`.
pub(super) fn next_step(target: &Target, how: &Deletion, old: &Value) -> Result<Step, Status> {
    let marked = metadata::is_terminating(old);
    let before = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    let grace = match target.is_core("pods") {
        // Its agent has let it go, or it never had one.
        true if marked && before == 0 => 0,
        true => grace_of(old, how.grace_seconds),
        false => 0,
    };
    // While its agent stops it, a request can do nothing but shorten the time that is left.
    if marked && before > 0 && (how.grace_seconds.is_none() || grace >= before) {
        return Ok(Step::Nothing);
    }
    let mut finalizers = collectors(target.resource.dependents(), how.propagation, metadata::finalizers(old));
    if target.is_crd() && !finalizers.iter().any(|one| one == CRD_FINALIZER) {
        finalizers.push(json!(CRD_FINALIZER));
    }
    if grace == 0 && finalizers.is_empty() && !target.is_core("namespaces") {
        return Ok(Step::Remove);
    }
    if marked && grace == before && finalizers == metadata::finalizers(old) {
        return Ok(Step::Nothing);
    }
    let mut new = old.clone();
    let began = if marked {
        metadata::text(old, "deletionTimestamp").parse::<Timestamp>().map(|ends| ends - before.seconds())
    } else {
        Ok(Timestamp::now())
    };
    let ends = began.unwrap_or_else(|_| Timestamp::now()) + grace.seconds();
    let metadata = metadata::of(&mut new)?;
    metadata.insert("deletionTimestamp".to_owned(), json!(metadata::stamp(ends)));
    metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|_| !marked) {
        metadata.insert("generation".to_owned(), json!(generation + 1));
    }
    if finalizers.is_empty() {
        metadata.shift_remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), Value::Array(finalizers));
    }
    if target.is_core("namespaces") {
        new["status"]["phase"] = json!("Terminating");
    }
    Ok(Step::Mark(new))
}

/// The finalizers with those of the garbage collector as the request wants them; where it does not say, as they are; where they are not
/// there either, as the kind has it.
fn collectors(usual: Dependents, asked: Option<Propagation>, finalizers: &[Value]) -> Vec<Value> {
    let has = |name: &str| finalizers.iter().any(|one| one == name);
    let (orphan, foreground) = match (usual, asked) {
        (Dependents::None, _) | (_, Some(Propagation::Background)) => (false, false),
        (_, Some(Propagation::Foreground)) => (false, true),
        (_, Some(Propagation::Orphan)) => (true, false),
        (_, None) if has(ORPHAN) || has(FOREGROUND) => (has(ORPHAN), has(FOREGROUND) && !has(ORPHAN)),
        (usual, None) => (usual == Dependents::Orphan, false),
    };
    let mut kept: Vec<Value> =
        finalizers.iter().filter(|one| *one != ORPHAN && *one != FOREGROUND).cloned().collect();
    kept.extend(orphan.then(|| json!(ORPHAN)));
    kept.extend(foreground.then(|| json!(FOREGROUND)));
    kept
}

/// How long a pod may take to stop. Longer than a year is a year.
fn grace_of(pod: &Value, asked: Option<i64>) -> i64 {
    let unscheduled = pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let finished = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if unscheduled || finished {
        return 0;
    }
    let grace = asked.or(pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30);
    if grace < 0 { 1 } else { grace.min(365 * 24 * 3600) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_gets_the_time_that_its_state_and_the_request_allow() {
        let pod = |node: &str, phase: &str| json!({"spec": {"nodeName": node, "terminationGracePeriodSeconds": 20}, "status": {"phase": phase}});
        assert_eq!(grace_of(&pod("n", "Running"), None), 20);
        assert_eq!(grace_of(&pod("n", "Running"), Some(5)), 5);
        assert_eq!(grace_of(&pod("n", "Running"), Some(-7)), 1);
        assert_eq!(grace_of(&pod("", "Pending"), None), 0);
        assert_eq!(grace_of(&pod("n", "Failed"), Some(5)), 0);
    }

    #[test]
    fn what_becomes_of_dependents_is_asked_for_or_kept_or_usual() {
        let says = |usual, asked, finalizers: &[&str]| {
            let finalizers: Vec<Value> = finalizers.iter().map(|one| json!(one)).collect();
            json!(collectors(usual, asked, &finalizers))
        };
        let (delete, orphan) = (Dependents::Delete, Dependents::Orphan);
        assert_eq!(says(delete, None, &["x.io/f"]), json!(["x.io/f"]));
        assert_eq!(says(orphan, None, &[]), json!(["orphan"]));
        assert_eq!(says(orphan, None, &["foregroundDeletion"]), json!(["foregroundDeletion"]));
        assert_eq!(says(orphan, Some(Propagation::Background), &["orphan"]), json!([]));
        assert_eq!(
            says(delete, Some(Propagation::Foreground), &["orphan", "x.io/f"]),
            json!(["x.io/f", "foregroundDeletion"])
        );
        assert_eq!(says(delete, None, &["foregroundDeletion", "orphan"]), json!(["orphan"]));
        assert_eq!(says(Dependents::None, Some(Propagation::Orphan), &[]), json!([]));
    }
}
