//! Content that changes all at once, laid out as the kubelet lays it out: files in a timestamped directory, a symlink
//! `..data` to it that is swapped by rename, and one symlink per visible name into `..data`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use super::ownership;

/// One file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Content.
    pub data: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner, where one was asked for.
    pub owner: Option<u32>,
}

/// Files by their path below the volume.
pub(super) type Files = BTreeMap<PathBuf, File>;

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// What was tried, on which path, and the system's answer.
type Failure = (&'static str, PathBuf, io::Error);

fn at<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Failure + 'a {
    move |error| (what, path.to_owned(), error)
}

/// Whether a path stays below the volume and does not collide with the writer's own names.
pub(super) fn is_legal(path: &Path) -> bool {
    let mut parts = path.components();
    let first = parts.clone().next();
    let own = matches!(first, Some(Component::Normal(name)) if name.to_string_lossy().starts_with(".."));
    !own && first.is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Makes the volume contain exactly these files. Returns whether anything was written.
pub(super) fn write(dir: &Path, files: &Files, group: Option<u32>) -> Result<bool, Failure> {
    let link = dir.join(DATA);
    let old = fs::read_link(&link).ok().map(|target| dir.join(target));
    if old.as_ref().is_some_and(|old| same(old, files)) {
        return Ok(false);
    }
    let fresh = new_directory(dir)?;
    for (path, file) in files {
        let path = fresh.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(at("make the directory", parent))?;
        }
        fs::write(&path, &file.data).map_err(at("write", &path))?;
        if let Some(owner) = file.owner {
            std::os::unix::fs::chown(&path, Some(owner), None).map_err(at("change the owner of", &path))?;
        }
        let mode = file.mode | if group.is_some() { 0o440 } else { 0 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(at("set the mode of", &path))?;
    }
    if let Some(group) = group {
        ownership::give_read_only(&fresh, group).map_err(at("change the group of", &fresh))?;
    }
    let next = dir.join(DATA_NEXT);
    fs::remove_file(&next).or_else(missing_is_fine).map_err(at("remove", &next))?;
    let name = fresh.file_name().map(PathBuf::from).unwrap_or_default();
    symlink(&name, &next).map_err(at("link", &next))?;
    fs::rename(&next, &link).map_err(at("swap", &link))?;
    show(dir, files)?;
    if let Some(old) = old.filter(|old| *old != fresh) {
        fs::remove_dir_all(&old).or_else(missing_is_fine).map_err(at("remove", &old))?;
    }
    Ok(true)
}

fn missing_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn new_directory(dir: &Path) -> Result<PathBuf, Failure> {
    let now = jiff::Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    loop {
        let path = dir.join(format!("{now}.{}", fastrand::u32(..)));
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(("make the directory", path, error)),
            Ok(()) => {
                let open = fs::Permissions::from_mode(0o755);
                fs::set_permissions(&path, open).map_err(at("set the mode of", &path))?;
                return Ok(path);
            }
        }
    }
}

/// Links every top-level name into `..data` and removes links to names that are gone.
fn show(dir: &Path, files: &Files) -> Result<(), Failure> {
    let visible: BTreeSet<PathBuf> = files
        .keys()
        .filter_map(|path| path.components().next())
        .map(|first| PathBuf::from(first.as_os_str()))
        .collect();
    for name in &visible {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link).map_err(at("link", &link))?;
        }
    }
    for entry in fs::read_dir(dir).map_err(at("list", dir))?.flatten() {
        let name = PathBuf::from(entry.file_name());
        if !name.to_string_lossy().starts_with("..") && !visible.contains(&name) {
            let path = entry.path();
            fs::remove_file(&path).map_err(at("remove", &path))?;
        }
    }
    Ok(())
}

/// Whether the directory holds exactly these files already.
fn same(dir: &Path, files: &Files) -> bool {
    let Ok(present) = list(dir, dir) else { return false };
    present.len() == files.len()
        && files.iter().all(|(path, file)| {
            let path = dir.join(path);
            let Ok(meta) = fs::symlink_metadata(&path) else { return false };
            meta.is_file()
                && meta.len() == file.data.len() as u64
                && meta.mode() & 0o777 & !0o440 == file.mode & 0o777 & !0o440
                && fs::read(&path).is_ok_and(|data| data == file.data)
        })
}

fn list(base: &Path, dir: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            all.extend(list(base, &entry.path())?);
        } else {
            all.insert(entry.path().strip_prefix(base).map(Path::to_owned).unwrap_or_default());
        }
    }
    Ok(all)
}
