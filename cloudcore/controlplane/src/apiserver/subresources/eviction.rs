//! `pods/NAME/eviction`: a deletion that asks the pod's disruption budget first.
//!
//! Source: Kubernetes v1.36 `pkg/registry/core/pod/storage/eviction.go`.

use axum::body::Body;
use axum::response::Response;
use serde_json::{Value, json};

use super::{success, text};
use crate::apiserver::call::Call;
use crate::apiserver::deletion::Deletion;
use crate::apiserver::hooks::Operation;
use crate::apiserver::http::{decode, read};
use crate::apiserver::metadata::{self, is_terminating};
use crate::apiserver::objects::Part;
use crate::apiserver::write::Write;
use crate::apiserver::{Api, Target, verbs};
use crate::selector::LabelSelector;
use crate::status::{Reason, Status};
use crate::store::{Collection, ListQuery, Object};

/// A budget with more evictions that its controller has not seen yet refuses all others.
const UNSEEN: usize = 2000;
/// How often an eviction tries again when the pod changed meanwhile.
const ATTEMPTS: usize = 20;

pub(super) async fn evict(api: &Api, call: &Call, body: Body) -> Result<Response, Status> {
    let mut eviction = decode(&call.headers, &read(body).await?, "Eviction", &call.target.resource)?;
    if text(&eviction, "/metadata/name") != call.target.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let dry_run = verbs::deletion(call, &eviction["deleteOptions"])?.how.dry_run;
    api.ask_about_body(call, Operation::Create, "eviction", dry_run, &mut eviction).await?;
    let mut given = verbs::deletion(call, &eviction["deleteOptions"])?;
    // Kubernetes asks about the eviction, not about the deletion that it is.
    given.how.is_settled = true;
    let mut allowed = false;
    for _ in 0..ATTEMPTS {
        let current = api.store.get(&call.target.id()).ok_or_else(|| call.target.not_found())?;
        let pod = current.value();
        let mut how = given.how.clone();
        let asked_for_version = how.resource_version.is_some();
        let mut budget = None;
        if needs_no_leave(&pod) {
            // It must still be so when it goes, or the budget would have had a say.
            if text(&pod, "/status/phase") == "Pending" && !is_terminating(&pod) {
                how.resource_version.get_or_insert_with(|| current.revision.to_string());
            }
        } else if !allowed {
            match leave(api, call, &current, &pod, how.dry_run).await? {
                Leave::Given => allowed = true,
                Leave::Unhealthy(name) => {
                    how.resource_version.get_or_insert_with(|| current.revision.to_string());
                    budget = Some(name);
                }
            }
        }
        match remove(api, call, &how).await {
            Err(status)
                if status.reason == Reason::Conflict
                    && !asked_for_version
                    && how.resource_version.is_some() =>
            {
                if let Some(name) = budget {
                    return Err(try_later(&name));
                }
            }
            done => return done.map(|()| success(call)),
        }
    }
    Err(Status::modified("", "pods", &call.target.name))
}

/// Says on the pod why it goes, and asks it to.
async fn remove(api: &Api, call: &Call, how: &Deletion) -> Result<(), Status> {
    let mut how = how.clone();
    if !how.dry_run {
        let time = metadata::now();
        let version = how.resource_version.clone();
        let said = |old: &Value| {
            let mut new = old.clone();
            if let Some(version) = &version {
                new["metadata"]["resourceVersion"] = json!(version);
            }
            let (reason, message) = ("EvictionByEvictionAPI", "Eviction API: evicting");
            metadata::set_condition(&mut new, "DisruptionTarget", "True", reason, message, &time);
            Ok(new)
        };
        let shown = api.modify(&call.target, Part::Whole, &Write::by_nobody(false), said).await?;
        if how.resource_version.is_some() {
            let pod = shown.into_value(&call.target.resource);
            how.resource_version = Some(text(&pod, "/metadata/resourceVersion").to_owned());
        }
    }
    api.remove(&call.target, &how).await.map(drop)
}

/// A pod that does not run, or is about to go, disrupts nothing.
fn needs_no_leave(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed" | "Pending") || is_terminating(pod)
}

enum Leave {
    Given,
    /// As long as the pod stays unhealthy; from this budget.
    Unhealthy(String),
}

