//! How mappers are: whether each that registered answers, and which devices it refuses. The cloud is told on each session and
//! at each change; nothing of it is on disk.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use proto::devices::{MapperReport, MapperState, MapperStatus, RefusedDevice};
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::resource::Resource;
use proto::session::Dialect;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::registry::{Mapper, Registry};
use crate::edgehub::{Connection, Outbox, OutboxError, Report, RowKey};

/// How often mappers are called on.
const EVERY: Duration = Duration::from_secs(5);
/// How long one may take to open.
const LIMIT: Duration = Duration::from_secs(2);
/// The only row.
const ROW: &str = "mappers";

/// What is known of the node's mappers. Cheap to clone; also the [`Outbox`] that tells it.
#[derive(Clone)]
pub struct Outlook {
    known: Arc<Mutex<Known>>,
    changed: watch::Sender<u64>,
    connection: Option<watch::Receiver<Connection>>,
}

#[derive(Default)]
struct Known {
    mappers: BTreeMap<String, MapperStatus>,
    refused: BTreeMap<String, BTreeMap<String, String>>,
    version: u64,
    confirmed: u64,
}

impl Outlook {
    pub(super) fn new(connection: Option<watch::Receiver<Connection>>) -> Self {
        Self { known: Arc::default(), changed: watch::Sender::new(0), connection }
    }

    /// A mapper refuses the device (`namespace/name`), in its words; or takes it now.
    pub(super) fn refuses(&self, protocol: &str, device: &str, words: Option<String>) {
        let mut known = self.known();
        let refused = known.refused.entry(protocol.to_owned()).or_default();
        let changed = match words {
            Some(words) => {
                refused.insert(device.to_owned(), words.clone()).is_none_or(|before| before != words)
            }
            None => refused.remove(device).is_some(),
        };
        self.note(&mut known, changed);
    }

    /// Calls on mappers until cancelled.
    pub(super) async fn run(
        self,
        registry: Arc<Registry>,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        let mut registered = registry.changes();
        let mut rounds = interval(EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection = self.connection.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = rounds.tick() => {}
                _ = registered.changed() => {}
                () = session(&mut connection) => {
                    // Another cloud, or the same after a restart: it may know nothing.
                    let mut known = self.known();
                    self.note(&mut known, true);
                    continue;
                }
            }
            let mappers = registry.all().await;
            let mut answers = Vec::with_capacity(mappers.len());
            for mapper in &mappers {
                answers.push(call_on(mapper).await);
            }
            self.saw(mappers, answers);
        }
    }

    fn saw(&self, mappers: Vec<Mapper>, answers: Vec<Result<(), String>>) {
        let now = tasks::clock::unix_ms();
        let mut known = self.known();
        let mut changed = false;
        for (mapper, answer) in mappers.into_iter().zip(answers) {
            let (state, message) = match answer {
                Ok(()) => (MapperState::Up, String::new()),
                Err(why) => (MapperState::Down, why),
            };
            let before = known.mappers.get(&mapper.protocol);
            let same = before.is_some_and(|before| before.state == state);
            if !same {
                match state {
                    MapperState::Up => {
                        info!(mapper = mapper.name, protocol = mapper.protocol, "a mapper answers")
                    }
                    _ => warn!(
                        mapper = mapper.name,
                        protocol = mapper.protocol,
                        "a mapper does not answer: {message}"
                    ),
                }
            }
            let since = before.filter(|_| same).map_or(now, |before| before.since);
            let status = MapperStatus {
                protocol: mapper.protocol.clone(),
                name: mapper.name,
                version: mapper.version,
                state,
                since,
                message,
                refused: Vec::new(),
            };
            changed |= before != Some(&status);
            known.mappers.insert(mapper.protocol, status);
        }
        self.note(&mut known, changed);
    }

    fn note(&self, known: &mut Known, changed: bool) {
        if changed {
            known.version += 1;
            self.changed.send_replace(known.version);
        }
    }

    fn report(known: &Known) -> MapperReport {
        let mappers = known.mappers.values().map(|status| {
            let refused = known.refused.get(&status.protocol).into_iter().flatten();
            let refused =
                refused.map(|(id, message)| RefusedDevice { id: id.clone(), message: message.clone() });
            MapperStatus { refused: refused.collect(), ..status.clone() }
        });
        MapperReport { timestamp: tasks::clock::unix_ms(), mappers: mappers.collect() }
    }

    /// Nothing in here panics half-way.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns when a session has begun.
async fn session(connection: &mut Option<watch::Receiver<Connection>>) {
    let Some(connection) = connection else { return std::future::pending().await };
    loop {
        if connection.changed().await.is_err() {
            return std::future::pending().await;
        }
        if connection.borrow_and_update().is_up() {
            return;
        }
    }
}

/// A ping of HTTP/2: the kernel takes connections for a program that hangs, and a call would be a line in the mapper's log each time.
async fn call_on(mapper: &Mapper) -> Result<(), String> {
    let path = PathBuf::from(mapper.address.strip_prefix("unix://").unwrap_or(&mapper.address));
    match timeout(LIMIT, ping(&path)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("{}: {error}", path.display())),
        Err(_) => Err(format!("{} does not answer within {} s", path.display(), LIMIT.as_secs())),
    }
}

async fn ping(path: &Path) -> io::Result<()> {
    let stream = UnixStream::connect(path).await?;
    let (_requests, mut connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    let Some(mut pings) = connection.ping_pong() else { return Ok(()) };
    tokio::select! {
        answer = pings.ping(h2::Ping::opaque()) => answer.map(drop).map_err(io::Error::other),
        end = &mut connection => end.and(Err(h2::Reason::NO_ERROR.into())).map_err(io::Error::other),
    }
}

#[async_trait]
impl Outbox for Outlook {
    fn name(&self) -> &'static str {
        "mappers"
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn ahead(&self, limit: usize, in_flight: &HashSet<RowKey>) -> Result<Vec<Report>, OutboxError> {
        let row = RowKey(ROW.to_owned());
        let connection = self.connection.as_ref().map(|connection| *connection.borrow());
        // KubeEdge's cloud has no place for it.
        let understood = matches!(connection, Some(Connection::Up { dialect: Dialect::SkerryV1 }));
        let known = self.known();
        if limit == 0 || !understood || known.version == known.confirmed || in_flight.contains(&row) {
            return Ok(Vec::new());
        }
        let content = Content::json(&Self::report(&known)).map_err(|error| OutboxError(error.to_string()))?;
        let route = Route::new(Source::Twin, Group::Twin, Operation::Update, Resource::Mappers);
        Ok(vec![Report { row, version: known.version, message: Message::new(route, content) }])
    }

    async fn confirm(&self, _: &RowKey, version: u64) -> Result<(), OutboxError> {
        let mut known = self.known();
        known.confirmed = known.confirmed.max(version);
        Ok(())
    }

    /// An older cloudcore does not know what it is; it is told again when something changes.
    async fn reject(&self, row: &RowKey, version: u64, _: &str) -> Result<(), OutboxError> {
        self.confirm(row, version).await
    }
}
