//! Giving back what a pod had on disk. Nothing is deleted while anything is mounted below: behind a mount may lie the host.

use std::fs;
use std::io;
use std::path::PathBuf;

use nix::mount::{MntFlags, umount2};

use super::mounts::below;
use crate::edged::config::Settings;

/// Where a pod's containers leave their last words, in its directory: they are told as long as its object is there.
pub const LAST_WORDS: &str = "containers";

/// Unmounts everything of the pod and removes its directory. May be repeated. Blocks.
pub fn teardown(uid: &str, settings: &Settings) -> io::Result<()> {
    match unmounted(uid, settings)? {
        Some(dir) => remove(fs::remove_dir_all(dir)),
        None => Ok(()),
    }
}

/// Unmounts everything of the pod and removes all that it had but its containers' last words. May be repeated. Blocks.
pub fn release(uid: &str, settings: &Settings) -> io::Result<()> {
    let Some(dir) = unmounted(uid, settings)? else { return Ok(()) };
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() == LAST_WORDS {
            continue;
        }
        let path = entry.path();
        let is_folder = entry.file_type()?.is_dir();
        remove(if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) })?;
    }
    Ok(())
}

/// The directory of the pod, if it has one, with nothing mounted below.
fn unmounted(uid: &str, settings: &Settings) -> io::Result<Option<PathBuf>> {
    let dir = settings.pod_dir(uid);
    if uid.is_empty() || uid.contains('/') || uid.starts_with('.') || !dir.exists() {
        return Ok(None);
    }
    for point in below(&dir)?.iter().rev() {
        match umount2(point, MntFlags::empty()) {
            Ok(()) => {}
            // Somebody on the host still looks into it; it disappears when they are done.
            Err(nix::errno::Errno::EBUSY) => umount2(point, MntFlags::MNT_DETACH)?,
            Err(nix::errno::Errno::EINVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    if let Some(point) = below(&dir)?.first() {
        return Err(io::Error::other(format!("{} is still mounted", point.display())));
    }
    Ok(Some(dir))
}

/// What is gone already is removed.
fn remove(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
