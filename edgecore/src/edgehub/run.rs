//! The life of the link: a certificate, a connection, a session; and again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tasks::{Backoff, Restart, TaskSet};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::bootstrap::{self, BootstrapError, Credentials};
use super::handle::{Connection, Link};
use super::keepers::Keepers;
use super::outbox::Outbox;
use super::{RequestError, Settings, connection, dial, rotation};
use crate::{metamanager, rules, taskmanager};

/// For so long after the cloud went away it is tried often: most absences are restarts.
const EAGER_FOR: Duration = Duration::from_secs(60);
/// And this often.
const EAGER_CAP: Duration = Duration::from_millis(500);
/// A session that lived so long was a good one: the next attempt comes at once.
const GOOD_SESSION: Duration = Duration::from_secs(5);

/// What is needed to run the link.
pub struct Hub {
    /// The settings.
    pub settings: Settings,
    /// The other end of the handle.
    pub link: Link,
    /// Where pushes go.
    pub store: metamanager::Handle,
    /// Where tasks go, if this node takes any.
    pub jobs: Option<taskmanager::Handle>,
    /// Where what rules want goes, if this node has a part in them.
    pub rules: Option<rules::Handle>,
    /// Whose rows are told.
    pub outboxes: Vec<Arc<dyn Outbox>>,
}

/// Runs the link on `tasks`.
pub fn run(hub: Hub, tasks: &TaskSet) {
    let Hub { settings, link, store, jobs, rules, outboxes } = hub;
    let store = Keepers { objects: store, jobs, rules };
    let settings = Arc::new(settings);
    let (credentials, current) = watch::channel(None);
    let credentials = Arc::new(credentials);
    if settings.rotate {
        let (settings, credentials) = (Arc::clone(&settings), Arc::clone(&credentials));
        tasks.spawn("rotation", Restart::on_failure(), move |token| {
            rotation::run(Arc::clone(&settings), Arc::clone(&credentials), token)
        });
    }
    let connections = Arc::new(tasks.child("connection"));
    let state =
        Arc::new(Mutex::new(Life { settings, link, store, outboxes, credentials, current, connections }));
    tasks.spawn("link", Restart::on_failure(), move |token| {
        let state = Arc::clone(&state);
        async move { state.lock().await.run(token).await }
    });
}

struct Life {
    settings: Arc<Settings>,
    link: Link,
    store: Keepers,
    outboxes: Vec<Arc<dyn Outbox>>,
    credentials: Arc<watch::Sender<Option<Credentials>>>,
    current: watch::Receiver<Option<Credentials>>,
    connections: Arc<TaskSet>,
}

impl Life {
    async fn run(&mut self, token: CancellationToken) -> Result<(), Infallible> {
        self.link.down(None);
        let mut pauses = Pauses::new(&self.settings);
        while !token.is_cancelled() {
            let pause = match self.attempt(&token).await {
                Ok(lived) => {
                    pauses.ended(lived);
                    pauses.next(true)
                }
                Err(reason) => {
                    let absent = matches!(&reason, BootstrapError::Link(link) if link.is_absence());
                    self.complain(&reason, pauses.attempts);
                    pauses.next(absent)
                }
            };
            self.wait(pause, &token).await;
        }
        Ok(())
    }

    /// One certificate if needed, one connection, one session. Says how long the session lived.
    async fn attempt(&mut self, token: &CancellationToken) -> Result<Duration, BootstrapError> {
        let credentials = self.credentials().await?;
        let tasks = self.connections.child("socket");
        let dialled = tokio::select! {
            () = token.cancelled() => return Ok(Duration::ZERO),
            dialled = dial::dial(&self.settings, &credentials, &tasks) => dialled,
        };
        let channel = match dialled {
            Ok(channel) => channel,
            Err(BootstrapError::Link(reason))
                if reason.needs_new_certificate() && bootstrap::has_token(&self.settings) =>
            {
                let fresh = bootstrap::join(&self.settings, reason.to_string()).await?;
                self.credentials.send_replace(Some(fresh));
                return Ok(Duration::ZERO);
            }
            Err(reason) => return Err(reason),
        };
        let dialect = channel.dialect;
        info!(server = %self.settings.server, ?dialect, "connected to the cloud");
        self.link.up(dialect);
        let since = Instant::now();
        let Self { settings, store, outboxes, link, .. } = self;
        let reason = connection::serve(settings, channel, store, outboxes, link, &tasks, token).await;
        self.link.down(Some(reason.clone()));
        warn!(lasted = ?since.elapsed(), "disconnected from the cloud: {reason}");
        Ok(since.elapsed())
    }

