//! What jobs of the cloud want of this node: taken onto the disk before they are acknowledged, done step by step, and each
//! step's result kept until the cloud has confirmed it.
//!
//! Owns: the folder `tasks` beside edgecore.db, a file per task. May call: edged's [`Puller`], metamanager (for secrets), the
//! link's state. Called by: edgehub, which hands it tasks and takes its reports as an [`crate::edgehub::Outbox`].

mod check;
mod handle;
mod prepull;
mod runner;
mod task;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tasks::{Restart, TaskSet};
use tokio::sync::{Mutex, watch};

use crate::edged::images::Puller;
use crate::edgehub::Connection;
use crate::folder::Folder;
use crate::metamanager;
use handle::State;

pub use handle::Handle;

/// Where tasks are kept and for whom they are.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of the tasks.
    pub folder: PathBuf,
    /// The name of this node.
    pub node: String,
}

/// What steps are done with.
#[derive(Clone)]
pub struct Tools {
    /// Fetches images; a node without pods has none.
    pub images: Option<Arc<Puller>>,
    /// The objects of the cloud.
    pub store: metamanager::Handle,
    /// Whether the cloud can be asked.
    pub connection: watch::Receiver<Connection>,
}

// === impl Settings ===

impl Settings {
    /// The folder beside the database.
    #[must_use]
    pub fn beside(database: &Path, node: impl Into<String>) -> Self {
        Self { folder: database.with_file_name("tasks"), node: node.into() }
    }
}

/// Reads the tasks that were not finished, and goes on with them on `tasks`.
pub async fn open(settings: Settings, tools: Tools, tasks: &TaskSet) -> Handle {
    let folder = Folder::new(&settings.folder);
    let known = folder.load().await;
    let handle = Handle {
        settings: Arc::new(settings),
        folder,
        state: Arc::new(Mutex::new(State::new(known))),
        changed: watch::Sender::new(0),
    };
    let runner = handle.clone();
    tasks.spawn("tasks", Restart::on_failure(), move |token| {
        runner::run(runner.clone(), tools.clone(), token)
    });
    handle
}
