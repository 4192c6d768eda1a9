//! Daemon sets: one pod on every node that is fit for it.
//!
//! Owns: the pods of DaemonSets, their revisions and status. One look is [`plan::plan`], which is pure; here it is carried out. A
//! pod is made for a node and bound to it by the scheduler. May call: the API, caches, `history`, `pods::control`, and
//! `scheduler::Pending` for what a pod asks of a node. Called by: the crate's `start`. Source: Kubernetes v1.36 `pkg/controller/daemon`.

mod eligible;
mod patience;
mod plan;
mod pod;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use tasks::TaskSet;

use self::eligible::Known;
use self::patience::Patience;
use self::plan::{Plan, plan};
use crate::cache::is_going;
use crate::claim::{claim_from, orphans, suitors};
use crate::context::Context;
use crate::error::Error;
use crate::events::Recorder;
use crate::history::{self, POD_LABEL, Subject};
use crate::pods::control::{PodControl, is_namespace_going};
use crate::pods::phase;
use crate::run::run;
use crate::status;
use crate::writes::{Writes, newest};

#[derive(Clone)]
struct Shell {
    context: Context,
    recorder: Recorder,
    pods: PodControl,
    statuses: Arc<Writes>,
    patience: Arc<Mutex<Patience>>,
}

/// Looks after all daemon sets, on `tasks`.
pub(crate) fn start(context: &Context, tasks: &TaskSet) {
    let recorder = context.recorder("daemonset-controller");
    let pods = PodControl::new(context.client.clone(), recorder.clone());
    let (statuses, patience) = (Arc::default(), Arc::default());
    let shell = Shell { context: context.clone(), recorder, pods, statuses, patience };
    let caches = Arc::clone(&context.caches);
    let controller = move || {
        let (sets, all, nodes) =
            (caches.daemon_sets.clone(), caches.daemon_sets.store(), caches.nodes.clone());
        let known = Known::default();
        Controller::for_shared_stream(sets.changes(), sets.store())
            .owns_shared_stream(caches.pods.changes_of_owned::<DaemonSet>())
            .watches_shared_stream(orphans(&caches.pods, &sets, selector), move |pod| {
                suitors(&sets, &*pod, selector)
            })
            .watches_shared_stream(caches.nodes.changes(), move |node| {
                let changed = known.changed(&node, nodes.named(&node.name_any()).is_some());
                let sets = if changed { all.state() } else { Vec::new() };
                sets.iter().map(|set| ObjectRef::from_obj(&**set)).collect::<Vec<_>>()
            })
    };
    run("daemon sets", tasks, controller, move |set| reconcile(shell.clone(), set));
}

fn selector(set: &DaemonSet) -> Option<LabelSelector> {
    set.spec.as_ref().map(|spec| spec.selector.clone())
}

async fn reconcile(shell: Shell, set: Arc<DaemonSet>) -> Result<Action, Error> {
    let caches = &shell.context.caches;
    caches.pods.ready().await;
    caches.nodes.ready().await;
    caches.controller_revisions.ready().await;
    let all_seen =
        shell.pods.is_seen(&*set, &caches.pods) && shell.statuses.are_seen(&*set, &caches.daemon_sets);
    let set = match newest(&*set, &caches.daemon_sets, all_seen) {
        Ok(set) => set,
        Err(action) => return Ok(action),
    };
    if is_going(&*set) {
        return Ok(Action::await_change());
    }
    let Some(spec) = &set.spec else { return Ok(Action::await_change()) };
    let client = &shell.context.client;
    let history = claim_from(client, &*set, Some(&spec.selector), &caches.controller_revisions).await?;
    let pods = claim_from(client, &*set, Some(&spec.selector), &caches.pods).await?;
    let subject = Subject {
        owner: &*set,
        template: &spec.template,
        hash_label: POD_LABEL,
        collisions: set.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0),
    };
    let newest = history::newest(client, &subject, &history).await?;
    let hash = newest.revision.labels().get(POD_LABEL).cloned().unwrap_or_default();
    let mut plan = {
        let mut patience = shell.patience.lock().unwrap_or_else(PoisonError::into_inner);
        plan(&set, &caches.nodes.store().state(), &pods, &hash, &mut patience, Timestamp::now())
    };
    if newest.collisions > 0 {
        plan.status.collision_count = Some(newest.collisions);
    }
    let action = shell.carry_out(&set, &hash, plan).await?;
    let mut live = live(&history, &pods);
    live.insert(newest.revision.name_any());
    history::prune(client, &history, &live, spec.revision_history_limit).await?;
    Ok(action)
}

/// The revisions that pods have.
fn live(history: &[Arc<ControllerRevision>], pods: &[Arc<Pod>]) -> HashSet<String> {
    let hashes: HashSet<_> = pods.iter().filter_map(|pod| pod::hash_of(pod)).collect();
    let is_live = |one: &&Arc<ControllerRevision>| {
        one.labels().get(POD_LABEL).is_some_and(|hash| hashes.contains(hash.as_str()))
    };
    history.iter().filter(is_live).map(|one| one.name_any()).collect()
}

impl Shell {
    async fn carry_out(&self, set: &DaemonSet, hash: &str, plan: Plan) -> Result<Action, Error> {
        let client = &self.context.client;
        if let Some(written) = status::write(client, set, &set.status, &plan.status).await? {
            self.statuses.wrote(set, &written);
        }
        plan.ended.iter().for_each(|(pod, node)| self.tell_ended(set, pod, node));
        self.pods.delete(set, &plan.delete).await?;
        let pods = plan.create.iter().filter_map(|node| pod::make(set, hash, node)).collect();
        match self.pods.create(set, pods).await.error {
            Some(Error::Api { source, .. }) if is_namespace_going(&source) => Ok(Action::await_change()),
            Some(error) => Err(error),
            None => Ok(plan.again.map_or_else(Action::await_change, Action::requeue)),
        }
    }

    fn tell_ended(&self, set: &DaemonSet, pod: &Pod, node: &str) {
        let pod_name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
        if phase(pod) == "Failed" {
            let message = format!("Found failed daemon pod {pod_name} on node {node}, will try to kill it");
            self.recorder.warning(set, "FailedDaemonPod", message);
        } else {
            let message =
                format!("Found succeeded daemon pod {pod_name} on node {node}, will try to delete it");
            self.recorder.normal(set, "SucceededDaemonPod", message);
        }
    }
}
