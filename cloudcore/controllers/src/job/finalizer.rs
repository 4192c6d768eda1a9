//! Setting pods free: those that are counted, and those whose job is gone.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tasks::TaskSet;

use super::view::{TRACKING, View, is_tracked};
use crate::cache::uid_of;
use crate::claim::controller_of;
use crate::context::{Caches, Context};
use crate::error::Error;
use crate::run::run;

/// Takes the finalizer from a pod; what the API has then, or nothing if the pod is gone.
pub(super) async fn release(client: &Client, pod: &Pod) -> Result<Option<Pod>, Error> {
    let patch = json!({"metadata": {"uid": uid_of(pod), "$deleteFromPrimitiveList/finalizers": [TRACKING]}});
    let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    match api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(pod) => Ok(Some(pod)),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
        Err(error) => Err(Error::api("set a pod free")(error)),
    }
}

/// Looks after the pods that no job will count any more, or they could never go.
pub(super) fn start(context: &Context, tasks: &TaskSet) {
    let builder = context.clone();
    let controller = move || {
        let caches = Arc::clone(&builder.caches);
        let (tracked, changes) = caches.pods.picked(|pod| pod.has_finalizers, is_tracked);
        Controller::for_shared_stream(changes, tracked)
            .watches_shared_stream(builder.caches.jobs.changes(), move |job| left_behind(&caches, &job))
    };
    let context = context.clone();
    run("job pods", tasks, controller, move |pod| look(context.clone(), pod));
}

/// The tracked pods of a job that is over or gone.
fn left_behind(caches: &Caches, job: &Job) -> Vec<ObjectRef<Pod>> {
    let namespace = job.namespace().unwrap_or_default();
    if counts(caches, &namespace, &job.name_any(), &uid_of(job)) {
        return Vec::new();
    }
    let pods = caches.pods.controlled_by(job);
    pods.iter().filter(|pod| is_tracked(pod)).map(|pod| ObjectRef::from_obj(&**pod)).collect()
}

/// Whether a job is there and not over, so that it will count its pods.
fn counts(caches: &Caches, namespace: &str, name: &str, uid: &str) -> bool {
    let job = caches.jobs.get(namespace, name).filter(|job| uid_of(&**job) == uid);
    job.is_some_and(|job| View::of(&job, &JobStatus::default()).is_some_and(|job| !job.is_finished()))
}

async fn look(context: Context, pod: Arc<Pod>) -> Result<Action, Error> {
    context.caches.jobs.ready().await;
    let namespace = pod.namespace().unwrap_or_default();
    let owner = controller_of(&*pod);
    let is_counted = match owner {
        Some(owner) if owner.kind != "Job" => true,
        Some(owner) => counts(&context.caches, &namespace, &owner.name, &owner.uid),
        None => false,
    };
    if !is_tracked(&pod) || is_counted {
        return Ok(Action::await_change());
    }
    // The cache may not have seen a job that is younger than itself.
    if let Some(owner) = owner {
        let jobs = Api::<Job>::namespaced(context.client.clone(), &namespace);
        let job = jobs.get_opt(&owner.name).await.map_err(Error::api("look whether a job is there"))?;
        let status = JobStatus::default();
        let there =
            job.as_ref().filter(|job| uid_of(*job) == owner.uid).and_then(|job| View::of(job, &status));
        if there.is_some_and(|job| !job.is_finished()) {
            return Ok(Action::await_change());
        }
    }
    release(&context.client, &pod).await?;
    Ok(Action::await_change())
}
