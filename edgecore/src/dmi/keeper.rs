//! Tells each mapper what changed until it has taken it. A mapper that hangs keeps no other waiting.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use proto::resource::ResourceKind;
use tasks::Backoff;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::calls::{CallError, Line};
use super::catalog::Source;
use super::outlook::Outlook;
use super::plan::{Call, What};
use super::registry::{Mapper, Registry};

/// Changes that come in a row are told together.
const SETTLE: Duration = Duration::from_millis(50);
/// The first pause after a mapper could not be told, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How it stands with one mapper.
struct Standing {
    registration: u64,
    backoff: Backoff,
    /// A round is under way.
    busy: bool,
    /// Not before this.
    until: Option<Instant>,
}

/// What came of telling a mapper.
struct Round {
    mapper: Mapper,
    failure: Option<CallError>,
}

pub(super) async fn run(
    registry: Arc<Registry>,
    source: Source,
    outlook: Outlook,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut mappers = registry.changes();
    let mut devices = source.objects.changes(ResourceKind::Device);
    let mut models = source.objects.changes(ResourceKind::DeviceModel);
    let mut standings: HashMap<String, Standing> = HashMap::new();
    let mut rounds = JoinSet::new();
    loop {
        let next = begin(&registry, &source, &outlook, &mut standings, &mut rounds).await;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = mappers.changed() => {}
            _ = devices.changed() => sleep(SETTLE).await,
            _ = models.changed() => sleep(SETTLE).await,
            Some(round) = rounds.join_next() => match round {
                Ok(round) => end(round, &registry, &mut standings).await,
                Err(error) => {
                    warn!("telling a mapper failed: {error}");
                    standings.clear();
                }
            },
            () = later(next) => {}
        }
    }
}

/// Begins to tell every mapper that is not told already and lacks something. When to come again.
async fn begin(
    registry: &Registry,
    source: &Source,
    outlook: &Outlook,
    standings: &mut HashMap<String, Standing>,
    rounds: &mut JoinSet<Round>,
) -> Option<Instant> {
    let mappers = registry.called().await;
    if mappers.is_empty() {
        return None;
    }
    let mut catalog = match source.read().await {
        Ok(catalog) => catalog,
        Err(reason) => {
            warn!("devices cannot be read: {reason}");
            return Some(Instant::now() + PAUSES.0);
        }
    };
    let now = Instant::now();
    let mut next: Option<Instant> = None;
    for mapper in mappers {
        let standing = standings
            .entry(mapper.protocol.clone())
            .and_modify(|standing| standing.follow(&mapper))
            .or_insert_with(|| Standing::new(&mapper));
        if standing.busy {
            continue;
        }
        let calls = mapper.told.missing(&catalog.take(&mapper.protocol));
        if calls.is_empty() {
            continue;
        }
        if let Some(until) = standing.until.filter(|until| *until > now) {
            next = Some(next.map_or(until, |next| next.min(until)));
            continue;
        }
        standing.busy = true;
        rounds.spawn(tell(mapper, calls, outlook.clone()));
    }
    next
}

async fn tell(mut mapper: Mapper, calls: Vec<Call>, outlook: Outlook) -> Round {
    let mut line = match Line::open(&mapper).await {
        Ok(line) => line,
        Err(failure) => return Round { mapper, failure: Some(failure) },
    };
    let mut failure = None;
    for call in calls {
        match line.say(&call).await {
            Ok(()) => {
                debug!(mapper = mapper.name, about = call.name, "a mapper was told");
                mapper.told.take(&call);
                outlook.refuses(&mapper.protocol, &call.name, None);
            }
            // One device that it does not want is no reason to keep the others from it.
            Err(error @ CallError::Refused(_)) => {
                warn!(mapper = mapper.name, about = call.name, "{error}");
                if let (CallError::Refused(words), What::RegisterDevice(_) | What::UpdateDevice(_)) =
                    (&error, &call.what)
                {
                    outlook.refuses(&mapper.protocol, &call.name, Some(words.clone()));
                }
                failure = Some(error);
            }
            Err(error) => return Round { mapper, failure: Some(error) },
        }
    }
    Round { mapper, failure }
}

async fn end(round: Round, registry: &Registry, standings: &mut HashMap<String, Standing>) {
    let Round { mapper, failure } = round;
    registry.told(&mapper).await;
    let Some(standing) = standings.get_mut(&mapper.protocol) else { return };
    standing.busy = false;
    if standing.registration != mapper.registration {
        return;
    }
    match failure {
        None => {
            standing.backoff.reset();
            standing.until = None;
            info!(mapper = mapper.name, protocol = mapper.protocol, "a mapper has what it should have");
        }
        Some(error) => {
            let pause = standing.backoff.pause();
            standing.until = Some(Instant::now() + pause);
            warn!(
                mapper = mapper.name,
                protocol = mapper.protocol,
                "a mapper lacks news of devices: {error}"
            );
        }
    }
}

async fn later(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

// === impl Standing ===

impl Standing {
    fn new(mapper: &Mapper) -> Self {
        let backoff = Backoff::new(PAUSES.0, PAUSES.1);
        Self { registration: mapper.registration, backoff, busy: false, until: None }
    }

    /// Who registers anew is called at once.
    fn follow(&mut self, mapper: &Mapper) {
        if self.registration != mapper.registration {
            let busy = self.busy;
            *self = Self { busy, ..Self::new(mapper) };
        }
    }
}
