//! Readings that go elsewhere than to the twin: `pushMethod` of a property. What a target cannot take now is kept on disk,
//! in order, as much as fits; when too much waits the oldest goes, and the log says how many went.
//!
//! Owns: the buffer's file, which is made with the first reading, and a task that empties it. May call: the targets.
//! Called by: the devices' workers.

mod buffer;
mod http;
mod influx;
mod mqtt;
mod otlp;
mod target;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tasks::{Backoff, Restart, TaskSet};
use tokio::sync::{Mutex, OnceCell, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use buffer::{Buffer, BufferError, Held};
use http::Poster;
use mqtt::Publishers;
pub(crate) use target::Target;

/// Readings of a moment that are written together.
const QUEUE: usize = 1024;
/// Readings of one target that are read from the buffer at a time.
const BATCH: u32 = 256;
/// The pauses while a target does not take readings.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// How soon the buffer is looked at again for targets that rested.
const LOOK: Duration = Duration::from_millis(250);

/// A reading on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub namespace: String,
    pub device: String,
    pub property: String,
    pub value: String,
    /// When it was read, in milliseconds since 1970.
    pub at_ms: i64,
}

/// Why a reading was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTaken {
    /// Another try may help.
    #[error("{0}")]
    Passing(String),
    /// It never will be.
    #[error("{0}")]
    Refused(String),
}

/// Takes readings. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Push(Arc<Inner>);

struct Inner {
    path: PathBuf,
    tasks: Mutex<Option<TaskSet>>,
    queue: OnceCell<mpsc::Sender<(Target, Sample)>>,
}

// === impl Push ===

impl Push {
    /// Keeps what waits in the file at `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(Arc::new(Inner { path, tasks: Mutex::default(), queue: OnceCell::new() }))
    }

    /// Begins to empty what an earlier run has left, if it has left something.
    pub(crate) async fn resume(&self) {
        if self.0.path.exists() {
            self.queue().await;
        }
    }

    /// Takes a reading. Waits while the disk is behind.
    pub(crate) async fn take(&self, target: &Target, sample: Sample) {
        // Ends with the mapper.
        let _ = self.queue().await.send((target.clone(), sample)).await;
    }

    async fn queue(&self) -> &mpsc::Sender<(Target, Sample)> {
        let begin = || async {
            let (queue, taken) = mpsc::channel(QUEUE);
            let tasks = TaskSet::new("push");
            let taken = Arc::new(Mutex::new(taken));
            let path = self.0.path.clone();
            tasks.spawn("buffer", Restart::on_failure(), move |stop| {
                run(path.clone(), Arc::clone(&taken), stop)
            });
            *self.0.tasks.lock().await = Some(tasks);
            queue
        };
        self.0.queue.get_or_init(begin).await
    }

    /// Writes what was taken, and ends.
    pub(crate) async fn end(&self) {
        if let Some(tasks) = self.0.tasks.lock().await.take() {
            let _ = tasks.shutdown(Duration::from_secs(5)).await;
        }
    }
}

/// The means to reach targets.
struct Means {
    poster: Poster,
    publishers: Publishers,
}

async fn run(
    path: PathBuf,
    taken: Arc<Mutex<mpsc::Receiver<(Target, Sample)>>>,
    stop: CancellationToken,
) -> Result<(), BufferError> {
    let mut taken = taken.lock().await;
    let buffer = Buffer::open(path, buffer::MOST).await?;
    let mut means = Means { poster: Poster::new(), publishers: Publishers::default() };
    let mut resting: HashMap<String, (Backoff, Instant)> = HashMap::new();
    let mut waiting = buffer.waiting().await?;
    if waiting > 0 {
        info!(readings = waiting, "readings wait to be pushed");
    }
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            () = stop.cancelled() => {
                taken.close();
                while let Some(one) = taken.recv().await {
                    batch.push(one);
                }
                buffer.keep(&batch).await?;
                return Ok(());
            }
            _ = taken.recv_many(&mut batch, QUEUE) => {}
            () = tokio::time::sleep(LOOK), if waiting > 0 => {}
        }
        let dropped = buffer.keep(&batch).await?;
        if dropped > 0 {
            warn!(readings = dropped, "too many readings wait: the oldest were dropped");
        }
        empty(&buffer, &mut means, &mut resting).await?;
        waiting = buffer.waiting().await?;
    }
}

/// Gives each target that does not rest what waits for it.
async fn empty(
    buffer: &Buffer,
    means: &mut Means,
    resting: &mut HashMap<String, (Backoff, Instant)>,
) -> Result<(), BufferError> {
    for (key, target) in buffer.targets().await? {
        if resting.get(&key).is_some_and(|(_, until)| *until > Instant::now()) {
            continue;
        }
        let held = buffer.oldest(&key, BATCH).await?;
        let mut done = Vec::new();
        for Held { row, sample } in &held {
            match target.send(sample, &means.poster, &mut means.publishers).await {
                Ok(()) => {
                    if resting.remove(&key).is_some() {
                        info!(target = %target, "it takes readings again");
                    }
                }
                Err(NotTaken::Refused(why)) => {
                    warn!(target = %target, device = sample.device, property = sample.property, "a reading is refused: {why}");
                }
                Err(NotTaken::Passing(why)) => {
                    let (backoff, until) = resting.entry(key.clone()).or_insert_with(|| {
                        warn!(target = %target, "readings wait for it: {why}");
                        (Backoff::new(PAUSES.0, PAUSES.1), Instant::now())
                    });
                    *until = Instant::now() + backoff.pause();
                    break;
                }
            }
            done.push(*row);
        }
        buffer.forget(&done).await?;
    }
    Ok(())
}
