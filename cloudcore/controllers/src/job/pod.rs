//! The pods of a job as they are made.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use kube::ResourceExt;

use super::shape::NewPod;
use super::view::{FAILURES, INDEX, TRACKING};
use crate::pods::control::from_template;

const VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// A pod's name may have 253 characters, 5 of them random (Kubernetes: `podGenerateNameWithIndex`).
const LONGEST_PREFIX: usize = 248;

/// A pod of `job`, tracked until it is counted.
pub(super) fn make(job: &Job, new: NewPod) -> Option<Pod> {
    let mut pod = from_template(job, &job.spec.as_ref()?.template);
    pod.finalizers_mut().push(TRACKING.to_owned());
    if let Some(index) = new.index {
        number(&mut pod, &job.name_any(), index);
    }
    if let Some(failures) = new.failures {
        pod.annotations_mut().insert(FAILURES.to_owned(), failures.to_string());
    }
    Some(pod)
}

fn number(pod: &mut Pod, job: &str, index: i32) {
    let suffix = format!("-{index}-");
    let name: String = job.chars().take(LONGEST_PREFIX - suffix.len()).collect();
    pod.metadata.generate_name = Some(format!("{name}{suffix}"));
    pod.annotations_mut().insert(INDEX.to_owned(), index.to_string());
    pod.labels_mut().insert(INDEX.to_owned(), index.to_string());
    let Some(spec) = &mut pod.spec else { return };
    spec.hostname = Some(format!("{job}-{index}"));
    spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()).for_each(tell_index);
}

/// Containers find their index in a variable, unless they have set that themselves.
fn tell_index(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == VARIABLE) {
        return;
    }
    let field =
        ObjectFieldSelector { api_version: None, field_path: format!("metadata.annotations['{INDEX}']") };
    variables.push(EnvVar {
        name: VARIABLE.to_owned(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
    });
}
