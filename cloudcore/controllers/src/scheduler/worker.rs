//! Decides one pod after the other, and keeps a few requests under way.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{Resource, ResourceExt};
use tokio::time::Instant;

use super::api::{self, Preparation, Unscheduled};
use super::decide::decide;
use super::filter::{Candidate, Choice, choose};
use super::kin::kin;
use super::labels::{Labels, PodSelector};
use super::pending::Pending;
use super::pod::Identity;
use super::preempt::{Budget, Plan, preempt};
use super::queue::{Needs, Queue};
use super::reason::{Diagnosis, Preemption, message};
use super::snapshot::{NodeName, Snapshot};
use super::{FAILED, SCHEDULER};
use crate::cache::uid_of;
use crate::context::Context;
use crate::error::Error;
use crate::events::Reporter;

/// Requests under way at once. More than a few gain nothing: the API writes them one group after the other.
const UNDER_WAY: usize = 16;

/// Why a pod has no node for which none was found.
const UNSCHEDULABLE: &str = "Unschedulable";

/// What came of a request.
pub(super) enum Outcome {
    Bound(Identity, NodeName, Result<(), Error>),
    Prepared(Identity, Result<(), Error>),
    Told(Identity, Result<(), Error>),
    /// For the pod with this uid.
    Evicted(String, Identity, Result<(), Error>),
}

/// What the scheduler knows, and what it does about it.
pub(super) struct Worker {
    pub(super) context: Context,
    reporter: Reporter,
    pub(super) snapshot: Snapshot,
    pub(super) queue: Queue,
    /// Pods that were given a node which the cache does not show yet, by uid.
    pub(super) assumed: HashMap<String, NodeName>,
    pub(super) requests: FuturesUnordered<BoxFuture<'static, Outcome>>,
    /// Requests that wait for a place among those under way; bounded by the pods that were decided in one turn.
    waiting: VecDeque<BoxFuture<'static, Outcome>>,
    dice: fastrand::Rng,
}

impl Worker {
    pub(super) fn new(context: Context) -> Self {
        Self {
            reporter: context.reporter(SCHEDULER),
            context,
            snapshot: Snapshot::default(),
            queue: Queue::default(),
            assumed: HashMap::new(),
            requests: FuturesUnordered::new(),
            waiting: VecDeque::new(),
            dice: fastrand::Rng::new(),
        }
    }

