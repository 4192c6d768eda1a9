//! Readings that go elsewhere than to the twin: `pushMethod` of a property. What a target cannot take now is kept on disk,
//! in order, as much as fits; when too much waits the oldest goes, and the log and `/metrics` say how many went.
//!
//! Owns: the buffer's file, which is made with the first reading, a task that empties it, the counts. May call: the targets.
//! Called by: the devices' workers.

mod buffer;
mod counts;
mod http;
mod influx;
mod links;
mod mqtt;
mod mysql;
mod otlp;
mod redis;
mod target;
mod tdengine;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tasks::{Backoff, Restart, TaskSet};
use tokio::sync::{Mutex, Notify, OnceCell, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use buffer::{Buffer, BufferError, Held};
pub(crate) use counts::Counts;
pub(crate) use target::Target;
use target::Ways;

/// Readings of a moment that are written together.
const QUEUE: usize = 1024;
/// Bytes of readings that are on their way to the disk.
const QUEUE_BYTES: usize = 8 << 20;
/// Readings of one target that are read from the buffer at a time.
const BATCH: u32 = 256;
/// The pauses while a target does not take readings.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// How long one target is served before the others have their turn.
const TURN: Duration = Duration::from_secs(1);

/// A reading on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub namespace: String,
    pub device: String,
    pub property: String,
    /// The type that KubeEdge's framework stores beside the value.
    #[serde(default)]
    pub kind: String,
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
    /// Bytes in the queue, and of what was taken from it and is not on disk yet.
    queued: Arc<AtomicUsize>,
    counts: Counts,
}

// === impl Push ===

