//! Stateful sets: numbered pods that keep name and volumes, made and replaced in order.
//!
//! Owns: the pods and volume claims of StatefulSets, their revisions and status. One look is [`plan::plan`], which is pure; here it is
//! carried out. A pod's successor has its name, so it can only be made when the pod is gone. May call: the API, caches,
//! `history`, `pods::control`. Called by: the crate's `start`. Source: Kubernetes v1.36 `pkg/controller/statefulset`.

mod claims;
mod plan;
mod pod;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Patch, PatchParams};
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use serde_json::json;
use tasks::TaskSet;

use self::plan::{Plan, Revision, Revisions, Why, plan};
use crate::cache::{is_going, uid_of};
use crate::claim::{claim_from, is_controlled_by, orphans, suitors};
use crate::context::Context;
use crate::error::Error;
use crate::events::Recorder;
use crate::history::{self, Subject};
use crate::pods::control::{PodControl, is_namespace_going, said};
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
}

/// Looks after all stateful sets, on `tasks`.
pub(crate) fn start(context: &Context, tasks: &TaskSet) {
    let recorder = context.recorder("statefulset-controller");
    let pods = PodControl::new(context.client.clone(), recorder.clone());
    let shell = Shell { context: context.clone(), recorder, pods, statuses: Arc::default() };
    let caches = Arc::clone(&context.caches);
    let controller = move || {
        let sets = caches.stateful_sets.clone();
        Controller::for_shared_stream(sets.changes(), sets.store())
            .owns_shared_stream(caches.pods.changes_of_owned::<StatefulSet>())
            .watches_shared_stream(orphans(&caches.pods, &sets, selector), move |pod| {
                suitors(&sets, &*pod, selector)
            })
    };
    run("stateful sets", tasks, controller, move |set| reconcile(shell.clone(), set));
}

fn selector(set: &StatefulSet) -> Option<LabelSelector> {
    set.spec.as_ref().map(|spec| spec.selector.clone())
}

async fn reconcile(shell: Shell, set: Arc<StatefulSet>) -> Result<Action, Error> {
    let caches = &shell.context.caches;
    caches.pods.ready().await;
    caches.controller_revisions.ready().await;
    caches.persistent_volume_claims.ready().await;
    let all_seen =
        shell.pods.is_seen(&*set, &caches.pods) && shell.statuses.are_seen(&*set, &caches.stateful_sets);
    let set = match newest(&*set, &caches.stateful_sets, all_seen) {
        Ok(set) => set,
        Err(action) => return Ok(action),
    };
    let client = &shell.context.client;
    let selector = set.spec.as_ref().map(|spec| &spec.selector);
    let history = claim_from(client, &*set, selector, &caches.controller_revisions).await?;
    let pods = claim_from(client, &*set, selector, &caches.pods).await?;
    if is_going(&*set) {
        return Ok(Action::await_change());
    }
    let revisions = revisions(&shell, &set, &history).await?;
    let plan = plan(&set, &revisions, &pods, Timestamp::now());
    let action = shell.carry_out(&set, &revisions, &pods, plan).await?;
    let mut live: HashSet<_> = pods.iter().filter_map(|pod| plan::revision_of(pod).cloned()).collect();
    live.extend([revisions.current.name, revisions.update.name]);
    let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit);
    history::prune(client, &history, &live, limit).await?;
    Ok(action)
}

/// The template that the set has, and the one that its pods had when it last was complete.
async fn revisions(
    shell: &Shell,
    set: &StatefulSet,
    history: &[Arc<ControllerRevision>],
) -> Result<Revisions, Error> {
    let status = set.status.clone().unwrap_or_default();
    let subject = Subject {
        owner: set,
        template: &pod::template(set),
        hash_label: "controller.kubernetes.io/hash",
        collisions: status.collision_count.unwrap_or(0),
    };
    let newest = history::newest(&shell.context.client, &subject, history).await?;
    let update = Revision { name: newest.revision.name_any(), template: pod::template(set) };
    let current = history.iter().find(|one| Some(one.name_any()) == status.current_revision);
    let current =
        current.and_then(|one| Some(Revision { name: one.name_any(), template: history::template(one)? }));
    let current = current.unwrap_or_else(|| update.clone());
    Ok(Revisions { current, update, collisions: newest.collisions })
}

impl Shell {
    async fn carry_out(
        &self,
        set: &StatefulSet,
        revisions: &Revisions,
        pods: &[Arc<Pod>],
        plan: Plan,
    ) -> Result<Action, Error> {
        let client = &self.context.client;
        if let Some(written) = status::write(client, set, &set.status, &plan.status).await? {
            self.statuses.wrote(set, &written);
        }
        for (pod, ordinal) in &plan.relabel {
            self.relabel(set, pod, *ordinal).await?;
        }
        self.keep_claims(set, pods).await?;
        for (pod, why) in &plan.delete {
            self.delete(set, pod, *why).await?;
        }
        for (ordinal, old) in plan.create {
            let revision = if old { &revisions.current } else { &revisions.update };
            match self.create(set, revision, ordinal).await {
                Err(Error::Api { source, .. }) if is_namespace_going(&source) => {
                    return Ok(Action::await_change());
                }
                result => result?,
            }
        }
        Ok(plan.again.map_or_else(Action::await_change, Action::requeue))
    }

