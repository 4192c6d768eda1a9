//! Deployments: a ReplicaSet for each template, and the way from one to the next.
//!
//! Owns: the ReplicaSets of Deployments, their revisions, and the Deployments' status. What to do is decided in `rolling`,
//! `scale`, `revision` and `status`, which are pure; `sync` carries it out, one step a look, so that it may end anywhere. May call:
//! the API, caches, `claim`. Called by: the crate's `start`. Source: Kubernetes v1.36 `pkg/controller/deployment`.

mod condition;
mod revision;
mod rolling;
mod scale;
mod status;
mod sync;
mod template;
mod view;
mod write;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use tasks::TaskSet;

use self::view::View;
use crate::cache::is_going;
use crate::claim::controller_of;
use crate::context::{Caches, Context};
use crate::error::Error;
use crate::events::Recorder;
use crate::run::run;
use crate::writes::{Writes, newest};

#[derive(Clone)]
struct Shell {
    context: Context,
    recorder: Recorder,
    sets: Arc<Writes>,
    deployments: Arc<Writes>,
}

/// Looks after all Deployments, on `tasks`.
pub(crate) fn start(context: &Context, tasks: &TaskSet) {
    let recorder = context.recorder("deployment-controller");
    let shell =
        Shell { context: context.clone(), recorder, sets: Arc::default(), deployments: Arc::default() };
    let caches = Arc::clone(&context.caches);
    let controller = move || {
        let (of_pods, of_sets) = (Arc::clone(&caches), Arc::clone(&caches));
        Controller::for_shared_stream(caches.deployments.changes(), caches.deployments.store())
            .owns_shared_stream(caches.replica_sets.changes())
            .watches_shared_stream(caches.replica_sets.changes(), move |set| suitors(&of_sets, &set))
            .watches_shared_stream(caches.pods.changes_of_owned::<ReplicaSet>(), move |pod| {
                waits_for(&of_pods, &pod)
            })
    };
    run("deployments", tasks, controller, move |deployment| reconcile(shell.clone(), deployment));
}

/// The deployments that may adopt a set without a controller.
fn suitors(caches: &Caches, set: &ReplicaSet) -> Vec<ObjectRef<Deployment>> {
    if controller_of(set).is_some() || is_going(set) {
        return Vec::new();
    }
    let fits = |deployment: &Deployment| {
        let selector = deployment.spec.as_ref().map(|spec| Selector::try_from(spec.selector.clone()));
        selector.is_some_and(|selector| selector.is_ok_and(|selector| selector.matches(set.labels())))
    };
    let deployments = caches.deployments.within(&set.namespace().unwrap_or_default(), fits);
    deployments.iter().map(|deployment| ObjectRef::from_obj(&**deployment)).collect()
}

/// The deployment that does not begin with new pods before this old one has ended.
fn waits_for(caches: &Caches, pod: &Pod) -> Option<ObjectRef<Deployment>> {
    let namespace = pod.namespace()?;
    let set = caches.replica_sets.get(&namespace, &controller_of(pod)?.name)?;
    let deployment = caches.deployments.get(&namespace, &controller_of::<ReplicaSet>(&set)?.name)?;
    View::of(&deployment).is_some_and(|view| view.recreates()).then(|| ObjectRef::from_obj(&*deployment))
}

async fn reconcile(shell: Shell, deployment: Arc<Deployment>) -> Result<Action, Error> {
    let caches = &shell.context.caches;
    caches.replica_sets.ready().await;
    caches.pods.ready().await;
    let all_seen = shell.sets.are_seen(&*deployment, &caches.replica_sets)
        && shell.deployments.are_seen(&*deployment, &caches.deployments);
    let deployment = match newest(&*deployment, &caches.deployments, all_seen) {
        Ok(deployment) => deployment,
        Err(action) => return Ok(action),
    };
    let Some(view) = View::of(&deployment) else { return Ok(Action::await_change()) };
    shell.sync(view).await
}
