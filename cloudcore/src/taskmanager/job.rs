//! A job as the API has it, read once at the border.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::{Client, ResourceExt};
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::operations::{GROUP, ImagePrePullSpec, JobStatus, JobType, VERSION};
use proto::resource::{ObjectKey, Resource, ResourceKind};

/// KubeEdge's documented defaults; its own controllers do not apply them, and wait for ever.
const TIMEOUT_SECONDS: i64 = 300;
const TOLERATE: f64 = 0.1;
/// Attempts and nodes beyond these help nobody.
const CONCURRENCY_MAX: i64 = 10_000;

/// One job object.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub created: Timestamp,
    pub kind: JobType,
    /// What nodes are told: the whole spec.
    pub content: Content,
    /// What the spec means, or what is wrong with it.
    pub plan: Result<Plan, String>,
    pub status: JobStatus,
}

/// What a job's spec means for any kind of job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub targets: Targets,
    pub concurrency: usize,
    pub timeout_seconds: i64,
    /// Which part of the nodes may fail, 0 to 1.
    pub tolerate: f64,
    /// What nodes must read to do it.
    pub secret: Option<ObjectKey>,
    /// In words, for the events: `2 images`.
    pub subject: String,
}

/// Which nodes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Targets {
    Named(Vec<String>),
    Selected(LabelSelector),
}

// === impl Job ===

impl Job {
    /// The objects of the API.
    pub(super) fn api(client: &Client) -> Api<DynamicObject> {
        Api::all_with(client.clone(), &resource())
    }

    /// Reads an object; `None` for one without what every stored object has.
    pub(super) fn read(object: &DynamicObject) -> Option<Self> {
        let metadata = &object.metadata;
        let spec = object.data.get("spec").cloned().unwrap_or_default();
        let status = object.data.get("status").cloned().unwrap_or_default();
        let plan = match serde_json::from_value::<ImagePrePullSpec>(without_nulls(spec.clone())) {
            Ok(spec) => prepull(&spec),
            Err(error) => Err(format!("spec cannot be read: {error}")),
        };
        Some(Self {
            name: object.name_any(),
            uid: metadata.uid.clone()?,
            resource_version: metadata.resource_version.clone()?,
            created: metadata.creation_timestamp.as_ref()?.0,
            kind: JobType::ImagePrePull,
            content: Content::json(&spec).ok()?,
            plan,
            // A status of another shape is of another generation: the job begins anew.
            status: serde_json::from_value(without_nulls(status)).unwrap_or_default(),
        })
    }

    /// What a node is told.
    pub(super) fn task(&self, node: &str) -> Message {
        let resource = Resource::Task {
            job_type: self.kind.as_str().to_owned(),
            job: self.name.clone(),
            node: node.to_owned(),
        };
        let first = Operation::from(self.kind.flow().first().as_str());
        let route = Route::new(Source::TaskManager, Group::TaskManager, first, resource);
        Message::new(route, self.content.clone())
    }

    /// Whether `self` is a later version of the same object than `other`, as far as versions can be compared.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        let revision = |job: &Self| job.resource_version.parse::<u64>();
        self.uid != other.uid
            || match (revision(self), revision(other)) {
                (Ok(this), Ok(other)) => this >= other,
                _ => true,
            }
    }
}

/// How the API calls them.
pub(super) fn resource() -> ApiResource {
    ApiResource {
        group: GROUP.into(),
        version: VERSION.into(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: "ImagePrePullJob".into(),
        plural: "imageprepulljobs".into(),
    }
}

/// Go writes `null` for what is not set.
fn without_nulls(mut value: serde_json::Value) -> serde_json::Value {
    match &mut value {
        serde_json::Value::Null => serde_json::Value::Object(serde_json::Map::new()),
        serde_json::Value::Object(fields) => {
            let fields = std::mem::take(fields);
            let set = fields.into_iter().filter(|(_, value)| !value.is_null());
            serde_json::Value::Object(set.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        _ => value,
    }
}

fn prepull(spec: &ImagePrePullSpec) -> Result<Plan, String> {
    let template = &spec.image_pre_pull_template;
    let field = "spec.imagePrePullTemplate";
    if template.images.is_empty() {
        return Err(format!("{field}.images names no image"));
    }
    if let Some(unknown) =
        template.check_items.iter().find(|item| !matches!(item.as_str(), "cpu" | "mem" | "disk"))
    {
        return Err(format!("{field}.checkItems: {unknown:?} cannot be checked; use cpu, mem or disk"));
    }
    let targets = match (&template.node_names, &template.label_selector) {
        (names, None) if !names.is_empty() => Targets::Named(names.clone()),
        (names, Some(selector)) if names.is_empty() => Targets::Selected(selector.clone()),
        (_, Some(_)) => {
            return Err(format!(
                "{field} has both nodeNames and labelSelector: only one of them may say which nodes"
            ));
        }
        (_, None) => {
            return Err(format!(
                "{field} has neither nodeNames nor labelSelector: one of them must say which nodes"
            ));
        }
    };
    let tolerate = match template.failure_tolerate.as_str() {
        "" => TOLERATE,
        text => match text.parse::<f64>() {
            Ok(part) if (0.0..=1.0).contains(&part) => part,
            _ => return Err(format!("{field}.failureTolerate: {text:?} is no number between 0 and 1")),
        },
    };
    let secret = template.secret().map_err(|error| format!("{field}.{error}"))?;
    let images = template.images.len();
    Ok(Plan {
        targets,
        concurrency: usize::try_from(template.concurrency.clamp(1, CONCURRENCY_MAX)).unwrap_or(1),
        timeout_seconds: template.timeout_seconds.filter(|seconds| *seconds > 0).unwrap_or(TIMEOUT_SECONDS),
        tolerate,
        secret: secret
            .map(|secret| ObjectKey::namespaced(secret.namespace, ResourceKind::Secret, secret.name)),
        subject: format!("{images} image{}", if images == 1 { "" } else { "s" }),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(template: serde_json::Value) -> Result<Plan, String> {
        prepull(&serde_json::from_value(without_nulls(json!({"imagePrePullTemplate": template}))).unwrap())
    }

    #[test]
    fn what_go_leaves_as_null_has_its_documented_default() {
        let plan =
            plan(json!({"images": ["a"], "nodeNames": ["n"], "labelSelector": null, "timeoutSeconds": null}))
                .unwrap();
        assert_eq!((plan.timeout_seconds, plan.concurrency, plan.tolerate), (300, 1, 0.1));
        assert_eq!(plan.targets, Targets::Named(vec!["n".into()]));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_field_and_the_way_out() {
        let selector = json!({"matchLabels": {"a": "b"}});
        for (template, words) in [
            (json!({"nodeNames": ["n"]}), "images names no image"),
            (json!({"images": ["a"]}), "neither nodeNames nor labelSelector"),
            (
                json!({"images": ["a"], "nodeNames": ["n"], "labelSelector": selector}),
                "both nodeNames and labelSelector",
            ),
            (json!({"images": ["a"], "nodeNames": ["n"], "failureTolerate": "2"}), "failureTolerate: \"2\""),
            (
                json!({"images": ["a"], "nodeNames": ["n"], "imageSecrets": "regcred"}),
                "imageSecrets: \"regcred\"",
            ),
            (json!({"images": ["a"], "nodeNames": ["n"], "checkItems": ["gpu"]}), "checkItems: \"gpu\""),
        ] {
            let error = plan(template).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
