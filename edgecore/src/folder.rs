//! Small records on disk: a file of JSON each, replaced as a whole, so that a power cut leaves the old one or the new one.
//!
//! Called by: taskmanager for tasks, dmi for mappers.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tracing::warn;

/// No record is longer; a spec of the API is shorter than this.
const LONGEST: u64 = 4 << 20;

/// A folder of records. Made when the first is written.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// All records. What cannot be read is told and removed: the cloud, or who registered, says it again.
    pub(crate) async fn load<T: DeserializeOwned + Send + 'static>(&self) -> Vec<T> {
        let folder = self.0.clone();
        tokio::task::spawn_blocking(move || {
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
            let files = entries.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
            files
                .filter_map(|path| match read(&path) {
                    Ok(record) => Some(record),
                    Err(error) => {
                        warn!(file = %path.display(), "a record cannot be read and is forgotten: {error}");
                        let _ = fs::remove_file(&path);
                        None
                    }
                })
                .collect()
        })
        .await
        .unwrap_or_default()
    }

    /// On disk when it returns.
    pub(crate) async fn save(&self, name: &str, record: &impl Serialize) -> io::Result<()> {
        let path = self.file(name);
        let text = serde_json::to_vec(record)?;
        blocking(move || {
            let folder = path.parent().unwrap_or(Path::new("."));
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let next = path.with_extension("next");
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&next, &path)?;
            File::open(folder)?.sync_all()
        })
        .await
    }

    /// Forgets it. May be repeated.
    pub(crate) async fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.file(name);
        blocking(move || match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    /// A name may be longer than a file's, and hold slashes, so the file is named by its hash.
    fn file(&self, name: &str) -> PathBuf {
        let digest = Sha256::digest(name);
        self.0.join(format!("{}.json", hex::encode(&digest[..16])))
    }
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    if fs::metadata(path)?.len() > LONGEST {
        return Err(io::Error::other("it is longer than any record"));
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}
