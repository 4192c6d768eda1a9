//! Owns the volumes of pods on disk: making them ready, bringing their content up to date, giving them back.
//! May call: objects, downward (pure). Called by pod workers, on blocking threads.
//!
//! Everything lies below `<root>/pods/<uid>`, under the kubelet's own names, so a node that is switched over finds its
//! volumes. State is the disk itself: after a restart the same calls find what is there and change only what differs.

mod atomic;
mod claims;
mod hostpath;
mod mounts;
mod ownership;
mod payload;
mod subpath;
mod teardown;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, Volume};

use super::config::Settings;
use super::downward::Facts;
use super::objects::Objects;
use super::pod::{policy, resources};
use proto::quantity;

pub use claims::bound;
pub use mounts::{Mounted, for_container};
pub use payload::PayloadError;
pub use teardown::{LAST_WORDS, release, teardown};

/// What went wrong with a volume; shown in a `FailedMount` event.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Its content cannot be had (yet).
    #[error("volume {volume:?} : {source}")]
    Payload {
        /// The volume.
        volume: String,
        /// Why.
        source: PayloadError,
    },
    /// The file system refused.
    #[error("volume {volume:?} : {what} {}: {source}", path.display())]
    Io {
        /// The volume.
        volume: String,
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It asks for something that cannot be.
    #[error("volume {volume:?} : {reason}")]
    Refused {
        /// The volume.
        volume: String,
        /// What and what to do.
        reason: String,
    },
}

impl VolumeError {
    fn io<'a>(volume: &'a str, what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { volume: volume.to_owned(), what, path: path.to_owned(), source }
    }

    fn refused(volume: &str, reason: impl Into<String>) -> Self {
        Self::Refused { volume: volume.to_owned(), reason: reason.into() }
    }
}

/// Everything volumes are made from.
#[derive(Clone, Copy, Debug)]
pub struct Ingredients<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Config maps, secrets and tokens.
    pub objects: &'a Objects,
    /// What the downward API tells.
    pub facts: &'a Facts,
    /// The node's settings.
    pub settings: &'a Settings,
}

impl Ingredients<'_> {
    fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    fn fs_group(&self) -> Option<u32> {
        let context = policy::spec(self.pod).security_context.as_ref()?;
        context.fs_group.and_then(|group| u32::try_from(group).ok())
    }

    /// Where a volume of that kind lies, by the kubelet's naming.
    fn dir(&self, kind: &str, volume: &str) -> PathBuf {
        self.settings.pod_dir(self.uid()).join("volumes").join(format!("kubernetes.io~{kind}")).join(volume)
    }
}

/// Makes all volumes of the pod ready, or up to date. Writes nothing where nothing differs. Blocks.
pub fn sync(from: Ingredients<'_>) -> Result<(), VolumeError> {
    for volume in policy::spec(from.pod).volumes.iter().flatten() {
        // Names are validated by the API server; a pod that came another way must not escape its directory.
        if volume.name.is_empty() || volume.name.contains(['/', '.']) {
            return Err(VolumeError::refused(&volume.name, "not a legal volume name"));
        }
        one(from, volume)?;
    }
    Ok(())
}

fn one(from: Ingredients<'_>, volume: &Volume) -> Result<(), VolumeError> {
    if let Some(source) = &volume.host_path {
        return hostpath::check(&volume.name, source);
    }
    if let Some(source) = &volume.empty_dir {
        let dir = from.dir("empty-dir", &volume.name);
        return empty_dir(
            from,
            &volume.name,
            source.medium.as_deref(),
            source.size_limit.as_ref().map(|q| q.0.as_str()),
            &dir,
        );
    }
    if let Some(source) = &volume.persistent_volume_claim {
        return claims::sync(from, &volume.name, source);
    }
    let Some(files) = payload::of(from, volume)
        .map_err(|source| VolumeError::Payload { volume: volume.name.clone(), source })?
    else {
        let reason = "this kind of volume is not supported at the edge: use emptyDir, hostPath, configMap, secret, \
                      downwardAPI, projected or persistentVolumeClaim";
        return Err(VolumeError::refused(&volume.name, reason));
    };
    let dir = directory(from, volume).unwrap_or_default();
    make_dir(&volume.name, &dir, 0o755)?;
    if in_memory(volume) {
        tmpfs(&volume.name, &dir, 0o755, None)?;
    }
    atomic::write(&dir, &files, from.fs_group())
        .map_err(|(what, path, source)| VolumeError::Io { volume: volume.name.clone(), what, path, source })
        .map(drop)
}

