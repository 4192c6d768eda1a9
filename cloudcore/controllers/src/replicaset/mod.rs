//! ReplicaSets and ReplicationControllers: as many pods of one template as wanted.
//!
//! Owns: their pods and their status. What the two kinds differ in is in [`kind`]; what the status says is [`status`], which is
//! pure; here it is carried out. May call: the API, caches, `claim`, `pods`. Called by: the crate's `start`.
//! Source: Kubernetes v1.36 `pkg/controller/replicaset`.

mod kind;
mod status;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use kube::ResourceExt;
use kube::core::Selector;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use tasks::TaskSet;

use self::kind::Replicated;
use self::status::Failure;
use crate::cache::{is_going, uid_of};
use crate::claim::{claim, controller_of, orphans, suitors};
use crate::context::Context;
use crate::error::Error;
use crate::pods::control::{BURST, PodControl, from_template};
use crate::pods::rank;
use crate::pods::{is_active, is_finished, ready_since};
use crate::run::run;
use crate::status as api;
use crate::writes::{Writes, newest};

#[derive(Clone)]
struct Shell {
    context: Context,
    pods: PodControl,
    statuses: Arc<Writes>,
}

/// Looks after all ReplicaSets and ReplicationControllers, on `tasks`.
pub(crate) fn start(context: &Context, tasks: &TaskSet) {
    start_kind::<ReplicaSet>(context, tasks);
    start_kind::<ReplicationController>(context, tasks);
}

fn start_kind<S: Replicated>(context: &Context, tasks: &TaskSet) {
    let pods = PodControl::new(context.client.clone(), context.recorder(S::COMPONENT));
    let shell = Shell { context: context.clone(), pods, statuses: Arc::default() };
    let caches = Arc::clone(&context.caches);
    let controller = move || {
        let sets = S::cache(&caches).clone();
        Controller::for_shared_stream(sets.changes(), sets.store())
            .owns_shared_stream(caches.pods.changes_of_owned::<S>())
            .watches_shared_stream(orphans(&caches.pods, &sets, S::selector), move |pod| {
                suitors(&sets, &*pod, S::selector)
            })
    };
    run(S::TASK, tasks, controller, move |set: Arc<S>| reconcile(shell.clone(), set));
}

fn selector<S: Replicated>(set: &S) -> Result<Selector, Error> {
    let selector = set.selector().unwrap_or_default();
    Selector::try_from(selector).map_err(|error| Error::Object(format!("spec.selector: {error}")))
}

/// How many pods a set should have (the API's default: 1).
fn wanted<S: Replicated>(set: &S) -> usize {
    usize::try_from(set.replicas().unwrap_or(1)).unwrap_or(0)
}

async fn reconcile<S: Replicated>(shell: Shell, set: Arc<S>) -> Result<Action, Error> {
    let caches = &shell.context.caches;
    caches.pods.ready().await;
    let all_seen =
        shell.pods.is_seen(&*set, &caches.pods) && shell.statuses.are_seen(&*set, S::cache(caches));
    let set = match newest(&*set, S::cache(caches), all_seen) {
        Ok(set) => set,
        Err(action) => return Ok(action),
    };
    let pods = shell.own_pods(&*set).await?;
    let (active, others): (Vec<_>, Vec<_>) = pods.into_iter().partition(|pod| is_active(pod));
    let outcome = if is_going(&*set) { Ok(()) } else { shell.manage(&*set, &active).await };

    let now = Timestamp::now();
    let terminating = others.iter().filter(|pod| is_going(&***pod) && !is_finished(pod)).count();
    let failure = outcome.as_ref().err();
    let status =
        status::status(&*set, &active, terminating, failure.map(|(failure, error)| (*failure, error)), now);
    if let Some(written) =
        api::write(&shell.context.client, &*set, set.status(), &S::status_of(status)).await?
    {
        shell.statuses.wrote(&*set, &written);
    }
    outcome.map_err(|(_, error)| error)?;
    Ok(next_available(&active, set.min_ready_seconds(), now)
        .map_or_else(Action::await_change, Action::requeue))
}

/// When the next pod will have been ready for long enough.
fn next_available(active: &[Arc<Pod>], min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    let wait = active.iter().filter_map(|pod| {
        let left = ready_since(pod)?.as_second() + i64::from(min_ready_seconds) - now.as_second();
        u64::try_from(left).ok().filter(|left| *left > 0)
    });
    wait.min().map(Duration::from_secs)
}

impl Shell {
    async fn own_pods<S: Replicated>(&self, set: &S) -> Result<Vec<Arc<Pod>>, Error> {
        let cache = &self.context.caches.pods;
        let mut candidates = cache.controlled_by(set);
        let orphans = cache.orphans(&set.namespace().unwrap_or_default());
        candidates.extend(orphans.into_iter().filter(|pod| !is_finished(pod)));
        claim(&self.context.client, set, &selector(set)?, candidates).await
    }

    /// Makes what is missing or deletes what is too much.
    async fn manage<S: Replicated>(&self, set: &S, active: &[Arc<Pod>]) -> Result<(), (Failure, Error)> {
        let wanted = wanted(set);
        if active.len() < wanted {
            let Some(template) = set.template() else { return Ok(()) };
            let missing = (wanted - active.len()).min(BURST);
            let pods = std::iter::repeat_with(|| from_template(set, template)).take(missing).collect();
            return match self.pods.create(set, pods).await.error {
                Some(error) => Err((Failure::Create, error)),
                None => Ok(()),
            };
        }
        let surplus = (active.len() - wanted).min(BURST);
        if surplus == 0 {
            return Ok(());
        }
        let first = rank::first_to_go(active, &self.related_by_node(set), Timestamp::now());
        self.pods.delete(set, &first[..surplus]).await.map_err(|error| (Failure::Delete, error))
    }

    /// How many active pods of this set and of the sets with the same owner each node has.
    fn related_by_node<S: Replicated>(&self, set: &S) -> HashMap<String, usize> {
        let caches = &self.context.caches;
        let namespace = set.namespace().unwrap_or_default();
        let sets = controller_of(set)
            .map_or_else(Vec::new, |owner| S::cache(caches).controlled_by_uid(&namespace, &owner.uid));
        let mut nodes = HashMap::new();
        let mut count = |set: &S| {
            for pod in caches.pods.controlled_by(set).iter().filter(|pod| is_active(pod)) {
                if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
                    *nodes.entry(node).or_insert(0) += 1;
                }
            }
        };
        count(set);
        sets.iter().filter(|other| uid_of(&***other) != uid_of(set)).for_each(|other| count(other));
        nodes
    }
}
