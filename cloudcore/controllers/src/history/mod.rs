//! ControllerRevisions: the pod templates that a DaemonSet or StatefulSet has had, so that `kubectl rollout` can go back.
//!
//! Owns: the revisions of one owner, their numbers and how many are kept. A template is found again by equality, so going back
//! gives the old revision the highest number. May call: the API. Called by: `daemonset`, `statefulset`. Source: Kubernetes v1.36
//! `pkg/controller/history`, `pkg/controller/daemon/update.go` (`constructHistory`).

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::claim::reference;
use crate::error::Error;
use crate::hash;
use crate::pods::control::{Owner, this_one};

/// The label by which pods tell their revision.
pub(crate) const POD_LABEL: &str = "controller-revision-hash";

/// What a set is to its revisions.
pub(crate) struct Subject<'s, O> {
    pub(crate) owner: &'s O,
    pub(crate) template: &'s PodTemplateSpec,
    /// The label by which a revision tells its hash: the two kinds have different ones.
    pub(crate) hash_label: &'static str,
    /// `status.collisionCount`.
    pub(crate) collisions: i32,
}

/// The revision of the template that a set has now.
pub(crate) struct Newest {
    pub(crate) revision: Arc<ControllerRevision>,
    /// `status.collisionCount` from now on.
    pub(crate) collisions: i32,
}

/// What makes the newest revision the one with the highest number.
#[derive(Debug, PartialEq)]
enum Step {
    Keep(Arc<ControllerRevision>),
    Renumber(Arc<ControllerRevision>, i64),
    Create(i64),
}

/// What a revision keeps: a patch that puts the template back.
fn data(template: &PodTemplateSpec) -> Result<Value, Error> {
    let mut template =
        serde_json::to_value(template).map_err(|error| Error::Object(format!("spec.template: {error}")))?;
    if let Some(map) = template.as_object_mut() {
        map.insert("$patch".to_owned(), "replace".into());
    }
    Ok(hash::canonical(&json!({"spec": {"template": template}})))
}

/// The template that a revision keeps.
pub(crate) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.shift_remove("$patch");
    serde_json::from_value(template).ok()
}

fn step(revisions: &[Arc<ControllerRevision>], data: &Value) -> Step {
    let highest = revisions.iter().map(|revision| revision.revision).max().unwrap_or(0);
    let equal =
        revisions.iter().filter(|revision| revision.data.as_ref().is_some_and(|kept| kept.0 == *data));
    match equal.max_by_key(|revision| revision.revision) {
        None => Step::Create(highest + 1),
        Some(revision) if revision.revision == highest => Step::Keep(Arc::clone(revision)),
        Some(revision) => Step::Renumber(Arc::clone(revision), highest + 1),
    }
}

