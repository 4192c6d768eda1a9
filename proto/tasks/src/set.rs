//! The set itself.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::Backoff;

/// A task that ran this long before it failed starts its back-off over.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// How long an aborted task has to disappear before it is reported as stuck.
const ABORT_GRACE: Duration = Duration::from_millis(500);

/// What happens when a task ends although nobody asked it to.
#[derive(Debug, Clone)]
pub enum Restart {
    /// An error or a panic is logged, and that was it.
    Never,
    /// After an error or a panic the task starts again, after a pause; `Ok` is the end.
    OnFailure(Backoff),
    /// The task starts again whatever it returned; for loops that are never done.
    Always(Backoff),
}

impl Restart {
    /// [`Restart::OnFailure`] with the usual pauses.
    #[must_use]
    pub fn on_failure() -> Self {
        Self::OnFailure(Backoff::default())
    }
}

/// What [`TaskSet::shutdown`] found, this set and its children together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Report {
    /// Tasks that did not end in time and were aborted, as `set/task`.
    pub aborted: Vec<String>,
    /// Tasks that not even aborting ended (they never yield), as `set/task`.
    pub stuck: Vec<String>,
}

impl Report {
    /// Whether every task ended by itself within the deadline.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.aborted.is_empty() && self.stuck.is_empty()
    }
}

/// Runs tasks that belong to one owner. Dropping the set aborts what still runs.
#[derive(Debug)]
pub struct TaskSet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    token: CancellationToken,
    members: Mutex<Members>,
    /// How many tasks run; lets `shutdown` wait without polling.
    running: watch::Sender<usize>,
    restarts: AtomicU64,
    parent: Option<Weak<Inner>>,
}

#[derive(Debug, Default)]
struct Members {
    next_id: u64,
    /// Set when all were aborted: who comes later is aborted too.
    doomed: bool,
    tasks: BTreeMap<u64, Member>,
    children: Vec<Weak<Inner>>,
}

#[derive(Debug)]
struct Member {
    name: String,
    abort: Option<AbortHandle>,
}

// === impl TaskSet ===

impl TaskSet {
    /// An empty set without a parent.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { inner: Inner::new(name.into(), CancellationToken::new(), None) }
    }

    /// A set whose tasks are cancelled with this one's and awaited by this one's shutdown.
    #[must_use]
    pub fn child(&self, name: impl Display) -> Self {
        let name = format!("{}/{name}", self.inner.name);
        let inner = Inner::new(name, self.inner.token.child_token(), Some(Arc::downgrade(&self.inner)));
        let mut members = self.inner.members();
        members.children.retain(|child| child.strong_count() > 0);
        members.children.push(Arc::downgrade(&inner));
        drop(members);
        Self { inner }
    }

    /// Cancelled when the set ends; tasks get the same one handed in.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.inner.token.clone()
    }

    /// Runs `task` under `restart`. Each run gets the set's token and should end soon after it is cancelled.
    pub fn spawn<F, Fut, E>(&self, name: impl Into<String>, restart: Restart, task: F)
    where
        F: FnMut(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let name = name.into();
        let runs = supervise(Arc::downgrade(&self.inner), name.clone(), self.token(), restart, task);
        self.inner.start(name, runs);
    }

    /// Runs `task` once; a panic is logged and counted like a failure.
    pub fn spawn_once<F, Fut>(&self, name: impl Into<String>, task: F)
    where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        let token = self.token();
        let set = self.inner.name.clone();
        let label = name.clone();
        self.inner.start(name, async move {
            if let Err(panic) = AssertUnwindSafe(async move { task(token).await }).catch_unwind().await {
                error!(set, task = label, "task panicked: {}", panic_text(&*panic));
            }
        });
    }

    /// How many tasks run now, children's included.
    #[must_use]
    pub fn running(&self) -> usize {
        self.inner.family().iter().map(|inner| *inner.running.borrow()).sum()
    }

    /// How often tasks were started again after an error or a panic, children's included.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.inner.restarts.load(Ordering::Relaxed)
    }

    /// Asks all tasks to end; returns at once. Use [`TaskSet::shutdown`] to wait.
    pub fn cancel(&self) {
        self.inner.token.cancel();
    }

    /// Cancels every task of this set and its children, waits up to `grace`, aborts the rest, and says who that was.
    pub async fn shutdown(self, grace: Duration) -> Report {
        self.inner.token.cancel();
        let deadline = Instant::now() + grace;
        let family = self.inner.family();
        for inner in &family {
            inner.wait_empty(deadline).await;
        }
        let aborted: Vec<String> = family.iter().flat_map(|inner| inner.abort_all()).collect();
        let deadline = Instant::now() + ABORT_GRACE;
        for inner in &family {
            inner.wait_empty(deadline).await;
        }
        let stuck: Vec<String> = family.iter().flat_map(|inner| inner.names()).collect();
        Report { aborted: aborted.into_iter().filter(|name| !stuck.contains(name)).collect(), stuck }
    }
}

