use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::host::process::ProcessId;

/// What a supervisor says about itself in `NAME.json`, for whoever asks or must end it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) supervisor: ProcessId,
    pub(super) child: Option<ProcessId>,
    pub(super) restarts: u64,
    /// How the child ended last.
    pub(super) last_end: Option<String>,
    /// It ended in a way that starting it again cannot cure.
    pub(super) gave_up: bool,
}

/// The files of one supervised service in the run directory.
#[derive(Clone, Debug)]
pub(super) struct Files {
    dir: PathBuf,
    name: String,
}

impl Files {
    pub(super) fn new(dir: &Path, name: &str) -> Self {
        Self { dir: dir.to_owned(), name: name.to_owned() }
    }

    fn with(&self, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", self.name))
    }

    pub(super) fn read(&self) -> Option<State> {
        serde_json::from_slice(&std::fs::read(self.with("json")).ok()?).ok()
    }

    /// Replaces the state at once, and the child's number in `NAME.pid`.
    pub(super) fn write(&self, state: &State) -> io::Result<()> {
        let text = serde_json::to_vec(state)?;
        replace(&self.with("json"), &text)?;
        match state.child {
            Some(child) => replace(&self.with("pid"), format!("{}\n", child.pid).as_bytes()),
            None => remove(&self.with("pid")),
        }
    }

    /// The lock that a supervisor holds as long as it lives; `None` when somebody holds it.
    pub(super) fn lock(&self) -> io::Result<Option<Flock<File>>> {
        let file = File::options().create(true).truncate(false).write(true).open(self.with("lock"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }

    /// Whether a supervisor lives.
    pub(super) fn is_supervised(&self) -> bool {
        self.with("lock").exists() && matches!(self.lock(), Ok(None))
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        for extension in ["json", "pid", "lock"] {
            remove(&self.with(extension))?;
        }
        Ok(())
    }
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    File::create(&temporary)?.write_all(content)?;
    std::fs::rename(temporary, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
