//! The group `apps`, and replication controllers, which are its ancestors. What all of them share: a selector that must match
//! the labels of a pod template.

mod daemonset;
mod deployment;
mod replicaset;
mod statefulset;

use std::borrow::Cow;

use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::{Value, json};

use super::checks;
use super::core::pod;
use super::descriptor::Descriptor;
use crate::schema::{Errors, Json, Path};
use crate::table;

pub(super) use replicaset::REPLICATION_CONTROLLER;

/// The kinds of `apps/v1`, by name.
pub(super) const KINDS: &[Descriptor] = &[
    Descriptor { printer: table::CONTROLLER_REVISION, ..Descriptor::of::<ControllerRevision>() },
    daemonset::DAEMON_SET,
    deployment::DEPLOYMENT,
    replicaset::REPLICA_SET,
    statefulset::STATEFUL_SET,
];

/// Defaults of the pod template in `spec.template`.
pub(super) fn default_template(workload: &mut Value) {
    if let Some(template) = workload.child("spec").and_then(|spec| spec.child("template")) {
        pod::default_template(template);
    }
}

/// Rules for selector, template and replicas.
fn validate_workload(workload: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    not_negative(workload, "replicas", errors);
    not_negative(workload, "minReadySeconds", errors);
    not_negative(workload, "revisionHistoryLimit", errors);
    selector(workload, &spec, errors);
    let template = spec.field("template");
    let body = workload.pointer("/spec/template").unwrap_or(&Value::Null);
    pod::validate_template(&with_claims(workload, body), &template, errors);
    let policy = body.text("/spec/restartPolicy");
    if !matches!(policy, "Always" | "") {
        let spec = template.field("spec");
        errors.not_supported(&spec.field("restartPolicy"), policy, &["Always"]);
    }
    if body.has("/spec/activeDeadlineSeconds") {
        let spec = template.field("spec");
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.forbidden(&spec.field("activeDeadlineSeconds"), detail);
    }
}

/// The template with a volume for each claim template: mounts may refer to both.
fn with_claims<'v>(workload: &Value, template: &'v Value) -> Cow<'v, Value> {
    let claims = workload.list("/spec/volumeClaimTemplates");
    if claims.is_empty() {
        return Cow::Borrowed(template);
    }
    let mut template = template.clone();
    if let Some(spec) = template.child("spec") {
        spec.default_to("volumes", Vec::<Value>::new());
        if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
            for name in claims.iter().map(|claim| claim.text("/metadata/name")) {
                if !name.is_empty() && !volumes.iter().any(|volume| volume.text("/name") == name) {
                    volumes.push(json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
                }
            }
        }
    }
    Cow::Owned(template)
}

fn not_negative(workload: &Value, field: &str, errors: &mut Errors) {
    if let Some(number) = workload.int(&format!("/spec/{field}"))
        && number < 0
    {
        let root = Path::Root;
        let spec = root.field("spec");
        errors.invalid(&spec.field(field), number, "must be greater than or equal to 0");
    }
}

fn selector(workload: &Value, spec: &Path<'_>, errors: &mut Errors) {
    let path = spec.field("selector");
    let Some(selector) = workload.pointer("/spec/selector") else { return errors.required(&path, "") };
    let labels = selector.object("/matchLabels");
    let expressions = selector.list("/matchExpressions");
    if labels.is_none_or(serde_json::Map::is_empty) && expressions.is_empty() {
        let kind = match workload.text("/kind") {
            "DaemonSet" => "daemonset",
            "StatefulSet" => "statefulset",
            _ => "deployment",
        };
        return errors.invalid(&path, selector.clone(), &format!("empty selector is invalid for {kind}"));
    }
    checks::selector(selector, &path, errors);
    let template = workload.pointer("/spec/template/metadata/labels");
    let empty = Value::Null;
    if !matches(selector, template.unwrap_or(&empty)) {
        let template_path = spec.field("template");
        let meta = template_path.field("metadata");
        let value = template.cloned().unwrap_or_default();
        errors.invalid(&meta.field("labels"), value, "`selector` does not match template `labels`");
    }
}

/// Whether a label selector matches labels.
pub(super) fn matches(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let wanted = selector.object("/matchLabels").into_iter().flatten();
    let all = wanted.into_iter().all(|(key, value)| label(key) == value.as_str());
    all && selector.list("/matchExpressions").iter().all(|one| {
        let value = label(one.text("/key"));
        let listed = value.is_some_and(|value| one.list("/values").iter().any(|other| other == value));
        match one.text("/operator") {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    })
}

/// How fast a rolling update goes: whole numbers or percentages.
fn rolling(strategy: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.field("rollingUpdate");
    for field in ["maxUnavailable", "maxSurge"] {
        if let Some(value) = strategy.get("rollingUpdate").and_then(|all| all.get(field)) {
            checks::share(value, &path.field(field), errors);
            if field == "maxUnavailable" {
                checks::at_most_all(value, &path.field(field), errors);
            }
        }
    }
}

/// The selector decides which pods are whose: it never changes.
fn validate_selector_update(old: &Value, new: &Value, errors: &mut Errors) {
    let (before, after) = (old.pointer("/spec/selector"), new.pointer("/spec/selector"));
    if before != after {
        let root = Path::Root;
        let spec = root.field("spec");
        errors.invalid(&spec.field("selector"), after.cloned().unwrap_or_default(), "field is immutable");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(spec: Value) -> Vec<String> {
        let mut deployment = json!({"metadata": {"name": "d"}, "spec": spec});
        (deployment::DEPLOYMENT.default)(&mut deployment);
        let mut errors = Errors::default();
        (deployment::DEPLOYMENT.validate)(&deployment, &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_selector_must_match_the_template() {
        let spec = json!({"selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}});
        assert_eq!(
            wrong(spec),
            [
                "spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`"
            ]
        );
    }

    #[test]
    fn everything_wrong_with_a_deployment_is_said_at_once() {
        let spec = json!({"replicas": -1, "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c"}]}}});
        assert_eq!(
            wrong(spec),
            [
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.template.spec.containers[0].image: Required value"
            ]
        );
    }

    #[test]
    fn a_stateful_set_mounts_its_volumes_and_its_claims_and_nothing_else() {
        let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}")});
        let mut set = json!({"metadata": {"name": "s"}, "spec": {
            "selector": {"matchLabels": {"app": "a"}}, "updateStrategy": {"type": "RollingUpdate"},
            "volumeClaimTemplates": [{"metadata": {"name": "www"}, "spec": {}}],
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {
                "volumes": [{"name": "tmp"}],
                "containers": [{"name": "c", "image": "x", "volumeMounts": [mount("www"), mount("tmp"), mount("nope")]}],
            }},
        }});
        (statefulset::STATEFUL_SET.default)(&mut set);
        let mut errors = Errors::default();
        (statefulset::STATEFUL_SET.validate)(&set, &mut errors);
        let wrong: Vec<_> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(wrong, ["spec.template.spec.containers[0].volumeMounts[2].name: Not found: \"nope\""]);
    }

    #[test]
    fn a_selector_with_expressions_is_understood() {
        let selector = json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}, {"key": "b", "operator": "DoesNotExist"}]});
        assert!(matches(&selector, &json!({"a": "2"})));
        assert!(!matches(&selector, &json!({"a": "3"})));
        assert!(!matches(&selector, &json!({"a": "1", "b": ""})));
    }
}
