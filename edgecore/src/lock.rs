//! One edgecore per data directory.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// Held as long as this value lives; the kernel releases it however the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// The directory is taken or unusable.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "another edgecore (pid {pid}) uses {directory}: stop it first, or give this one its own database.dataSource"
    )]
    Taken {
        /// The data directory.
        directory: PathBuf,
        /// Who has it, if it said so.
        pid: String,
    },
    /// The lock file cannot be made.
    #[error("cannot create {path}: {source}; check the directory's permissions and space")]
    File {
        /// The lock file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
}

/// Takes the data directory for this process.
pub fn take(directory: &Path) -> Result<Lock, LockError> {
    let path = directory.join("edgecore.lock");
    let failed = |source| LockError::File { path: path.clone(), source };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        let pid = std::fs::read_to_string(&path).unwrap_or_default();
        let pid = Some(pid.trim()).filter(|pid| !pid.is_empty()).unwrap_or("unknown").to_owned();
        LockError::Taken { directory: directory.to_owned(), pid }
    })?;
    file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(Lock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_on_the_same_directory_is_told_who_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let first = take(directory.path()).unwrap();
        let error = take(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        take(directory.path()).unwrap();
    }
}
