//! `persistentVolumeClaim`: from the claim to the volume that it is bound to, to the directory of this machine behind it.
//! The words are the kubelet's (Kubernetes v1.36 pkg/kubelet/volumemanager/populator, pkg/volume/local).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, NodeSelectorRequirement, PersistentVolume, PersistentVolumeClaim,
    PersistentVolumeClaimVolumeSource,
};

use super::{Ingredients, VolumeError, hostpath, ownership};
use crate::edged::objects::Absent;

/// What lies behind a claim.
#[derive(Debug, PartialEq)]
pub(super) struct Backing {
    source: Source,
}

#[derive(Debug, PartialEq)]
enum Source {
    HostPath(HostPathVolumeSource),
    /// A directory that is of this machine alone.
    Local(PathBuf),
}

/// Makes the volume behind the claim ready.
pub(super) fn sync(
    from: Ingredients<'_>,
    volume: &str,
    claim: &PersistentVolumeClaimVolumeSource,
) -> Result<(), VolumeError> {
    match backing(from, volume, claim)?.source {
        // Others on this machine use it too: it is given to no group.
        Source::HostPath(source) => hostpath::check(volume, &source),
        Source::Local(path) => {
            let meta = match fs::metadata(&path) {
                Ok(meta) => meta,
                Err(_) => {
                    let reason = format!("path {:?} does not exist", path.display().to_string());
                    return Err(VolumeError::refused(volume, reason));
                }
            };
            if !meta.is_dir() {
                let reason = format!(
                    "local volume {:?} is no directory: mount the disk and name where",
                    path.display().to_string()
                );
                return Err(VolumeError::refused(volume, reason));
            }
            match from.fs_group() {
                Some(group) if !belongs_to(&meta, group) => ownership::give_to_group(&path, group)
                    .map_err(VolumeError::io(volume, "change the group of", &path)),
                _ => Ok(()),
            }
        }
    }
}

/// Whether its root shows that the group was given all of it before: a large volume is walked once.
fn belongs_to(meta: &fs::Metadata, group: u32) -> bool {
    meta.gid() == group && meta.permissions().mode() & 0o2070 == 0o2070
}

/// The volume behind the claim.
pub(super) fn backing(
    from: Ingredients<'_>,
    volume: &str,
    source: &PersistentVolumeClaimVolumeSource,
) -> Result<Backing, VolumeError> {
    let name = &source.claim_name;
    let namespace = from.pod.metadata.namespace.as_deref().unwrap_or_default();
    let refuse = |reason: String| {
        VolumeError::refused(volume, format!("error processing PVC {namespace}/{name}: {reason}"))
    };
    let fetch = |words: String| refuse(format!("failed to fetch PVC from API server: {words}"));
    let found = from.objects.claim(name).map_err(|absent| match absent {
        Absent::NotFound => fetch(format!("persistentvolumeclaim {name:?} not found")),
        other => fetch(other.words()),
    })?;
    let claim = &found.claim;
    let Some(pv_name) = bound(claim) else { return Err(refuse("PVC is not bound".into())) };
    let pv = match &found.volume {
        Some(Ok(pv)) => pv,
        Some(Err(absent)) => {
            let words = match absent {
                Absent::NotFound => format!("persistentvolume {pv_name:?} not found"),
                other => other.clone().words(),
            };
            return Err(refuse(format!("failed to fetch PV {pv_name:?} from API server: {words}")));
        }
        None => return Err(refuse(format!("PV {pv_name:?} was not fetched yet"))),
    };
    let spec = pv.spec.as_ref();
    let owner = spec.and_then(|spec| spec.claim_ref.as_ref()).and_then(|owner| owner.uid.as_deref());
    if owner != claim.metadata.uid.as_deref() {
        return Err(refuse(format!("PV {pv_name:?} is bound to another claim")));
    }
    if spec.and_then(|spec| spec.volume_mode.as_deref()) == Some("Block") {
        return Err(refuse("volumeMode Block is not supported at the edge: use Filesystem".into()));
    }
    if !fits(pv, &from.objects.node_labels) {
        return Err(refuse(format!(
            "MountVolume.NodeAffinity check failed for volume {pv_name:?}: no matching NodeSelectorTerms"
        )));
    }
    let source = spec.and_then(|spec| match (&spec.host_path, &spec.local) {
        (Some(source), _) => Some(Source::HostPath(source.clone())),
        (_, Some(local)) => Some(Source::Local(PathBuf::from(&local.path))),
        _ => None,
    });
    let Some(source) = source else {
        let kind = kind(pv);
        return Err(refuse(format!(
            "PV {pv_name:?} is of type {kind}, which is not supported at the edge: use hostPath or local"
        )));
    };
    Ok(Backing { source })
}

impl Backing {
    /// Where it is on this machine.
    pub(super) fn path(&self) -> &Path {
        match &self.source {
            Source::HostPath(source) => Path::new(&source.path),
            Source::Local(path) => path,
        }
    }
}

/// The volume that the claim is bound to; before that it may not be used.
pub fn bound(claim: &PersistentVolumeClaim) -> Option<&str> {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    name.filter(|name| !name.is_empty() && phase == Some("Bound"))
}

/// The field of the spec that says what kind of volume it is.
fn kind(pv: &PersistentVolume) -> String {
    const COMMON: [&str; 9] = [
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    let spec = serde_json::to_value(&pv.spec).unwrap_or_default();
    let mut fields = spec.as_object().into_iter().flat_map(|fields| fields.keys());
    fields.find(|field| !COMMON.contains(&field.as_str())).cloned().unwrap_or_else(|| "unknown".into())
}

/// Whether the volume may be used on a node with these labels.
fn fits(pv: &PersistentVolume, labels: &BTreeMap<String, String>) -> bool {
    let affinity = pv.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let Some(required) = affinity.and_then(|affinity| affinity.required.as_ref()) else { return true };
    required.node_selector_terms.iter().any(|term| {
        let expressions = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        // The only field there is the node's name, which is a label too.
        let host = |field: &NodeSelectorRequirement| {
            field.key == "metadata.name" && matches(&renamed(field), labels)
        };
        !(expressions.is_empty() && fields.is_empty())
            && expressions.iter().all(|expression| matches(expression, labels))
            && fields.iter().all(host)
    })
}

fn renamed(field: &NodeSelectorRequirement) -> NodeSelectorRequirement {
    NodeSelectorRequirement { key: "kubernetes.io/hostname".into(), ..field.clone() }
}

fn matches(requirement: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let label = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let compare = |holds: fn(i64, i64) -> bool| {
        let numbers =
            label.and_then(|label| label.parse().ok()).zip(values.first().and_then(|v| v.parse().ok()));
        numbers.is_some_and(|(label, value)| holds(label, value))
    };
    match requirement.operator.as_str() {
        "In" => label.is_some_and(|label| values.contains(label)),
        "NotIn" => label.is_none_or(|label| !values.contains(label)),
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        "Gt" => compare(|label, value| label > value),
        "Lt" => compare(|label, value| label < value),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
