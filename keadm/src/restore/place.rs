//! Puts files in their places so that at every moment either the old ones or the new ones are there.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use crate::{
    backup::{
        archive,
        contents::{Cloud, DATA},
    },
    problem::{Problem, file_problem},
};

/// What is made beside its place and then takes it.
#[derive(Debug)]
struct Staged {
    made: PathBuf,
    place: PathBuf,
}

/// Unpacks the backup beside the places of its files, moves what is there aside, and puts the new files in. What was moved aside.
pub(super) fn exchange(file: &Path, cloud: &Cloud) -> Result<Vec<PathBuf>, Problem> {
    let data = Staged { made: beside(&cloud.data_dir, "restored"), place: cloud.data_dir.clone() };
    let mut staged = vec![data];
    let unpacked = unpack(file, cloud, &mut staged);
    if unpacked.is_err() {
        for one in &staged {
            // Half a cloud is of no use; what cannot be removed has a name that says what it is.
            discard(&one.made).ok();
        }
    }
    unpacked?;
    let mark = format!("before-{}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ"));
    let mut aside = Vec::new();
    // The state last: until then, the old cloud can be started as it was.
    for one in staged.iter().rev() {
        aside.extend(swap(one, &mark)?);
    }
    Ok(aside)
}

fn unpack(file: &Path, cloud: &Cloud, staged: &mut Vec<Staged>) -> Result<(), Problem> {
    let data = staged[0].made.clone();
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |error| file_problem("write", &path, &error)
    };
    discard(&data).map_err(wrong(&data))?;
    private_dir(&data).map_err(wrong(&data))?;
    archive::read(file, |entry| {
        let target = match entry.name.strip_prefix(DATA) {
            Some(inner) => data.join(inner),
            None => {
                let place = cloud.place(&entry.name).unwrap_or_else(|| data.join("nowhere"));
                let made = beside(&place, "restored");
                discard(&made).map_err(wrong(&made))?;
                staged.push(Staged { made: made.clone(), place });
                made
            }
        };
        if let Some(dir) = target.parent() {
            private_dir(dir).map_err(wrong(dir))?;
        }
        // Never more than its owner's, whatever it was.
        let mode = if entry.mode & 0o077 == 0 { 0o600 } else { entry.mode & 0o644 };
        let file = File::options().write(true).create_new(true).mode(mode).open(&target);
        file.map(Synced).map_err(wrong(&target))
    })?;
    sync_tree(&data).map_err(wrong(&data))
}

/// Exchanges one; says where the old one is now.
fn swap(one: &Staged, mark: &str) -> Result<Option<PathBuf>, Problem> {
    let kept = beside(&one.place, mark);
    let aside = match fs::rename(&one.place, &kept) {
        Ok(()) => Some(kept),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(file_problem("move", &one.place, &error)),
    };
    fs::rename(&one.made, &one.place).map_err(|error| {
        if let Some(kept) = &aside {
            // Back to how it was; the first error is the one to tell.
            fs::rename(kept, &one.place).ok();
        }
        file_problem("write", &one.place, &error)
    })?;
    if let Some(dir) = one.place.parent() {
        sync_dir(dir).map_err(|error| file_problem("write", dir, &error))?;
    }
    Ok(aside)
}

/// `path` with an addition to its name.
fn beside(path: &Path, addition: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(format!(".{addition}"));
    name.into()
}

fn discard(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(facts) if facts.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    sync_dir(dir)
}

/// A file whose flush puts it on the disk.
struct Synced(File);

impl io::Write for Synced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}
