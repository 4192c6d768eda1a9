//! A disk that is soon full.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

/// Mounts a tmpfs of `size` (`4m`, say) at `at`. The [`crate::Stack`] whose folder it lies in unmounts it.
///
/// # Errors
/// When it cannot be mounted.
pub fn small(at: &Path, size: &str) -> Result<()> {
    std::fs::create_dir_all(at)?;
    let options = format!("size={size}");
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status()?;
    ensure!(status.success(), "mount a tmpfs at {}", at.display());
    Ok(())
}

/// Takes all that is free on the disk; it is free again when the file that is returned is removed.
///
/// # Errors
/// When the file cannot be made.
pub fn fill(disk: &Path) -> Result<PathBuf> {
    let filler = disk.join("filler");
    let mut file = std::fs::File::create(&filler)?;
    while file.write_all(&[0; 4096]).is_ok() {}
    Ok(filler)
}
