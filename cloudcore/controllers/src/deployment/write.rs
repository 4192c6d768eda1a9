//! What is written for a Deployment: ReplicaSets made, resized, numbered and deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::Shell;
use super::revision;
use super::rolling::new_size;
use super::status::News;
use super::template::{self, HASH};
use super::view::{Set, View, size};
use crate::claim::{is_controlled_by, reference};
use crate::error::Error;
use crate::pods::control::{is_namespace_going, said, this_one};

impl Shell {
    fn api(&self, view: &View<'_>) -> Api<ReplicaSet> {
        let namespace = view.deployment.namespace().unwrap_or_default();
        Api::namespaced(self.context.client.clone(), &namespace)
    }

    /// Makes the set for the newest template. If the name is taken, the news says by whom.
    pub(super) async fn create(
        &self,
        view: &View<'_>,
        old: &[Set],
    ) -> Result<(Option<Set>, Option<News>), Error> {
        let made = new_set(view, old);
        let api = self.api(view);
        match api.create(&PostParams::default(), &made).await {
            Ok(set) => {
                self.sets.wrote(view.deployment, &set);
                if size(&set) > 0 {
                    self.tell_size(view, &set, 0, size(&set));
                }
                let news = News::Created(set.name_any());
                Ok((Some(Arc::new(set)), Some(news)))
            }
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                let name = made.name_any();
                let there =
                    api.get_opt(&name).await.map_err(Error::api("read the replica set of that name"))?;
                let same =
                    |set: &Set| template::find(std::slice::from_ref(set), &view.spec.template).is_some();
                match there.map(Arc::new) {
                    Some(set) if is_controlled_by(&*set, view.deployment) && same(&set) => {
                        Ok((Some(set), None))
                    }
                    Some(_) => Ok((None, Some(News::Collided))),
                    None => Ok((None, None)),
                }
            }
            Err(error) if is_namespace_going(&error) => Ok((None, None)),
            Err(error) => {
                let message =
                    format!("Failed to create new replica set {:?}: {}", made.name_any(), said(&error));
                self.recorder.warning(view.deployment, "ReplicaSetCreateError", message.clone());
                Ok((None, Some(News::Failed(message))))
            }
        }
    }

    /// Gives a set its size, and the annotations that say for how many it was sized.
    pub(super) async fn resize(&self, view: &View<'_>, set: &Set, to: i32) -> Result<Set, Error> {
        let from = size(set);
        let annotations = revision::sizes(view);
        let same = annotations.iter().all(|(key, value)| set.annotations().get(key) == Some(value));
        if from == to && same {
            return Ok(Set::clone(set));
        }
        let change = json!({"metadata": {"annotations": annotations}, "spec": {"replicas": to}});
        let resized = self.change(view, set, change).await?;
        if from != to {
            self.tell_size(view, set, from, to);
        }
        Ok(resized)
    }

    /// Gives the newest set its number, its deployment's annotations and its patience.
    pub(super) async fn number(&self, view: &View<'_>, set: &Set, old: &[Set]) -> Result<Set, Error> {
        let before = set.annotations();
        let after = revision::annotations(view, before, revision::next(old));
        let patience = view.spec.min_ready_seconds.unwrap_or(0);
        let theirs = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        if *before == after && patience == theirs {
            return Ok(Set::clone(set));
        }
        let change = json!({"metadata": {"annotations": after}, "spec": {"minReadySeconds": patience}});
        self.change(view, set, change).await
    }

    async fn change(&self, view: &View<'_>, set: &Set, mut change: Value) -> Result<Set, Error> {
        // Over the state that was seen only, or a decision from old numbers would be carried out.
        change["metadata"]["uid"] = json!(set.metadata.uid);
        change["metadata"]["resourceVersion"] = json!(set.metadata.resource_version);
        let changed =
            self.api(view).patch(&set.name_any(), &PatchParams::default(), &Patch::Merge(change)).await;
        let changed = changed.map_err(Error::api("change a replica set"))?;
        self.sets.wrote(view.deployment, &changed);
        Ok(Arc::new(changed))
    }

    pub(super) async fn delete(&self, view: &View<'_>, set: &Set) -> Result<(), Error> {
        match self.api(view).delete(&set.name_any(), &this_one(&**set)).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            result => result.map(|_| ()).map_err(Error::api("delete an old replica set")),
        }
    }

    /// Writes the number of the newest template on the deployment, where `kubectl rollout` looks for it.
    pub(super) async fn show_revision(&self, view: &View<'_>, new: &Set) -> Result<(), Error> {
        let number = new.annotations().get(revision::REVISION);
        if number.is_none() || view.deployment.annotations().get(revision::REVISION) == number {
            return Ok(());
        }
        let change = json!({"metadata": {
            "uid": view.deployment.metadata.uid,
            "annotations": {revision::REVISION: number},
        }});
        let namespace = view.deployment.namespace().unwrap_or_default();
        let api = Api::<Deployment>::namespaced(self.context.client.clone(), &namespace);
        let name = view.deployment.name_any();
        let changed = api.patch(&name, &PatchParams::default(), &Patch::Merge(change)).await;
        self.deployments.wrote(view.deployment, &changed.map_err(Error::api("number a deployment"))?);
        Ok(())
    }

    fn tell_size(&self, view: &View<'_>, set: &ReplicaSet, from: i32, to: i32) {
        let way = if to > from { "up" } else { "down" };
        let message = format!("Scaled {way} replica set {} from {from} to {to}", set.name_any());
        self.recorder.normal(view.deployment, "ScalingReplicaSet", message);
    }
}

/// The set for a template that has none yet.
fn new_set(view: &View<'_>, old: &[Set]) -> ReplicaSet {
    let collisions = view.deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    let hash = template::hash_of(&view.spec.template, collisions);
    let label = |labels: Option<BTreeMap<String, String>>| {
        let mut labels = labels.unwrap_or_default();
        labels.insert(HASH.to_owned(), hash.clone());
        Some(labels)
    };
    let mut template = view.spec.template.clone();
    let meta = template.metadata.get_or_insert_default();
    meta.labels = label(meta.labels.take());
    let labels = meta.labels.clone();
    let mut selector = view.spec.selector.clone();
    selector.match_labels = label(selector.match_labels.take());
    let mut annotations = revision::annotations(view, &BTreeMap::new(), revision::next(old));
    annotations.extend(revision::sizes(view));
    let others = old.iter().map(|set| size(set)).sum();
    let mut set = ReplicaSet::default();
    set.metadata.name = Some(format!("{}-{hash}", view.deployment.name_any()));
    set.metadata.namespace = view.deployment.namespace();
    set.metadata.labels = labels;
    set.metadata.annotations = Some(annotations);
    set.metadata.owner_references = Some(vec![reference(view.deployment)]);
    set.spec = Some(ReplicaSetSpec {
        replicas: Some(new_size(view, 0, others)),
        min_ready_seconds: view.spec.min_ready_seconds,
        selector,
        template: Some(template),
    });
    set
}
