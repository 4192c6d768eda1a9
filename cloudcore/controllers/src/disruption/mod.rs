//! Disruption budgets: how many of an application's pods may be evicted now.
//!
//! Owns: the status of PodDisruptionBudgets, from which the API takes when it evicts a pod. What it says is [`budget`], pure. May call:
//! the API, caches. Called by: the crate's `start`. Source: Kubernetes v1.36 `pkg/controller/disruption`.

mod budget;
mod scale;
mod stale;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use tasks::TaskSet;

use self::budget::Scale;
use crate::cache::{Cache, Id, is_going};
use crate::claim::controller_of;
use crate::context::Context;
use crate::error::Error;
use crate::events::Recorder;
use crate::run::run;
use crate::status as api;

#[derive(Clone)]
struct Shell {
    context: Context,
    recorder: Recorder,
}

/// Looks after all budgets and what evictions left behind, on `tasks`.
pub(crate) fn start(context: &Context, tasks: &TaskSet) {
    stale::start(context, tasks);
    let shell = Shell { context: context.clone(), recorder: context.recorder("controllermanager") };
    let caches = Arc::clone(&context.caches);
    let controller = move || {
        let budgets = caches.pod_disruption_budgets.clone();
        let (wanted, of_pods, of_sets, of_stateful, of_deployments) =
            (budgets.clone(), budgets.clone(), budgets.clone(), budgets.clone(), budgets);
        let everywhere = |budgets: &Cache<PodDisruptionBudget>, namespace: Option<String>| {
            let namespace = namespace.unwrap_or_default();
            budgets
                .within(&namespace, |_| true)
                .iter()
                .map(|budget| ObjectRef::from_obj(&**budget))
                .collect::<Vec<_>>()
        };
        Controller::for_shared_stream(
            caches.pod_disruption_budgets.changes(),
            caches.pod_disruption_budgets.store(),
        )
        .watches_shared_stream(
            caches.pods.changes_of(move |id, pod| !takers(&wanted, id, &pod.labels).is_empty()),
            move |pod| takers(&of_pods, &Id::of(&*pod), pod.labels()),
        )
        .watches_shared_stream(caches.replica_sets.changes(), move |set| {
            everywhere(&of_sets, set.namespace())
        })
        .watches_shared_stream(caches.stateful_sets.changes(), move |set| {
            everywhere(&of_stateful, set.namespace())
        })
        .watches_shared_stream(caches.deployments.changes(), move |one| {
            everywhere(&of_deployments, one.namespace())
        })
    };
    run("disruption budgets", tasks, controller, move |budget| reconcile(shell.clone(), budget));
}

/// The budgets that a pod falls under. One that it left by a change of its labels hears of it with the next pod's change.
fn takers(
    budgets: &Cache<PodDisruptionBudget>,
    pod: &Id,
    labels: &BTreeMap<String, String>,
) -> Vec<ObjectRef<PodDisruptionBudget>> {
    let named = |budget: &PodDisruptionBudget| {
        let counted = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
        counted.is_some_and(|pods| pods.contains_key(&*pod.name))
    };
    let fits = |budget: &PodDisruptionBudget| {
        named(budget) || selector(budget).ok().flatten().is_some_and(|selector| selector.matches(labels))
    };
    budgets.within(&pod.namespace, fits).iter().map(|budget| ObjectRef::from_obj(&**budget)).collect()
}

/// No selector takes no pod, an empty one takes all.
fn selector(budget: &PodDisruptionBudget) -> Result<Option<Selector>, Error> {
    let Some(selector) = budget.spec.as_ref().and_then(|spec| spec.selector.clone()) else { return Ok(None) };
    let selector =
        Selector::try_from(selector).map_err(|error| Error::Object(format!("spec.selector: {error}")))?;
    Ok(Some(selector))
}

async fn reconcile(shell: Shell, budget: Arc<PodDisruptionBudget>) -> Result<Action, Error> {
    let caches = &shell.context.caches;
    caches.pods.ready().await;
    caches.replica_sets.ready().await;
    caches.stateful_sets.ready().await;
    caches.deployments.ready().await;
    let namespace = budget.namespace().unwrap_or_default();
    let Some(budget) = caches.pod_disruption_budgets.get(&namespace, &budget.name_any()) else {
        return Ok(Action::await_change());
    };
    if is_going(&*budget) {
        return Ok(Action::await_change());
    }
    let now = Timestamp::now();
    let (status, recheck) = match shell.count(&budget, now).await {
        Ok(counted) => counted,
        Err(error) if error.is_race() => return Err(error),
        Err(error) => {
            let message = format!("Failed to calculate the number of expected pods: {}", error.said());
            shell.recorder.warning(&*budget, "CalculateExpectedPodCountFailed", message);
            (budget::failed(&budget, &error.said(), now), None)
        }
    };
    api::write(&shell.context.client, &*budget, &budget.status, &status).await?;
    Ok(recheck.map_or_else(Action::await_change, Action::requeue))
}

impl Shell {
    async fn count(
        &self,
        budget: &PodDisruptionBudget,
        now: Timestamp,
    ) -> Result<(k8s_openapi::api::policy::v1::PodDisruptionBudgetStatus, Option<std::time::Duration>), Error>
    {
        let namespace = budget.namespace().unwrap_or_default();
        let pods = match selector(budget)? {
            Some(selector) => {
                self.context.caches.pods.glance(Some(&namespace), |pod| selector.matches(&pod.labels))
            }
            None => Vec::new(),
        };
        if pods.is_empty() {
            self.recorder.normal(budget, "NoPods", "No matching pods found".to_owned());
        }
        let scale =
            if budget::needs_scale(budget) { self.scale(budget, &pods).await? } else { Scale::default() };
        let counted = budget::count(budget, &pods, scale, now).map_err(Error::Object)?;
        for late in counted.not_deleted {
            let message =
                format!("Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't");
            self.recorder.warning(&*late, "NotDeleted", message);
        }
        Ok((counted.status, counted.recheck))
    }

    /// How many pods the owners of these want together.
    async fn scale(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Result<Scale, Error> {
        let (mut scales, mut unmanaged) = (HashMap::new(), false);
        for pod in pods {
            let Some(owner) = controller_of(&**pod) else {
                unmanaged = true;
                continue;
            };
            if let Some((uid, scale)) = self.wanted_by(owner, &pod.namespace().unwrap_or_default()).await? {
                scales.insert(uid, scale);
            } else {
                return Err(Error::Object(format!("found no controllers for pod {:?}", pod.name_any())));
            }
        }
        if unmanaged {
            let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let selector = serde_json::to_string(&selector).unwrap_or_default();
            let message = format!(
                "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value."
            );
            self.recorder.warning(budget, "UnmanagedPods", message);
        }
        Ok(Scale(scales.values().sum()))
    }
}
