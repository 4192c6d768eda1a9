//! Giving back what a pod had on disk. Nothing is deleted while anything is mounted below: behind a mount may lie the host.

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{MntFlags, umount2};

use super::mounts::below;
use crate::edged::config::Settings;

/// Unmounts everything of the pod and removes its directory. May be repeated. Blocks.
pub fn teardown(uid: &str, settings: &Settings) -> io::Result<()> {
    let dir = settings.pod_dir(uid);
    if uid.is_empty() || uid.contains('/') || uid.starts_with('.') || !dir.exists() {
        return Ok(());
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
    remove(&dir)
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
