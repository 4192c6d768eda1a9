//! `spec.podFailurePolicy`: what the failure of one pod means for the job.
//!
//! Source: Kubernetes v1.36 `pkg/controller/job/pod_failure_policy.go`.

use k8s_openapi::api::batch::v1::{
    Job, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::ResourceExt;

use crate::pods::condition;

/// What a rule says about a failed pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Action {
    /// It counts towards the limit; what holds without a policy.
    Count,
    /// It counts not at all.
    Ignore,
    /// Its index is not tried again.
    FailIndex,
    /// The job has failed, for this reason.
    FailJob(String),
}

/// The first rule's word that fits a failed pod.
pub(super) fn action(job: &Job, pod: &Pod) -> Action {
    let rules = job.spec.as_ref().and_then(|spec| spec.pod_failure_policy.as_ref());
    for (index, rule) in rules.map(|policy| policy.rules.as_slice()).unwrap_or_default().iter().enumerate() {
        let by_exit_code = rule.on_exit_codes.as_ref().and_then(|wanted| by_exit_code(wanted, pod));
        let by_condition = || rule.on_pod_conditions.as_ref().and_then(|wanted| by_condition(wanted, pod));
        let Some(why) = by_exit_code.or_else(by_condition) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Action::Ignore,
            "FailIndex" => Action::FailIndex,
            "FailJob" => Action::FailJob(format!("{why} matching {} rule at index {index}", rule.action)),
            _ => Action::Count,
        };
    }
    Action::Count
}

fn by_exit_code(wanted: &PodFailurePolicyOnExitCodesRequirement, pod: &Pod) -> Option<String> {
    let fits = |code: i32| match wanted.operator.as_str() {
        "In" => wanted.values.contains(&code),
        "NotIn" => !wanted.values.contains(&code),
        _ => false,
    };
    let named = |name: &str| wanted.container_name.as_deref().is_none_or(|wanted| wanted == name);
    let (name, ended) =
        ended(pod).find(|(name, ended)| named(name) && ended.exit_code != 0 && fits(ended.exit_code))?;
    let (namespace, pod) = (pod.namespace().unwrap_or_default(), pod.name_any());
    Some(format!("Container {name} for pod {namespace}/{pod} failed with exit code {}", ended.exit_code))
}

fn by_condition(wanted: &[PodFailurePolicyOnPodConditionsPattern], pod: &Pod) -> Option<String> {
    let fits = |one: &&PodFailurePolicyOnPodConditionsPattern| {
        let status = one.status.as_deref().unwrap_or("True");
        condition(pod, &one.type_).is_some_and(|condition| condition.status == status)
    };
    let one = wanted.iter().find(fits)?;
    Some(format!(
        "Pod {}/{} has condition {}",
        pod.namespace().unwrap_or_default(),
        pod.name_any(),
        one.type_
    ))
}

/// The containers of a pod that ended, by name.
pub(super) fn ended(pod: &Pod) -> impl Iterator<Item = (&str, &ContainerStateTerminated)> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
    let main = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    main.iter()
        .chain(init)
        .filter_map(|one| Some((one.name.as_str(), one.state.as_ref()?.terminated.as_ref()?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job() -> Job {
        serde_json::from_value(json!({"spec": {"template": {}, "podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [1, 42]}},
        ]}}}))
        .unwrap()
    }

    fn pod(container: &str, code: i32, disrupted: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "status": {
            "phase": "Failed",
            "conditions": [{"type": "DisruptionTarget", "status": disrupted}],
            "containerStatuses": [{"name": container, "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": code}}}],
        }}))
        .unwrap()
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let says = |container, code, disrupted| action(&job(), &pod(container, code, disrupted));
        assert_eq!(says("main", 42, "True"), Action::Ignore);
        let why = "Container main for pod n/p failed with exit code 42 matching FailJob rule at index 1";
        assert_eq!(says("main", 42, "False"), Action::FailJob(why.to_owned()));
        assert_eq!(says("side", 42, "False"), Action::Count);
        assert_eq!(says("main", 7, "False"), Action::FailIndex);
        assert_eq!(says("main", 1, "False"), Action::Count);
        assert_eq!(says("main", 0, "False"), Action::Count);
    }
}
