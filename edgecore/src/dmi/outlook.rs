//! How mappers are: whether each that registered answers, and which devices it refuses. The cloud is told on each session and
//! at each change; nothing of it is on disk.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use proto::devices::{MapperReport, MapperState, MapperStatus, RefusedDevice};
use proto::resource::Resource;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::registry::{Mapper, Registry};
use crate::edgehub::{Connection, Tell, Word};

/// How often mappers are called on.
const EVERY: Duration = Duration::from_secs(5);
/// How long one may take to open.
const LIMIT: Duration = Duration::from_secs(2);

/// How the node's mappers are, for the cloud.
pub type Outlook = Word<Mappers>;

/// What is known of them.
#[derive(Debug, Default)]
pub struct Mappers {
    mappers: BTreeMap<String, MapperStatus>,
    refused: BTreeMap<String, BTreeMap<String, String>>,
    version: u64,
    confirmed: u64,
}

impl Outlook {
    pub(super) fn new(connection: Option<watch::Receiver<Connection>>) -> Self {
        Self::of(Mappers::default(), connection)
    }

    /// A mapper refuses the device (`namespace/name`), in its words; or takes it now.
    pub(super) fn refuses(&self, protocol: &str, device: &str, words: Option<String>) {
        let mut known = self.lock();
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
        let mut sessions = self.sessions();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = rounds.tick() => {}
                _ = registered.changed() => {}
                Some(_) = sessions.next() => {
                    let mut known = self.lock();
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
        let mut known = self.lock();
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

    fn note(&self, known: &mut Mappers, changed: bool) {
        if changed {
            known.version += 1;
            self.wake();
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

impl Tell for Mappers {
    const NAME: &'static str = "mappers";
    const RESOURCE: Resource = Resource::Mappers;
    type Content = MapperReport;

    fn ahead(&mut self) -> Option<(u64, MapperReport)> {
        if self.version == self.confirmed {
            return None;
        }
        let mappers = self.mappers.values().map(|status| {
            let refused = self.refused.get(&status.protocol).into_iter().flatten();
            let refused =
                refused.map(|(id, message)| RefusedDevice { id: id.clone(), message: message.clone() });
            MapperStatus { refused: refused.collect(), ..status.clone() }
        });
        let report = MapperReport { timestamp: tasks::clock::unix_ms(), mappers: mappers.collect() };
        Some((self.version, report))
    }

    fn confirmed(&mut self, version: u64) {
        self.confirmed = self.confirmed.max(version);
    }

    /// It is told again when something changes.
    fn rejected(&mut self, version: u64) {
        self.confirmed(version);
    }
}
