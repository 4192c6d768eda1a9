//! Tasks on disk: a file each, replaced as a whole, so that a power cut leaves the old one or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tracing::warn;

use super::task::{Task, TaskId};

/// A spec is an object of the API, which is no longer than this.
const LONGEST: u64 = 4 << 20;

/// All tasks in the folder. What cannot be read is told and left out: the cloud gives it again.
pub(super) async fn load(folder: PathBuf) -> Vec<Task> {
    tokio::task::spawn_blocking(move || {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let files = entries.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        files
            .filter_map(|path| match read(&path) {
                Ok(task) => Some(task),
                Err(error) => {
                    warn!(file = %path.display(), "a task cannot be read and is forgotten: {error}");
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
pub(super) async fn save(folder: &Path, task: &Task) -> io::Result<()> {
    let (folder, task) = (folder.to_owned(), task.clone());
    blocking(move || {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let path = path(&folder, &task.id);
        let next = path.with_extension("next");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(&serde_json::to_vec(&task)?)?;
        file.sync_all()?;
        fs::rename(&next, &path)?;
        File::open(&folder)?.sync_all()
    })
    .await
}

/// Forgets it. May be repeated.
pub(super) async fn remove(folder: &Path, id: &TaskId) -> io::Result<()> {
    let path = path(folder, id);
    blocking(move || match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
    .await
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn read(path: &Path) -> io::Result<Task> {
    if fs::metadata(path)?.len() > LONGEST {
        return Err(io::Error::other("it is longer than any task"));
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// A job's name may be as long as a file's name, so the file is named by its hash.
fn path(folder: &Path, id: &TaskId) -> PathBuf {
    let digest = Sha256::digest(format!("{}/{}", id.job_type, id.job));
    folder.join(format!("{}.json", hex::encode(&digest[..16])))
}