    /// When there is something to do without a change; none while all places for requests are taken.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.requests.len() < UNDER_WAY { self.queue.due(Instant::now()) } else { None }
    }

    /// Decides as many pods as there are places for requests.
    pub(super) fn decide_some(&mut self) {
        self.fill();
        while self.waiting.is_empty() && self.requests.len() < UNDER_WAY {
            let Some(pod) = self.queue.pop(Instant::now()) else { return };
            self.attempt(&pod);
            self.fill();
        }
    }

    fn fill(&mut self) {
        while self.requests.len() < UNDER_WAY
            && let Some(request) = self.waiting.pop_front()
        {
            self.requests.push(request);
        }
    }

    fn attempt(&mut self, pending: &Pending) {
        let identity = &pending.footprint.identity;
        let cached = self.context.caches.pods.get(&identity.namespace, &identity.name);
        let Some(pod) = cached.filter(|pod| uid_of(&**pod) == identity.uid) else {
            // Its deletion is about to be told.
            self.queue.rest(&identity.uid);
            return;
        };
        let kin = if pending.spread.is_empty() { kin(&self.context.caches, &pod) } else { None };
        match decide(&self.snapshot, pending, kin.as_ref(), &mut self.dice) {
            Ok(node) => match self.choices(pending, &node) {
                choices if choices.is_empty() => self.bind(pending, node),
                choices => self.prepare(pending, node, &choices),
            },
            Err(diagnosis) => self.fail(&pod, pending, diagnosis),
        }
    }

    /// What the pod's claims get that waited for it.
    fn choices(&self, pending: &Pending, name: &str) -> Vec<Choice> {
        let node = self.snapshot.node(name).and_then(|node| Some((node, node.facts.as_ref()?)));
        let choices =
            node.map(|(node, facts)| choose(&self.snapshot, pending, Candidate { name, node, facts }));
        choices.and_then(Result::ok).unwrap_or_default()
    }

    /// Lets the pod's claims have their volumes; the pod is tried again when they do, and can then go nowhere else.
    fn prepare(&mut self, pending: &Pending, node: NodeName, choices: &[Choice]) {
        let identity = pending.footprint.identity.clone();
        let caches = &self.context.caches;
        let known = |choice: &Choice| {
            let claim = caches.persistent_volume_claims.get(&identity.namespace, &choice.claim)?;
            let volume = match &choice.volume {
                Some(name) => Some(caches.persistent_volumes.named(name)?),
                None => None,
            };
            Some(Preparation { claim, volume })
        };
        let preparations: Option<Vec<_>> = choices.iter().map(known).collect();
        let Some(preparations) = preparations else {
            // That one of them went is about to be told.
            self.queue.rest(&identity.uid);
            return;
        };
        self.queue.await_volumes(&identity.uid, Instant::now());
        let client = self.context.client.clone();
        let request = async move {
            let result = api::prepare(&client, preparations, &node).await;
            Outcome::Prepared(identity, result)
        };
        self.waiting.push_back(request.boxed());
    }

    fn bind(&mut self, pending: &Pending, node: NodeName) {
        let identity = pending.footprint.identity.clone();
        self.snapshot.place(Arc::new(pending.footprint.clone()), &node);
        self.assumed.insert(identity.uid.clone(), NodeName::clone(&node));
        self.wake(|needs| needs.pods);
        let client = self.context.client.clone();
        let request = async move {
            let result = api::bind(&client, &identity, &node).await;
            Outcome::Bound(identity, node, result)
        };
        self.waiting.push_back(request.boxed());
    }

    fn fail(&mut self, pod: &Arc<Pod>, pending: &Pending, mut diagnosis: Diagnosis) {
        let budgets = self.budgets();
        let plan = preempt(&mut self.snapshot, pending, &diagnosis, &budgets);
        let plan = plan.map_err(|why| diagnosis.preemption = why).ok();
        if plan.is_some() {
            diagnosis.preemption = Preemption::Under;
        }
        let message = message(&diagnosis, self.snapshot.len());
        let identity = &pending.footprint.identity;
        tracing::debug!(namespace = identity.namespace, pod = identity.name, message, "no node for a pod");
        self.reporter.warning(pod.object_ref(&()), "Scheduling", FAILED, message.clone());
        self.queue.park(&identity.uid, Needs::of(&diagnosis), Instant::now());
        let waiting = diagnosis.preemption == Preemption::Waiting;
        let nominated = match &plan {
            Some(plan) => Some(plan.node.to_string()),
            None => pending.nominated.clone().filter(|_| waiting),
        };
        self.snapshot.nominate(&Arc::new(pending.footprint.clone()), nominated.as_deref());
        self.tell(pod, &Unscheduled { reason: UNSCHEDULABLE, message }, nominated.as_deref());
        if let Some(plan) = plan {
            self.evict(pod, plan);
        }
    }

    fn evict(&mut self, preemptor: &Pod, plan: Plan) {
        for victim in plan.victims {
            let (client, reporter) = (self.context.client.clone(), self.reporter.clone());
            let cached = self.context.caches.pods.get(&victim.namespace, &victim.name);
            let about = cached.map(|pod| pod.object_ref(&())).unwrap_or_default();
            let by = preemptor.object_ref(&());
            let uid = uid_of(preemptor);
            let message = format!("Preempted by pod {uid} on node {}", plan.node);
            let request = async move {
                let result = api::evict(&client, &victim).await;
                if matches!(result, Ok(true)) {
                    reporter.normal(about, Some(by), "Preempting", "Preempted", message);
                }
                Outcome::Evicted(uid, victim, result.map(drop))
            };
            self.waiting.push_back(request.boxed());
        }
    }

    /// Writes why a pod has no node, unless it says so already.
    pub(super) fn tell(&mut self, pod: &Pod, why: &Unscheduled, nominated: Option<&str>) {
        let Some(patch) = api::unscheduled(pod, why, nominated, Timestamp::now()) else { return };
        let (client, identity) = (self.context.client.clone(), Identity::of(pod));
        let request = async move {
            let result = api::tell(&client, &identity, &patch).await;
            Outcome::Told(identity, result)
        };
        self.waiting.push_back(request.boxed());
    }

    /// What came of a request.
    pub(super) fn hear(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Bound(pod, node, Ok(())) => {
                self.queue.remove(&pod.uid);
                let message = format!("Successfully assigned {}/{} to {node}", pod.namespace, pod.name);
                let cached = self.context.caches.pods.get(&pod.namespace, &pod.name);
                if let Some(about) = cached.filter(|cached| uid_of(&**cached) == pod.uid) {
                    self.reporter.normal(about.object_ref(&()), None, "Binding", "Scheduled", message);
                }
            }
            Outcome::Bound(pod, node, Err(error)) => {
                let (namespace, name) = (&pod.namespace, &pod.name);
                tracing::warn!(namespace, pod = name, %node, %error, "cannot bind a pod, trying again");
                // Unless the cache has shown by now where it really is.
                if self.assumed.remove(&pod.uid).is_some() {
                    self.leave(&pod.uid);
                }
                self.queue.rest(&pod.uid);
            }
            Outcome::Prepared(pod, Err(error)) => {
                tracing::debug!(namespace = pod.namespace, pod = pod.name, %error, "cannot reserve volumes for a pod, trying again");
                self.queue.rest(&pod.uid);
            }
            Outcome::Prepared(_, Ok(())) | Outcome::Told(_, Ok(())) | Outcome::Evicted(_, _, Ok(())) => {}
            Outcome::Evicted(uid, victim, Err(error)) => {
                let (namespace, name) = (&victim.namespace, &victim.name);
                tracing::warn!(namespace, pod = name, %error, "cannot evict a pod for a more important one");
                self.queue.rest(&uid);
            }
            Outcome::Told(pod, Err(error)) if error.is_race() => {
                tracing::debug!(namespace = pod.namespace, pod = pod.name, %error, "a pod changed meanwhile");
            }
            Outcome::Told(pod, Err(error)) => {
                tracing::warn!(namespace = pod.namespace, pod = pod.name, %error, "cannot write about a pod");
            }
        }
    }

    fn budgets(&self) -> Vec<Budget> {
        let budgets = self.context.caches.pod_disruption_budgets.store().state();
        let read = |budget: &Arc<PodDisruptionBudget>| Budget {
            namespace: budget.namespace().unwrap_or_default(),
            selector: PodSelector::new(
                budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()),
                &Labels::new(),
                &[],
                &[],
            ),
            allowed: budget.status.as_ref().and_then(|status| status.disruptions_allowed).unwrap_or(0),
        };
        budgets.iter().map(read).collect()
    }
}
