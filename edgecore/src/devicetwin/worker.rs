//! The loop that owns the engine: takes what waits as one batch, makes it durable with one sync, then answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use proto::resource::ResourceKind;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::engine::{Engine, Objects, Request, Turn};
use super::handle::{Command, Verdict, row_key};
use super::objects;
use super::presence::Presence;
use super::store::{Store, StoreError};
use super::{Voice, engine};
use crate::edgehub::Connection;
use crate::metamanager;
use crate::metrics::Metrics;

/// Requests that share a transaction.
const BATCH: usize = 512;
/// How long confirmations wait for a report to be written with.
const LINGER: Duration = Duration::from_secs(2);
/// How soon objects that could not be taken are tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How long the cloud has, while connected, to take the last reports of a removed device.
const REMOVED: Duration = Duration::from_secs(600);

/// The state of the loop.
pub(super) struct Worker {
    pub(super) engine: Engine,
    pub(super) store: Store,
    pub(super) node: String,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) changed: watch::Sender<u64>,
    pub(super) objects: Option<metamanager::Handle>,
    pub(super) connection: Option<watch::Receiver<Connection>>,
    pub(super) voice: Arc<dyn Voice>,
    pub(super) metrics: Metrics,
    pub(super) presence: Presence,
}

impl Worker {
    /// Runs until cancelled; then serves what waits and closes the file.
    pub(super) async fn run(&mut self, token: CancellationToken) -> Result<(), Infallible> {
        // After a panic: what the batch at hand did is not on disk.
        self.engine.roll_back();
        let mut devices = self.watch(ResourceKind::Device);
        let mut models = self.watch(ResourceKind::DeviceModel);
        let mut sync_at = Some(Instant::now());
        let mut flush_at = None;
        let mut tick = interval(REMOVED / 10);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connected_since = None;
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => break,
                () = until(sync_at) => sync_at = if self.sync().await { None } else { Some(Instant::now() + RETRY) },
                _ = devices.changed() => sync_at = Some(Instant::now()),
                _ = models.changed() => sync_at = Some(Instant::now()),
                command = self.commands.recv() => match command {
                    Some(command) => self.serve(command).await,
                    None => break,
                },
                () = until(flush_at) => { self.flush().await; },
                _ = tick.tick() => {
                    let up = self.connection.as_ref().is_some_and(|connection| connection.borrow().is_up());
                    connected_since = if up { connected_since.or(Some(Instant::now())) } else { None };
                    if connected_since.is_some_and(|since| since.elapsed() > REMOVED) {
                        self.purge().await;
                    }
                }
            }
            flush_at = match (self.engine.has_unwritten(), flush_at) {
                (true, None) => Some(Instant::now() + LINGER),
                (true, Some(at)) if at <= Instant::now() => Some(Instant::now() + LINGER),
                (true, at) => at,
                (false, _) => None,
            };
        }
        self.commands.close();
        while let Some(command) = self.commands.recv().await {
            self.serve(command).await;
        }
        self.flush().await;
        self.store.close().await;
        Ok(())
    }

    fn watch(&self, kind: ResourceKind) -> Changes {
        Changes(self.objects.as_ref().map(|objects| objects.changes(kind)))
    }

    /// `first` and all that waits behind it: one transaction.
    async fn serve(&mut self, first: Command) {
        let mut asks = Vec::new();
        let mut readers = Vec::new();
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Ask { request, done } => asks.push((request, done)),
                Command::Ahead { limit, in_flight, answer } => readers.push((limit, in_flight, answer)),
                Command::Confirm { row, version } => self.engine.confirm(&row, version),
                Command::Reject { row, version, reason } => {
                    warn!(row = %row_key(&row), "the cloud will not take this report: {reason}");
                    self.engine.confirm(&row, version);
                }
            }
            next = if asks.len() < BATCH { self.commands.try_recv().ok() } else { None };
        }
        let (requests, dones): (Vec<_>, Vec<_>) = asks.into_iter().unzip();
        for (verdict, done) in self.batch(&requests).await.into_iter().zip(dones) {
            match &verdict {
                Verdict::Done => self.metrics.taken(),
                Verdict::Refused(reason) => self.metrics.refused(reason.word()),
                Verdict::NotStored => self.metrics.unstored(),
            }
            // Who no longer waits has no use for the verdict.
            let _ = done.send(verdict);
        }
        for (limit, in_flight, answer) in readers {
            let now = tasks::clock::unix_ms();
            let ahead = self.engine.ahead(limit, |row| in_flight.contains(&row_key(row)), now);
            let _ = answer.send(ahead);
        }
    }

    async fn batch(&mut self, requests: &[Request]) -> Vec<Verdict> {
        let now = tasks::clock::unix_ms();
        let turns: Vec<Turn> = requests.iter().map(|request| self.engine.handle(request, now)).collect();
        if !turns.iter().any(|turn| turn.durable) {
            self.hear(requests, &turns);
            self.say(&turns);
            return turns.into_iter().map(settled).collect();
        }
        match self.persist().await {
            Ok(()) => {
                self.hear(requests, &turns);
                self.say(&turns);
                self.changed.send_modify(|changed| *changed += 1);
                turns.into_iter().map(settled).collect()
            }
            Err(reason) => {
                warn!("nothing was stored: {reason}");
                self.fail(requests, turns, &reason.to_string(), now)
            }
        }
    }

    fn hear(&self, requests: &[Request], turns: &[Turn]) {
        let speakers = requests.iter().zip(turns).filter(|(_, turn)| turn.heard && turn.refused.is_none());
        self.presence.heard(speakers.filter_map(|(request, _)| match request {
            Request::Device { device, .. } => Some(device),
            Request::Membership { .. } => None,
        }));
    }

    /// The batch was taken back: who changed something hears why it is not so; the others are answered from what is.
    fn fail(&mut self, requests: &[Request], turns: Vec<Turn>, why: &str, now: i64) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(turns.len());
        for (request, mut turn) in requests.iter().zip(turns) {
            if !turn.durable {
                turn = self.engine.handle(request, now);
            }
            if turn.durable {
                let notice = turn.on_failure.take().map(|unstored| unstored.notice(why, now));
                turn.notices = notice.into_iter().collect();
                verdicts.push(Verdict::NotStored);
                self.say(&[turn]);
            } else {
                self.say(std::slice::from_ref(&turn));
                verdicts.push(settled(turn));
            }
        }
        self.engine.roll_back();
        verdicts
    }

    /// Writes what the batch changed, or takes the batch back.
    async fn persist(&mut self) -> Result<(), StoreError> {
        let changes = self.engine.changes();
        if changes.is_empty() {
            self.engine.commit();
            return Ok(());
        }
        let mut written = self.store.write(&changes).await;
        if let Err(StoreError::Corrupt(reason)) = &written {
            error!("devicetwin.db was found corrupt while running: {reason}");
            // Everything is in memory: the new file gets all of it, this batch included.
            written = match self.store.reopen().await {
                Ok(()) => self.store.write(&self.engine.everything()).await,
                Err(error) => Err(error),
            };
        }
        match written {
            Ok(()) => self.engine.commit(),
            Err(_) => self.engine.roll_back(),
        }
        written
    }

    /// Confirmations that found no company.
    async fn flush(&mut self) {
        if let Err(reason) = self.persist().await {
            warn!("the cloud's confirmations are not stored yet: {reason}");
        }
    }

    /// Members, rules and desired values as the objects say. False: try again.
    async fn sync(&mut self) -> bool {
        let objects = match self.read_objects().await {
            Ok(Some(objects)) => objects,
            Ok(None) => return true,
            Err(reason) => {
                warn!("devices cannot be read: {reason}");
                return false;
            }
        };
        let turn = self.engine.sync(&objects, tasks::clock::unix_ms());
        if turn.durable {
            if let Err(reason) = self.persist().await {
                warn!("devices are not taken over: {reason}");
                return false;
            }
            info!(devices = self.engine.members(), "devices of this node");
            self.changed.send_modify(|changed| *changed += 1);
            self.presence.retain(|device| self.engine.device(device).is_some());
        }
        self.say(&[turn]);
        true
    }

    async fn read_objects(&self) -> Result<Option<Objects>, metamanager::StoreError> {
        let Some(objects) = &self.objects else { return Ok(None) };
        objects::read(objects, &self.node).await.map(Some)
    }

    async fn purge(&mut self) {
        let deadline = tasks::clock::unix_ms() - i64::try_from(REMOVED.as_millis()).unwrap_or(i64::MAX);
        let gone = self.engine.purge(deadline);
        if gone > 0 {
            warn!(devices = gone, "the cloud never took the last reports of removed devices: dropped");
            self.flush().await;
        }
    }

    fn say(&self, turns: &[Turn]) {
        for notice in turns.iter().flat_map(|turn: &Turn| &turn.notices) {
            let notice: &engine::Notice = notice;
            self.voice.say(notice);
        }
    }
}

/// The verdict on a step that is as it should be on disk.
fn settled(turn: Turn) -> Verdict {
    turn.refused.map_or(Verdict::Done, Verdict::Refused)
}

/// Changes of a kind of object; for ever silent without a store of objects.
struct Changes(Option<watch::Receiver<u64>>);

impl Changes {
    async fn changed(&mut self) {
        let alive = match &mut self.0 {
            Some(changes) => changes.changed().await.is_ok(),
            None => false,
        };
        if !alive {
            std::future::pending::<()>().await;
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        // A timer of now is a millisecond late: a device that just came would be unknown to who reports it.
        Some(at) if at <= Instant::now() => {}
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