    async fn credentials(&mut self) -> Result<Credentials, BootstrapError> {
        if let Some(current) = self.current.borrow().clone() {
            return Ok(current);
        }
        let credentials = match bootstrap::load(&self.settings) {
            Ok(credentials) => credentials,
            Err(reason) => bootstrap::join(&self.settings, reason).await?,
        };
        self.credentials.send_replace(Some(credentials.clone()));
        Ok(credentials)
    }

    /// Each new reason loudly, its repetitions quietly.
    fn complain(&self, reason: &BootstrapError, attempts: u32) {
        let text = reason.to_string();
        if self.link.trouble().as_deref() == Some(text.as_str()) {
            tracing::debug!(attempts, "still: {text}");
        } else {
            error!("not connected to the cloud: {text}");
        }
        self.link.down(Some(text));
    }

    /// Requests that come meanwhile are refused, not kept: their senders know better what to do without the cloud.
    async fn wait(&mut self, pause: Duration, token: &CancellationToken) {
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep_until(until) => return,
                Some(request) = self.link.requests.recv() => {
                    let _ = request.answer.send(Err(RequestError::Disconnected));
                }
            }
        }
    }
}

/// How long to wait before the next attempt.
#[derive(Debug)]
struct Pauses {
    eager: Backoff,
    patient: Backoff,
    attempts: u32,
    away_since: Option<Instant>,
}

impl Pauses {
    fn new(settings: &Settings) -> Self {
        let (first, cap) = settings.backoff;
        Self {
            eager: Backoff::new(first, cap.min(EAGER_CAP)),
            patient: Backoff::new(first, cap),
            attempts: 0,
            away_since: None,
        }
    }

    fn ended(&mut self, lived: Duration) {
        if lived >= GOOD_SESSION {
            *self = Self {
                attempts: 0,
                away_since: None,
                eager: self.eager.clone(),
                patient: self.patient.clone(),
            };
            self.eager.reset();
            self.patient.reset();
        }
    }

    /// `absent`: nothing answered, so asking again soon costs nobody anything. A refusal is not asked for often.
    fn next(&mut self, absent: bool) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        let away = self.away_since.get_or_insert_with(Instant::now).elapsed();
        if absent && away < EAGER_FOR { self.eager.pause() } else { self.patient.pause() }
    }
}

impl Link {
    fn up(&self, dialect: proto::session::Dialect) {
        self.trouble.send_replace(None);
        self.connection.send_replace(Connection::Up { dialect });
    }

    fn down(&self, reason: Option<String>) {
        self.connection.send_replace(Connection::Down);
        if reason.is_some() {
            self.trouble.send_replace(reason);
        }
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_restarting_cloud_is_tried_every_half_second_and_a_lost_one_every_quarter_minute() {
        let mut pauses = Pauses {
            eager: Backoff::new(Duration::from_millis(200), EAGER_CAP),
            patient: Backoff::new(Duration::from_millis(200), Duration::from_secs(15)),
            attempts: 0,
            away_since: None,
        };
        for _ in 0..20 {
            assert!(pauses.next(true) <= EAGER_CAP);
        }
        tokio::time::advance(EAGER_FOR).await;
        let longest = (0..10).map(|_| pauses.next(true)).max().unwrap();
        assert!(longest > Duration::from_secs(7) && longest <= Duration::from_secs(15));
        pauses.ended(GOOD_SESSION);
        assert!(pauses.next(true) <= Duration::from_millis(200));
    }
}
