//! The pods of a stateful set: each has its number, its name and its volumes for good.
//!
//! Source: Kubernetes v1.36 `pkg/controller/statefulset/stateful_set_utils.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use kube::ResourceExt;

use super::plan::Revision;
use crate::history::POD_LABEL;
use crate::pods::control::from_template;

const NAME: &str = "statefulset.kubernetes.io/pod-name";
const INDEX: &str = "apps.kubernetes.io/pod-index";

/// The number at the end of the name of one of the set's pods.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let name = pod.name_any();
    let number = name.strip_prefix(&set.name_any())?.strip_prefix('-')?;
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| plain)
}

/// The labels that tell which pod of the set one is.
pub(super) fn identity(set: &StatefulSet, ordinal: i32) -> BTreeMap<String, String> {
    [(NAME.to_owned(), format!("{}-{ordinal}", set.name_any())), (INDEX.to_owned(), ordinal.to_string())]
        .into()
}

/// The pod of a number, as `revision` has it.
pub(super) fn make(set: &StatefulSet, revision: &Revision, ordinal: i32) -> Pod {
    let mut pod = from_template(set, &revision.template);
    let name = format!("{}-{ordinal}", set.name_any());
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    pod.labels_mut().extend(identity(set, ordinal));
    pod.labels_mut().insert(POD_LABEL.to_owned(), revision.name.clone());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    spec.subdomain =
        set.spec.as_ref().and_then(|spec| spec.service_name.clone()).filter(|name| !name.is_empty());
    let claims = claims(set, ordinal);
    let volumes = spec.volumes.get_or_insert_default();
    volumes.retain(|volume| !claims.iter().any(|(template, _)| *template == volume.name));
    volumes.extend(claims.into_iter().map(|(name, claim)| Volume {
        name,
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.name_any(),
            read_only: Some(false),
        }),
        ..Volume::default()
    }));
    if volumes.is_empty() {
        spec.volumes = None;
    }
    pod
}

/// The claims of a pod, by the name of their template.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<(String, PersistentVolumeClaim)> {
    let Some(spec) = &set.spec else { return Vec::new() };
    let templates = spec.volume_claim_templates.iter().flatten();
    let made = templates.map(|template| {
        let name = template.name_any();
        let mut claim =
            PersistentVolumeClaim { spec: template.spec.clone(), ..PersistentVolumeClaim::default() };
        claim.metadata.name = Some(format!("{name}-{}-{ordinal}", set.name_any()));
        claim.metadata.namespace = set.namespace();
        claim.metadata.labels = template.metadata.labels.clone();
        claim.metadata.annotations = template.metadata.annotations.clone();
        claim.labels_mut().extend(spec.selector.match_labels.clone().unwrap_or_default());
        (name, claim)
    });
    made.collect()
}

/// The template that a set has now.
pub(super) fn template(set: &StatefulSet) -> PodTemplateSpec {
    set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default()
}
