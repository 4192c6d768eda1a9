//! Which host paths a container gets to see, and where.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use k8s_cri::v1::{Mount, MountPropagation};
use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::{Ingredients, VolumeError, directory, is_read_only, subpath};
use crate::edged::pod::env;
use crate::edged::pod::policy;

/// The mounts of a container's volumes.
pub type Mounted = Vec<Mount>;

/// Mounts for the volumes of a container; sub-paths are pinned on the way. `environment` expands `subPathExpr`. Blocks.
pub fn for_container(
    from: Ingredients<'_>,
    container: &Container,
    environment: &BTreeMap<String, String>,
) -> Result<Mounted, VolumeError> {
    let volumes = policy::spec(from.pod).volumes.as_deref().unwrap_or_default();
    let mut all = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let volume = volumes
            .iter()
            .find(|volume| volume.name == mount.name)
            .ok_or_else(|| VolumeError::refused(&mount.name, "is mounted but not among the pod's volumes"))?;
        let source = directory(from, volume).ok_or_else(|| {
            VolumeError::refused(&mount.name, "this kind of volume is not supported at the edge")
        })?;
        let sub = sub_path(mount, environment)?;
        let host_path = match &sub {
            None => source,
            Some(sub) => {
                let place = from.settings.pod_dir(from.uid()).join("volume-subpaths").join(&mount.name);
                subpath::pin(&mount.name, &source, sub, &place.join(&container.name), index)?
            }
        };
        all.push(Mount {
            container_path: inside(&mount.mount_path),
            host_path: host_path.to_string_lossy().into_owned(),
            readonly: mount.read_only.unwrap_or(false) || is_read_only(volume),
            propagation: match mount.mount_propagation.as_deref() {
                Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
                Some("Bidirectional") => MountPropagation::PropagationBidirectional,
                _ => MountPropagation::PropagationPrivate,
            } as i32,
            ..Mount::default()
        });
    }
    Ok(all)
}

/// A relative mount path counts from the root.
fn inside(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn sub_path(
    mount: &VolumeMount,
    environment: &BTreeMap<String, String>,
) -> Result<Option<PathBuf>, VolumeError> {
    let text = match (mount.sub_path.as_deref(), mount.sub_path_expr.as_deref()) {
        (Some(plain), _) if !plain.is_empty() => plain.to_owned(),
        (_, Some(expression)) if !expression.is_empty() => env::expand(expression, environment),
        _ => return Ok(None),
    };
    let path = PathBuf::from(&text);
    let legal = path.is_relative() && !path.components().any(|part| part == std::path::Component::ParentDir);
    match legal && !text.contains("$(") {
        true => Ok(Some(path)),
        false => {
            let reason =
                format!("subPath {text:?} must be relative, without .. and without unknown variables");
            Err(VolumeError::refused(&mount.name, reason))
        }
    }
}

/// Mount points at or below `dir`, outer ones first.
pub(super) fn below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let list = procfs::process::Process::myself().and_then(|me| me.mountinfo()).map_err(io::Error::other)?;
    Ok(list.0.into_iter().map(|mount| mount.mount_point).filter(|point| point.starts_with(dir)).collect())
}