/// Finds, renumbers or makes the revision of the set's template among `revisions`, which are the set's own.
///
/// # Errors
/// If the API refuses.
pub(crate) async fn newest<O: Owner>(
    client: &Client,
    subject: &Subject<'_, O>,
    revisions: &[Arc<ControllerRevision>],
) -> Result<Newest, Error> {
    let namespace = subject.owner.namespace().unwrap_or_default();
    let api = Api::<ControllerRevision>::namespaced(client.clone(), &namespace);
    let data = data(subject.template)?;
    let collisions = subject.collisions;
    match step(revisions, &data) {
        Step::Keep(revision) => Ok(Newest { revision, collisions }),
        Step::Renumber(revision, number) => {
            let patch = json!({"metadata": {"uid": revision.uid()}, "revision": number});
            let patched =
                api.patch(&revision.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
            let revision = Arc::new(patched.map_err(Error::api("renumber a revision"))?);
            Ok(Newest { revision, collisions })
        }
        Step::Create(number) => create(&api, subject, data, number).await,
    }
}

async fn create<O: Owner>(
    api: &Api<ControllerRevision>,
    subject: &Subject<'_, O>,
    data: Value,
    number: i64,
) -> Result<Newest, Error> {
    let mut collisions = subject.collisions;
    loop {
        let hash = hash::short(&data, collisions);
        let revision = made(subject, &data, &hash, number);
        let name = revision.name_any();
        match api.create(&PostParams::default(), &revision).await {
            Ok(revision) => return Ok(Newest { revision: Arc::new(revision), collisions }),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(Error::api("create a revision")(error)),
        }
        // Made before a crash, or another template with the same hash, or another set's.
        let taken = api.get_opt(&name).await.map_err(Error::api("look at a revision"))?;
        let mine = |one: &ControllerRevision| {
            crate::claim::is_controlled_by(one, subject.owner)
                && one.data.as_ref().is_some_and(|kept| kept.0 == data)
        };
        match taken {
            Some(revision) if mine(&revision) => {
                return Ok(Newest { revision: Arc::new(revision), collisions });
            }
            Some(_) => collisions = collisions.saturating_add(1),
            None => {}
        }
    }
}

fn made<O: Owner>(subject: &Subject<'_, O>, data: &Value, hash: &str, number: i64) -> ControllerRevision {
    let mut revision = ControllerRevision { revision: number, ..ControllerRevision::default() };
    revision.data = Some(RawExtension(data.clone()));
    let labels = subject.template.metadata.as_ref().and_then(|meta| meta.labels.clone());
    revision.metadata.labels = labels;
    revision.labels_mut().insert(subject.hash_label.to_owned(), hash.to_owned());
    revision.metadata.annotations = Some(subject.owner.annotations().clone());
    revision.metadata.name = Some(format!("{}-{hash}", subject.owner.name_any()));
    revision.metadata.namespace = subject.owner.namespace();
    revision.metadata.owner_references = Some(vec![reference(subject.owner)]);
    revision
}

/// The oldest revisions beyond `limit`, not counting those whose names are `live`.
fn surplus(
    revisions: &[Arc<ControllerRevision>],
    live: &HashSet<String>,
    limit: Option<i32>,
) -> Vec<Arc<ControllerRevision>> {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
    let mut old: Vec<_> = revisions.iter().filter(|one| !live.contains(&one.name_any())).cloned().collect();
    old.sort_by_key(|revision| (revision.revision, revision.name_any()));
    old.truncate(old.len().saturating_sub(limit));
    old
}

/// Deletes the oldest revisions beyond `limit`, but none that is `live` by its name.
///
/// # Errors
/// If the API refuses.
pub(crate) async fn prune(
    client: &Client,
    revisions: &[Arc<ControllerRevision>],
    live: &HashSet<String>,
    limit: Option<i32>,
) -> Result<(), Error> {
    let deleted = surplus(revisions, live, limit).into_iter().map(|revision| {
        let namespace = revision.namespace().unwrap_or_default();
        let api = Api::<ControllerRevision>::namespaced(client.clone(), &namespace);
        async move {
            match api.delete(&revision.name_any(), &this_one(&*revision)).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
                result => result.map(drop).map_err(Error::api("delete a revision")),
            }
        }
    });
    try_join_all(deleted).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(name: &str, number: i64, image: &str) -> Arc<ControllerRevision> {
        let mut revision = ControllerRevision { revision: number, ..ControllerRevision::default() };
        revision.metadata.name = Some(name.to_owned());
        revision.data = Some(RawExtension(data(&template_of(image)).unwrap()));
        Arc::new(revision)
    }

    fn template_of(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "image": image}]}})).unwrap()
    }

    #[test]
    fn a_template_is_found_again_and_goes_to_the_top() {
        let known = [revision("a", 1, "x"), revision("b", 2, "y")];
        let step = |image: &str| step(&known, &data(&template_of(image)).unwrap());
        assert_eq!(step("y"), Step::Keep(Arc::clone(&known[1])));
        assert_eq!(step("x"), Step::Renumber(Arc::clone(&known[0]), 3));
        assert_eq!(step("z"), Step::Create(3));
        assert_eq!(super::step(&[], &json!({})), Step::Create(1));
        assert_eq!(template(&known[0]), Some(template_of("x")));
    }

    #[test]
    fn the_oldest_go_first_and_what_is_in_use_stays() {
        let known: Vec<_> = (1..=5).map(|number| revision(&format!("r{number}"), number, "x")).collect();
        let names = |limit, live: &[&str]| {
            let live = live.iter().map(|name| (*name).to_owned()).collect();
            surplus(&known, &live, Some(limit)).iter().map(|one| one.name_any()).collect::<Vec<_>>()
        };
        assert_eq!(names(2, &["r1", "r5"]), ["r2"]);
        assert_eq!(names(0, &["r5"]), ["r1", "r2", "r3", "r4"]);
        assert_eq!(names(10, &[]), Vec::<String>::new());
    }
}