/// Asks the budget of the pod, and takes one disruption from it.
async fn leave(api: &Api, call: &Call, pod: &Object, value: &Value, dry_run: bool) -> Result<Leave, Status> {
    let budgets = budgets(api, &call.target.namespace, pod);
    let [budget] = budgets.as_slice() else {
        if budgets.is_empty() {
            return Ok(Leave::Given);
        }
        let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(Status::new(Reason::InternalError, why));
    };
    let name = text(budget, "/metadata/name").to_owned();
    if !is_ready(value) {
        let always = text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow";
        let (healthy, desired) = (count(budget, "currentHealthy"), count(budget, "desiredHealthy"));
        if always || (healthy >= desired && desired > 0) {
            return Ok(Leave::Unhealthy(name));
        }
    }
    let Some(resource) = api.registry.resolve("policy", "v1", "poddisruptionbudgets") else {
        return Ok(Leave::Given);
    };
    let target = Target::new(resource, &call.target.namespace, &name);
    let pod = call.target.name.as_str();
    let taken = |budget: &Value| take(budget, pod);
    api.modify(&target, Part::Status, &Write::by_nobody(dry_run), taken).await?;
    Ok(Leave::Given)
}

/// The budget with one disruption less.
fn take(budget: &Value, pod: &str) -> Result<Value, Status> {
    let name = text(budget, "/metadata/name");
    let refuse = |why: &str| Err(Status::forbidden("policy", "poddisruptionbudget", name, why));
    if budget["status"]["observedGeneration"].as_i64().unwrap_or(0)
        < budget["metadata"]["generation"].as_i64().unwrap_or(0)
    {
        return Err(try_later(name));
    }
    let allowed = count(budget, "disruptionsAllowed");
    if allowed < 0 {
        return refuse("pdb disruptions allowed is negative");
    }
    if budget["status"]["disruptedPods"].as_object().is_some_and(|pods| pods.len() > UNSEEN) {
        return refuse("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        let (desired, healthy) = (count(budget, "desiredHealthy"), count(budget, "currentHealthy"));
        let why =
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
        return Err(violation().with_cause("DisruptionBudget", &why, ""));
    }
    let (mut new, time) = (budget.clone(), metadata::now());
    new["status"]["disruptionsAllowed"] = json!(allowed - 1);
    if allowed == 1 {
        metadata::set_condition(&mut new, "DisruptionAllowed", "False", "InsufficientPods", "", &time);
    }
    new["status"]["disruptedPods"][pod] = json!(time);
    Ok(new)
}

fn count(budget: &Value, field: &str) -> i64 {
    budget["status"][field].as_i64().unwrap_or(0)
}

fn violation() -> Status {
    Status::new(Reason::TooManyRequests, "Cannot evict pod as it would violate the pod's disruption budget.")
}

fn try_later(budget: &str) -> Status {
    let why = format!("The disruption budget {budget} is still being processed by the server.");
    violation().retry_after(10).with_cause("DisruptionBudget", &why, "")
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// The budgets whose selector takes the pod. No selector takes none, an empty one takes all.
fn budgets(api: &Api, namespace: &str, pod: &Object) -> Vec<Value> {
    let collection = Collection::new("policy", "poddisruptionbudgets");
    let query =
        ListQuery { collection: &collection, namespace: Some(namespace), at: None, after: None, limit: 0 };
    // The newest state is always there.
    let page = api.store.list(&query, |_| true).map(|page| page.objects).unwrap_or_default();
    let budgets = page.into_iter().map(|(_, budget)| budget.value());
    let takes = |budget: &Value| {
        let selector = &budget["spec"]["selector"];
        selector.is_object()
            && LabelSelector::parse(&LabelSelector::notation(selector))
                .is_ok_and(|selector| selector.matches(&pod.index))
    };
    budgets.filter(takes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i64, seen: i64) -> Value {
        json!({
            "metadata": {"name": "b", "generation": 2},
            "status": {"observedGeneration": seen, "disruptionsAllowed": allowed, "desiredHealthy": 2, "currentHealthy": 2},
        })
    }

    #[test]
    fn a_budget_gives_leave_while_it_has_some_and_says_why_when_it_has_none() {
        let taken = take(&budget(1, 2), "p").unwrap();
        assert_eq!(taken["status"]["disruptionsAllowed"], 0);
        assert!(taken["status"]["disruptedPods"]["p"].is_string());
        assert_eq!(taken["status"]["conditions"][0]["reason"], "InsufficientPods");
        let none = take(&budget(0, 2), "p").unwrap_err();
        assert_eq!(none.message, "Cannot evict pod as it would violate the pod's disruption budget.");
        assert_eq!(none.details.retry_after_seconds, 0);
        assert_eq!(
            none.details.causes[0].message,
            "The disruption budget b needs 2 healthy pods and has 2 currently"
        );
        let unseen = take(&budget(1, 1), "p").unwrap_err();
        assert_eq!(
            (unseen.details.retry_after_seconds, unseen.details.causes[0].message.as_str()),
            (10, "The disruption budget b is still being processed by the server.")
        );
    }
}
