//! Files that are read again when they change: users, rules, certificates.

use std::fmt::{Debug, Display};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tracing::{error, info};

/// How it is called in the log, and what to do when it is no good.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    pub(super) what: &'static str,
    /// Said behind the reason; empty: the reason says it.
    pub(super) cure: &'static str,
}

/// What was read from some files. A change that cannot be used changes nothing, and is said once.
pub(super) struct Watched<T, E> {
    name: Named,
    files: Vec<PathBuf>,
    read: Box<dyn Fn() -> Result<T, E> + Send + Sync>,
    known: Mutex<Known<T>>,
}

#[derive(Debug)]
struct Known<T> {
    stamps: Vec<Stamp>,
    value: Arc<T>,
}

/// What changes with a file: time, length, and who it is, for one that was renamed into its place.
type Stamp = Option<(SystemTime, u64, u64)>;

impl<T, E: Display> Watched<T, E> {
    /// Reads the files for the first time.
    pub(super) fn open(
        name: Named,
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Before the reading: what changes meanwhile is read again.
        let stamps = stamps(&files);
        let known = Mutex::new(Known { stamps, value: Arc::new(read()?) });
        Ok(Self { name, files, read: Box::new(read), known })
    }

    /// What the files say.
    pub(super) fn current(&self) -> Arc<T> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        if stamps != known.stamps {
            known.stamps = stamps;
            let Named { what, cure } = self.name;
            match (self.read)() {
                Ok(value) => {
                    known.value = Arc::new(value);
                    info!("{what}: changed, and read again");
                }
                Err(reason) => {
                    error!("{what}: changed, and of no use; what was read before stays: {reason}{cure}")
                }
            }
        }
        Arc::clone(&known.value)
    }
}

impl<T: Debug, E> Debug for Watched<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched")
            .field("files", &self.files)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    };
    files.iter().map(stamp).collect()
}