    async fn create(&self, set: &StatefulSet, revision: &Revision, ordinal: i32) -> Result<(), Error> {
        let claims = &self.context.caches.persistent_volume_claims;
        claims::ensure(&self.context.client, &self.recorder, claims, set, ordinal).await?;
        let pod = pod::make(set, revision, ordinal);
        match self.pods.make(set, &pod).await {
            Ok(pod) => {
                self.tell(set, "SuccessfulCreate", "create", &pod, None);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => self.look_who_is_there(set, &pod).await,
            Err(error) => {
                if !is_namespace_going(&error) {
                    self.tell(set, "FailedCreate", "create", &pod, Some(&said(&error)));
                }
                Err(Error::api("create a pod")(error))
            }
        }
    }

    /// The pod's name is taken: by a predecessor that the cache no longer shows, by one made before a crash, or by a stranger.
    async fn look_who_is_there(&self, set: &StatefulSet, pod: &Pod) -> Result<(), Error> {
        let api = Api::<Pod>::namespaced(self.context.client.clone(), &set.namespace().unwrap_or_default());
        let there = api.get_opt(&pod.name_any()).await.map_err(Error::api("look at a pod"))?;
        match there {
            Some(there) if !is_controlled_by(&there, set) => {
                let why = format!("pods {:?} already exists", pod.name_any());
                self.tell(set, "FailedCreate", "create", pod, Some(&why));
                Err(Error::Object(format!("{why} and is not controlled by this set")))
            }
            Some(there) => {
                self.pods.wrote(set, &there);
                Ok(())
            }
            None => Err(Error::Object(format!("pods {:?} went a moment ago", pod.name_any()))),
        }
    }

    async fn delete(&self, set: &StatefulSet, pod: &Pod, why: Why) -> Result<(), Error> {
        let name = pod.name_any();
        if why == Why::Ended {
            let set_name = format!("{}/{}", set.namespace().unwrap_or_default(), set.name_any());
            match phase(pod) {
                "Failed" => {
                    let message = format!("StatefulSet {set_name} is recreating failed Pod {name}");
                    self.recorder.warning(set, "RecreatingFailedPod", message);
                }
                _ => {
                    let message = format!("StatefulSet {set_name} is recreating terminated Pod {name}");
                    self.recorder.normal(set, "RecreatingTerminatedPod", message);
                }
            }
        }
        match self.pods.remove(set, pod).await {
            Ok(true) => self.tell(set, "SuccessfulDelete", "delete", pod, None),
            Ok(false) => {}
            Err(error) => {
                self.tell(set, "FailedDelete", "delete", pod, Some(&said(&error)));
                return Err(Error::api("delete a pod")(error));
            }
        }
        Ok(())
    }

    fn tell(&self, set: &StatefulSet, reason: &'static str, verb: &str, pod: &Pod, error: Option<&str>) {
        let what = format!("{verb} Pod {} in StatefulSet {}", pod.name_any(), set.name_any());
        match error {
            None => self.recorder.normal(set, reason, format!("{what} successful")),
            Some(error) => self.recorder.warning(set, reason, format!("{what} failed error: {error}")),
        }
    }

    /// Gives a pod back the labels that tell who it is.
    async fn relabel(&self, set: &StatefulSet, pod: &Pod, ordinal: i32) -> Result<(), Error> {
        let api = Api::<Pod>::namespaced(self.context.client.clone(), &set.namespace().unwrap_or_default());
        let patch = json!({"metadata": {"uid": uid_of(pod), "labels": pod::identity(set, ordinal)}});
        match api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(pod) => self.pods.wrote(set, &pod),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(Error::api("label a pod")(error)),
        }
        Ok(())
    }

    /// Lets claims go with the set or with their pod, as the set wishes.
    async fn keep_claims(&self, set: &StatefulSet, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let Some(spec) = &set.spec else { return Ok(()) };
        let first = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
        let wanted = first..first.saturating_add(spec.replicas.unwrap_or(1));
        let claims = &self.context.caches.persistent_volume_claims;
        for pod in pods {
            let Some(ordinal) = pod::ordinal(set, pod) else { continue };
            let is_surplus = !wanted.contains(&ordinal);
            claims::keep_or_not(&self.context.client, claims, set, ordinal, pod, is_surplus).await?;
        }
        Ok(())
    }
}
