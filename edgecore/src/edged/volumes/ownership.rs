//! `fsGroup`: the volume's files belong to a group that all containers of the pod are in.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

/// Gives everything below to the group, which may read and write.
pub(super) fn give_to_group(path: &Path, group: u32) -> io::Result<()> {
    walk(path, group, 0o060)
}

/// Gives everything below to the group, which may read.
pub(super) fn give_read_only(path: &Path, group: u32) -> io::Result<()> {
    walk(path, group, 0o040)
}

fn walk(path: &Path, group: u32, bits: u32) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    lchown(path, None, Some(group))?;
    if meta.file_type().is_symlink() {
        return Ok(());
    }
    let mut mode = meta.permissions().mode() | bits;
    if meta.is_dir() {
        // New files inherit the group.
        mode |= 0o2010;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), group, bits)?;
        }
    }
    Ok(())
}
