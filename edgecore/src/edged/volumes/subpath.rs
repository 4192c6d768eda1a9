//! `subPath`: a part of a volume, pinned by a bind mount so that nobody inside the volume can swap it for a symlink to
//! the host between the check and the use. The kernel (`openat2`, `RESOLVE_BENEATH`) does the checking.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};

use super::VolumeError;

/// Pins `sub` of the volume at `source` below `place`; returns the path to give to the runtime.
pub(super) fn pin(
    volume: &str,
    source: &Path,
    sub: &Path,
    place: &Path,
    index: usize,
) -> Result<PathBuf, VolumeError> {
    let wanted = source.join(sub);
    let fail = |what: &'static str| {
        let wanted = wanted.clone();
        move |errno: Errno| VolumeError::Io {
            volume: volume.to_owned(),
            what,
            path: wanted,
            source: errno.into(),
        }
    };
    let root = fs::File::open(source).map_err(VolumeError::io(volume, "open", source))?;
    let part = open(&root.into(), sub).map_err(fail("open the subPath"))?;
    let target = place.join(index.to_string());
    release(&target).map_err(VolumeError::io(volume, "unmount", &target))?;
    let directory =
        nix::sys::stat::fstat(&part).map_err(fail("look at the subPath"))?.st_mode & 0o170_000 == 0o040_000;
    let made = match directory {
        true => fs::create_dir_all(&target),
        false => fs::create_dir_all(place).and_then(|()| fs::File::create(&target).map(drop)),
    };
    made.map_err(VolumeError::io(volume, "make the mount point", &target))?;
    let pinned = format!("/proc/self/fd/{}", part.as_raw_fd());
    mount(Some(pinned.as_str()), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(fail("bind the subPath"))?;
    Ok(target)
}

/// Opens a path that must stay below `root`, making directories that are missing.
fn open(root: &OwnedFd, sub: &Path) -> nix::Result<OwnedFd> {
    match resolve(root, sub) {
        Err(Errno::ENOENT) => {
            let mut so_far = PathBuf::new();
            for part in sub.components() {
                let Component::Normal(name) = part else { continue };
                let parent = if so_far.as_os_str().is_empty() { Path::new(".") } else { so_far.as_path() };
                let dir = resolve(root, parent)?;
                match mkdirat(&dir, name, Mode::from_bits_truncate(0o750)) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno),
                }
                so_far.push(name);
            }
            resolve(root, sub)
        }
        other => other,
    }
}

fn resolve(root: &OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how)
}

/// Takes away what an earlier start of the container had pinned there.
fn release(target: &Path) -> io::Result<()> {
    loop {
        match umount2(target, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    match fs::symlink_metadata(target) {
        Ok(meta) if meta.is_dir() => fs::remove_dir(target),
        Ok(_) => fs::remove_file(target),
        Err(_) => Ok(()),
    }
}