/// The directory of a volume on the host, for those that have one of their own.
pub fn directory(from: Ingredients<'_>, volume: &Volume) -> Option<PathBuf> {
    if let Some(source) = &volume.persistent_volume_claim {
        return claims::backing(from, &volume.name, source).ok().map(|backing| backing.path().to_owned());
    }
    let kind = if volume.empty_dir.is_some() {
        "empty-dir"
    } else if volume.config_map.is_some() {
        "configmap"
    } else if volume.secret.is_some() {
        "secret"
    } else if volume.downward_api.is_some() {
        "downward-api"
    } else if volume.projected.is_some() {
        "projected"
    } else {
        return volume.host_path.as_ref().map(|source| PathBuf::from(&source.path));
    };
    Some(from.dir(kind, &volume.name))
}

/// Whether containers may only read the volume, whatever their mounts say.
fn is_read_only(volume: &Volume) -> bool {
    volume.persistent_volume_claim.as_ref().is_some_and(|source| source.read_only == Some(true))
}

/// Secrets must not reach a disk, nor should tokens that change every hour.
fn in_memory(volume: &Volume) -> bool {
    volume.secret.is_some() || volume.projected.is_some()
}

fn empty_dir(
    from: Ingredients<'_>,
    name: &str,
    medium: Option<&str>,
    limit: Option<&str>,
    dir: &Path,
) -> Result<(), VolumeError> {
    let fresh = !dir.exists();
    make_dir(name, dir, 0o777)?;
    match medium {
        None | Some("") => {}
        Some("Memory") => {
            let limit = limit.map(quantity::whole).transpose();
            let limit = limit.map_err(|error| VolumeError::refused(name, format!("sizeLimit: {error}")))?;
            tmpfs(name, dir, 0o777, Some(memory_size(from, limit)))?;
        }
        Some(other) => {
            let reason = format!("medium {other} is not supported: leave it empty or use Memory");
            return Err(VolumeError::refused(name, reason));
        }
    }
    match from.fs_group() {
        Some(group) if fresh => {
            ownership::give_to_group(dir, group).map_err(VolumeError::io(name, "change the group of", dir))
        }
        _ => Ok(()),
    }
}

/// Size of a volume in memory, in bytes: what it may have, unless its pod or the node has less (Kubernetes v1.36
/// `calculateEmptyDirMemorySize`).
fn memory_size(from: Ingredients<'_>, limit: Option<i64>) -> i64 {
    [resources::memory_limit(from.pod), limit]
        .into_iter()
        .flatten()
        .filter(|bytes| *bytes > 0)
        .fold(from.facts.memory, i64::min)
}

/// Makes a directory with exactly this mode, whatever the umask.
fn make_dir(volume: &str, dir: &Path, mode: u32) -> Result<(), VolumeError> {
    use std::os::unix::fs::PermissionsExt;
    if dir.is_dir() {
        return Ok(());
    }
    let run = || {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(mode))
    };
    run().map_err(VolumeError::io(volume, "make the directory", dir))
}

/// Mounts memory there unless that was done before.
fn tmpfs(volume: &str, dir: &Path, mode: u32, limit: Option<i64>) -> Result<(), VolumeError> {
    use nix::mount::{MsFlags, mount};
    let fail = |source: io::Error| VolumeError::io(volume, "mount memory on", dir)(source);
    if mounts::below(dir).map_err(fail)?.iter().any(|point| point == dir) {
        return Ok(());
    }
    let size = limit.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
    let options = format!("mode={mode:o}{size}");
    mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|errno| VolumeError::io(volume, "mount memory on", dir)(errno.into()))
}