impl Push {
    /// Keeps what waits in the file at `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(Arc::new(Inner {
            path,
            tasks: Mutex::default(),
            queue: OnceCell::new(),
            queued: Arc::default(),
            counts: Counts::default(),
        }))
    }

    /// What became of the readings so far.
    pub(crate) fn counts(&self) -> Counts {
        self.0.counts.clone()
    }

    /// Begins to empty what an earlier run has left, if it has left something.
    pub(crate) async fn resume(&self) {
        if self.0.path.exists() {
            self.queue().await;
        }
    }

    /// Takes a reading. A device is read on whatever becomes of its readings here: when the disk is so far behind that the
    /// queue is full, the reading is lost and counted.
    pub(crate) async fn take(&self, target: &Target, sample: Sample) {
        let queue = self.queue().await;
        let bytes = sample.bytes();
        let queued = self.0.queued.fetch_add(bytes, Ordering::Relaxed);
        if queued + bytes <= QUEUE_BYTES && queue.try_send((target.clone(), sample)).is_ok() {
            return;
        }
        self.0.queued.fetch_sub(bytes, Ordering::Relaxed);
        let lost = self.0.counts.dropped(counts::DISK, 1);
        if lost.is_power_of_two() {
            warn!(readings = lost, path = %self.0.path.display(), "the disk takes no readings: so many are lost since the start");
        }
    }

    async fn queue(&self) -> &mpsc::Sender<(Target, Sample)> {
        let begin = || async {
            let (queue, taken) = mpsc::channel(QUEUE);
            let tasks = TaskSet::new("push");
            let taken = Arc::new(Mutex::new(taken));
            let (path, counts, queued) =
                (self.0.path.clone(), self.0.counts.clone(), Arc::clone(&self.0.queued));
            tasks.spawn("buffer", Restart::on_failure(), move |stop| {
                run(path.clone(), Arc::clone(&taken), counts.clone(), Arc::clone(&queued), stop)
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

async fn run(
    path: PathBuf,
    taken: Arc<Mutex<mpsc::Receiver<(Target, Sample)>>>,
    counts: Counts,
    queued: Arc<AtomicUsize>,
    stop: CancellationToken,
) -> Result<(), BufferError> {
    let mut taken = taken.lock().await;
    let buffer = Buffer::open(path, buffer::MOST, counts.clone()).await?;
    let news = Notify::new();
    // One that hangs must not keep new readings from the disk.
    tokio::select! {
        kept = keep(&buffer, &mut taken, (&news, &counts, &queued), &stop) => kept,
        sent = send(&buffer, &news, &counts) => sent,
    }
}

/// Writes readings down as they come, until it is told to stop.
async fn keep(
    buffer: &Buffer,
    taken: &mut mpsc::Receiver<(Target, Sample)>,
    (news, counts, queued): (&Notify, &Counts, &AtomicUsize),
    stop: &CancellationToken,
) -> Result<(), BufferError> {
    loop {
        let mut batch = Vec::new();
        let stopped = tokio::select! {
            () = stop.cancelled() => {
                taken.close();
                while let Some(one) = taken.recv().await {
                    batch.push(one);
                }
                true
            }
            _ = taken.recv_many(&mut batch, QUEUE) => false,
        };
        let mut said = false;
        let dropped = loop {
            match buffer.keep(&batch).await {
                Ok(dropped) => break dropped,
                Err(error) if stopped => return Err(error),
                // They are held here until there is room again.
                Err(error) => {
                    if !std::mem::replace(&mut said, true) {
                        warn!("readings are not kept yet: {error}");
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(PAUSES.0) => {}
            }
            if stop.is_cancelled() {
                break buffer.keep(&batch).await?;
            }
        };
        queued.fetch_sub(batch.iter().map(|(_, sample)| sample.bytes()).sum(), Ordering::Relaxed);
        if dropped > 0 {
            let all = counts.dropped(counts::FULL, dropped);
            warn!(readings = dropped, since_start = all, "too many readings wait: the oldest were dropped");
        }
        news.notify_one();
        if stopped {
            return Ok(());
        }
    }
}

/// A target that did not take anything is left alone for a while.
struct Rest {
    backoff: Backoff,
    until: Instant,
    said: String,
}

/// Gives the targets what waits for them.
async fn send(buffer: &Buffer, news: &Notify, counts: &Counts) -> Result<(), BufferError> {
    let ways = Ways::default();
    let mut resting: HashMap<String, Rest> = HashMap::new();
    let left = buffer.waiting().await;
    if left > 0 {
        info!(readings = left, "readings wait to be pushed");
    }
    loop {
        let now = Instant::now();
        let targets = buffer.targets().await?;
        let due = targets.iter().filter(|(key, _)| resting.get(key).is_none_or(|rest| rest.until <= now));
        let rounds = due.map(|(key, target)| empty(buffer, key, target, &ways, counts));
        for round in futures::future::join_all(rounds).await {
            let (key, target, failure) = round?;
            match failure {
                None if resting.remove(key).is_some() => info!(target = %target, "it takes readings again"),
                None => {}
                Some(why) => {
                    let rest = resting.entry(key.to_owned()).or_insert_with(|| Rest {
                        backoff: Backoff::new(PAUSES.0, PAUSES.1),
                        until: now,
                        said: String::new(),
                    });
                    // Once for each reason.
                    if rest.said != why {
                        warn!(target = %target, "readings wait for it: {why}");
                        rest.said = why;
                    }
                    rest.until = Instant::now() + rest.backoff.pause();
                }
            }
        }
        let waits = buffer.targets().await?;
        let soonest = waits.iter().map(|(key, _)| resting.get(key).map_or(now, |rest| rest.until)).min();
        tokio::select! {
            () = news.notified() => {}
            () = until(soonest) => {}
        }
    }
}

/// Sends what has waited longest for a target. Why it stopped, if the target does not take it now.
async fn empty<'a>(
    buffer: &Buffer,
    key: &'a str,
    target: &'a Target,
    ways: &Ways,
    counts: &Counts,
) -> Result<(&'a str, &'a Target, Option<String>), BufferError> {
    let begun = Instant::now();
    let (rows, samples): (Vec<i64>, Vec<Sample>) =
        buffer.oldest(key, BATCH).await?.into_iter().map(|Held { row, sample }| (row, sample)).unzip();
    let mut at_once = target.batch();
    let mut done = 0;
    let mut failure = None;
    while done < samples.len() && begun.elapsed() <= TURN {
        let batch = &samples[done..samples.len().min(done + at_once)];
        match target.send(batch, ways).await {
            Ok(()) => counts.pushed(batch.len() as u64),
            // One by one it shows which is meant.
            Err(NotTaken::Refused(_)) if batch.len() > 1 => {
                at_once = 1;
                continue;
            }
            Err(NotTaken::Refused(why)) => {
                let Sample { device, property, .. } = &batch[0];
                let all = counts.dropped(counts::REFUSED, 1);
                warn!(target = %target, device, property, since_start = all, "a reading is refused: {why}");
            }
            Err(NotTaken::Passing(why)) => {
                failure = Some(why);
                break;
            }
        }
        done += batch.len();
    }
    buffer.forget(&rows[..done]).await?;
    Ok((key, target, failure))
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The password of databases, as KubeEdge's framework takes it.
fn password() -> Option<String> {
    std::env::var("PASSWORD").ok().filter(|password| !password.is_empty())
}

// === impl Sample ===

impl Sample {
    /// What it weighs in memory, about.
    fn bytes(&self) -> usize {
        let Self { namespace, device, property, kind, value, .. } = self;
        64 + namespace.len() + device.len() + property.len() + kind.len() + value.len()
    }
}