impl Drop for TaskSet {
    fn drop(&mut self) {
        self.inner.token.cancel();
        for inner in self.inner.family() {
            inner.abort_all();
        }
    }
}

// === impl Inner ===

impl Inner {
    fn new(name: String, token: CancellationToken, parent: Option<Weak<Inner>>) -> Arc<Self> {
        Arc::new(Self {
            name,
            token,
            members: Mutex::default(),
            running: watch::Sender::new(0),
            restarts: AtomicU64::new(0),
            parent,
        })
    }

    /// A panic cannot leave the members half-changed, so a poisoned lock is still good.
    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the one place where tasks are spawned: here they get an owner"
    )]
    fn start(self: &Arc<Self>, name: String, future: impl Future<Output = ()> + Send + 'static) {
        let mut members = self.members();
        let id = members.next_id;
        members.next_id += 1;
        members.tasks.insert(id, Member { name, abort: None });
        drop(members);
        self.running.send_modify(|running| *running += 1);
        let leave = Leave { set: Arc::clone(self), id };
        let handle = tokio::spawn(async move {
            let _leave = leave;
            future.await;
        });
        let mut members = self.members();
        if members.doomed {
            handle.abort();
        }
        if let Some(member) = members.tasks.get_mut(&id) {
            member.abort = Some(handle.abort_handle());
        }
    }

    fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
        if let Some(parent) = self.parent.as_ref().and_then(Weak::upgrade) {
            parent.count_restart();
        }
    }

    /// This set and everything below it.
    fn family(self: &Arc<Self>) -> Vec<Arc<Inner>> {
        let mut family = vec![Arc::clone(self)];
        let mut at = 0;
        while let Some(inner) = family.get(at).cloned() {
            family.extend(inner.members().children.iter().filter_map(Weak::upgrade));
            at += 1;
        }
        family
    }

    async fn wait_empty(&self, deadline: Instant) {
        let mut running = self.running.subscribe();
        // Err is either the deadline or a sender that is gone; both mean that waiting is over.
        let _ = tokio::time::timeout_at(deadline, running.wait_for(|running| *running == 0)).await;
    }

    fn abort_all(&self) -> Vec<String> {
        let mut members = self.members();
        members.doomed = true;
        for member in members.tasks.values() {
            if let Some(abort) = &member.abort {
                abort.abort();
            }
        }
        drop(members);
        self.names()
    }

    fn names(&self) -> Vec<String> {
        self.members().tasks.values().map(|member| format!("{}/{}", self.name, member.name)).collect()
    }
}

/// Takes a task off its set however it ended: returned, panicked or aborted.
struct Leave {
    set: Arc<Inner>,
    id: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.set.members().tasks.remove(&self.id);
        self.set.running.send_modify(|running| *running = running.saturating_sub(1));
    }
}

// === the supervisor ===

async fn supervise<F, Fut, E>(
    set: Weak<Inner>,
    name: String,
    token: CancellationToken,
    restart: Restart,
    mut task: F,
) where
    F: FnMut(CancellationToken) -> Fut + Send,
    Fut: Future<Output = Result<(), E>> + Send,
    E: Display + Send + 'static,
{
    let (mut backoff, always) = match restart {
        Restart::Never => (None, false),
        Restart::OnFailure(backoff) => (Some(backoff), false),
        Restart::Always(backoff) => (Some(backoff), true),
    };
    let label = set.upgrade().map(|set| set.name.clone()).unwrap_or_default();
    loop {
        let started = Instant::now();
        let run = AssertUnwindSafe(async { task(token.clone()).await }).catch_unwind().await;
        match run {
            Ok(Ok(())) if !always => return,
            Ok(Ok(())) => {}
            Ok(Err(reason)) => warn!(set = label, task = name, "task failed: {reason}"),
            Err(panic) => error!(set = label, task = name, "task panicked: {}", panic_text(&*panic)),
        }
        if token.is_cancelled() {
            return;
        }
        let Some(backoff) = backoff.as_mut() else { return };
        if started.elapsed() >= HEALTHY_AFTER {
            backoff.reset();
        }
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(backoff.pause()) => {}
        }
        if let Some(set) = set.upgrade() {
            set.count_restart();
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}
