use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use procfs::process::Process;

/// Mount points below `place`, deepest first.
pub(crate) fn below(place: &Path) -> Vec<PathBuf> {
    let Ok(mounts) = Process::myself().and_then(|process| process.mountinfo()) else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        mounts.into_iter().map(|mount| mount.mount_point).filter(|point| point.starts_with(place)).collect();
    found.sort();
    found.reverse();
    found
}

/// Unmounts everything below `place`; what is busy is detached and goes when its last user does.
pub(crate) fn unmount_below(place: &Path) -> Vec<(PathBuf, Result<(), nix::errno::Errno>)> {
    below(place)
        .into_iter()
        .map(|point| {
            let done = umount2(&point, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH);
            (point, done)
        })
        .collect()
}
