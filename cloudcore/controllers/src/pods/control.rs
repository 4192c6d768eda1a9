//! Making and deleting pods on behalf of their owner, with the events that tell of it.
//!
//! Source: Kubernetes v1.36 `pkg/controller/controller_utils.go` (`RealPodControl`, `slowStartBatch`).

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};

use crate::cache::{Cached, Pods, is_going, uid_of};
use crate::claim::reference;
use crate::error::Error;
use crate::events::Recorder;
use crate::writes::Writes;

/// How many pods one look at an owner makes or deletes (Kubernetes: `BurstReplicas`).
pub(crate) const BURST: usize = 500;

/// An owner of pods: any namespaced kind that is cached.
pub(crate) trait Owner: Cached + Resource<Scope = NamespaceResourceScope> {}

impl<O: Cached + Resource<Scope = NamespaceResourceScope>> Owner for O {}

/// Makes and deletes pods in the name of one controller, and remembers what the caches do not show yet.
#[derive(Clone)]
pub(crate) struct PodControl {
    client: Client,
    recorder: Recorder,
    writes: Arc<Writes>,
}

/// How far a creation of several pods came.
#[derive(Debug, Default)]
pub(crate) struct Created {
    /// Pods that exist now.
    pub(crate) pods: usize,
    /// Why the others do not.
    pub(crate) error: Option<Error>,
}

/// A pod as the owner's template says, not yet named.
pub(crate) fn from_template<O: Owner>(owner: &O, template: &PodTemplateSpec) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    let mut pod = Pod { spec: template.spec.clone(), ..Pod::default() };
    pod.metadata.namespace = owner.namespace();
    pod.metadata.generate_name = Some(format!("{}-", owner.name_any()));
    pod.metadata.labels = meta.labels;
    pod.metadata.annotations = meta.annotations;
    pod.metadata.finalizers = meta.finalizers;
    pod.metadata.owner_references = Some(vec![reference(owner)]);
    pod
}

// === impl PodControl ===

impl PodControl {
    pub(crate) fn new(client: Client, recorder: Recorder) -> Self {
        Self { client, recorder, writes: Arc::default() }
    }

    /// Whether the cache shows all that was done for `owner`. If not, its next change will bring the owner back.
    pub(crate) fn is_seen<O: Owner>(&self, owner: &O, pods: &Pods) -> bool {
        self.writes.are_seen(owner, pods)
    }

    /// Somebody else wrote a pod on behalf of `owner`.
    pub(crate) fn wrote<O: Owner>(&self, owner: &O, pod: &Pod) {
        self.writes.wrote(owner, pod);
    }

    /// Makes pods in growing batches, so that an API that refuses one is not asked for hundreds.
    pub(crate) async fn create<O: Owner>(&self, owner: &O, pods: Vec<Pod>) -> Created {
        let mut created = Created::default();
        let (mut pods, mut size) = (pods.into_iter().peekable(), 1);
        while pods.peek().is_some() && created.error.is_none() {
            let batch = pods.by_ref().take(size).map(|pod| self.create_one(owner, pod));
            for result in join_all(batch.collect::<Vec<_>>()).await {
                match result {
                    Ok(()) => created.pods += 1,
                    Err(error) => created.error = Some(error),
                }
            }
            size *= 2;
        }
        created
    }

    async fn create_one<O: Owner>(&self, owner: &O, pod: Pod) -> Result<(), Error> {
        match self.make(owner, &pod).await {
            Ok(pod) => {
                self.recorder.normal(owner, "SuccessfulCreate", format!("Created pod: {}", pod.name_any()));
                Ok(())
            }
            Err(error) => {
                if !is_namespace_going(&error) {
                    self.recorder.warning(owner, "FailedCreate", format!("Error creating: {}", said(&error)));
                }
                Err(Error::api("create a pod")(error))
            }
        }
    }

    /// Makes one pod and tells nobody.
    ///
    /// # Errors
    /// What the API said.
    pub(crate) async fn make<O: Owner>(&self, owner: &O, pod: &Pod) -> Result<Pod, kube::Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &owner.namespace().unwrap_or_default());
        let pod = api.create(&PostParams::default(), pod).await?;
        self.writes.wrote(owner, &pod);
        Ok(pod)
    }

    /// Deletes pods; those that are gone already count as deleted.
    ///
    /// # Errors
    /// The first refusal; the others were tried all the same.
    pub(crate) async fn delete<O: Owner>(&self, owner: &O, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let results = join_all(pods.iter().map(|pod| self.delete_one(owner, pod))).await;
        results.into_iter().collect()
    }

    async fn delete_one<O: Owner>(&self, owner: &O, pod: &Pod) -> Result<(), Error> {
        match self.remove(owner, pod).await {
            Ok(true) => {
                self.recorder.normal(owner, "SuccessfulDelete", format!("Deleted pod: {}", pod.name_any()));
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => {
                self.recorder.warning(owner, "FailedDelete", format!("Error deleting: {}", said(&error)));
                Err(Error::api("delete a pod")(error))
            }
        }
    }

    /// Deletes one pod and tells nobody; whether it was still there.
    ///
    /// # Errors
    /// What the API said.
    pub(crate) async fn remove<O: Owner>(&self, owner: &O, pod: &Pod) -> Result<bool, kube::Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &owner.namespace().unwrap_or_default());
        match api.delete(&pod.name_any(), &this_one(pod)).await {
            Ok(deleted) => {
                match deleted.left().filter(is_going) {
                    Some(going) => self.writes.wrote(owner, &going),
                    None => self.writes.deleted(owner, pod),
                }
                Ok(true)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Deletes this object and not a namesake after it.
pub(crate) fn this_one<K: Resource>(object: &K) -> DeleteParams {
    let preconditions = Preconditions { uid: Some(uid_of(object)), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

/// What the API said, without what the client wraps around it.
pub(crate) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Whether nothing can be made any more because the namespace is about to go.
pub(crate) fn is_namespace_going(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403 && status.message.contains("is being terminated"))
}
