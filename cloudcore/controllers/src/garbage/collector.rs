//! The loop that owns the graph: watches feed it, workers take from it.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, SelectAll};
use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::graph::{Effects, Graph, Kind, Misplaced, Uid};
use super::kinds::{Kinds, Served};
use super::lean::Lean;
use super::queue::Queue;
use super::work::{Failure, Outcome, Worker};
use crate::events::Recorder;

/// How many objects are looked at at once (Kubernetes: 20).
const WORKERS: usize = 20;
/// How often the API is asked what it serves, besides when a CRD changes.
const DISCOVERY: Duration = Duration::from_secs(30);
/// Changes of CRDs that come together are handled together; a failed discovery is tried again after that, too.
const SETTLE: Duration = Duration::from_millis(100);
/// How long the listing of all kinds is waited for before anything is deleted. What is decided from live reads stays right without it.
const FIRST_LISTING: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Work {
    Examine(Uid),
    Orphan(Uid),
}

type Changes = Pin<Box<dyn Stream<Item = Change> + Send>>;
type Finished = Pin<Box<dyn Future<Output = (Work, Result<Outcome, Failure>)> + Send>>;

struct Change {
    kind: Arc<Kind>,
    event: Result<Event<Lean>, watcher::Error>,
}

/// The watch of a kind.
struct Watch {
    /// Ends it when dropped.
    _end: tokio_util::sync::DropGuard,
    /// Its last event was an error.
    fails: bool,
    /// Discovery did not name the kind any more.
    missing: bool,
}

struct Collector {
    client: Client,
    events: Recorder,
    graph: Graph,
    queue: Queue<Work>,
    kinds: Arc<Kinds>,
    watches: HashMap<Arc<Kind>, Watch>,
    changes: SelectAll<Changes>,
    unlisted: HashSet<Arc<Kind>>,
    discover_at: Instant,
}

/// Collects until `token` is cancelled.
pub(super) async fn run(
    client: Client,
    events: Recorder,
    token: CancellationToken,
) -> Result<(), Infallible> {
    let now = Instant::now();
    let mut collector = Collector {
        client,
        events,
        graph: Graph::default(),
        queue: Queue::default(),
        kinds: Arc::default(),
        watches: HashMap::new(),
        changes: SelectAll::new(),
        unlisted: HashSet::new(),
        discover_at: now,
    };
    let mut working: FuturesUnordered<Finished> = FuturesUnordered::new();
    loop {
        // A list of thousands is there at once: others want to go on meanwhile.
        tokio::task::consume_budget().await;
        collector.refresh(now + FIRST_LISTING).await;
        let ready = collector.is_ready(now + FIRST_LISTING);
        while ready
            && working.len() < WORKERS
            && let Some(work) = collector.queue.pop(Instant::now())
        {
            match collector.job(work.clone()) {
                Some(job) => working.push(job),
                None => collector.queue.done(&work),
            }
        }
        // What is due but cannot be begun yet is no reason to wake up.
        let due = collector.queue.next_due().filter(|_| ready && working.len() < WORKERS);
        let due = due.map_or(collector.discover_at, |due| due.min(collector.discover_at));
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            Some(change) = collector.changes.next() => collector.take(change),
            Some((work, result)) = working.next() => collector.finish(work, result),
            () = tokio::time::sleep_until(due) => {}
        }
    }
}

// === impl Collector ===

impl Collector {
    /// Whether enough is known to begin.
    fn is_ready(&self, at_the_latest: Instant) -> bool {
        !self.watches.is_empty() && (self.unlisted.is_empty() || Instant::now() >= at_the_latest)
    }

    /// Asks what the API serves, when it is time to.
    async fn refresh(&mut self, first_listing: Instant) {
        if Instant::now() < self.discover_at {
            return;
        }
        let kinds = match Kinds::discover(&self.client).await {
            Ok(kinds) => Arc::new(kinds),
            Err(error) => {
                tracing::warn!(%error, "cannot ask the API what it serves, trying again");
                self.discover_at = Instant::now() + if self.watches.is_empty() { SETTLE } else { DISCOVERY };
                return;
            }
        };
        self.discover_at = Instant::now() + DISCOVERY;
        let mut served = HashSet::new();
        for kind in &kinds.watched {
            let name = self.graph.kind(&kind.resource.api_version, &kind.resource.kind);
            served.insert(Arc::clone(&name));
            let runs = self.watches.get_mut(&name).is_some_and(|watch| {
                watch.missing = false;
                !watch.fails
            });
            if !runs {
                self.watch(name, kind, first_listing);
            }
        }
        // A kind's last deletions may still be on their way, so its watch ends only when the kind is missed a second time.
        let missing: Vec<_> = self.watches.keys().filter(|kind| !served.contains(*kind)).cloned().collect();
        for kind in missing {
            self.unlisted.remove(&kind);
            if self.watches.get_mut(&kind).is_some_and(|watch| !std::mem::replace(&mut watch.missing, true)) {
                continue;
            }
            tracing::info!(kind = &*kind.kind, "no longer served");
            self.watches.remove(&kind);
            let mut effects = Effects::default();
            self.graph.begin(&kind);
            self.graph.end(&kind, &mut effects);
            self.follow(effects);
        }
        self.kinds = kinds;
    }

    fn watch(&mut self, name: Arc<Kind>, kind: &Served, first_listing: Instant) {
        let token = CancellationToken::new();
        let api = Api::<Lean>::all_with(self.client.clone(), &kind.resource);
        let events = kube::runtime::watcher(api, watcher::Config::default()).default_backoff();
        let tag = Arc::clone(&name);
        let events = events.map(move |event| Change { kind: Arc::clone(&tag), event });
        self.changes.push(events.take_until(token.clone().cancelled_owned()).boxed());
        if Instant::now() < first_listing {
            self.unlisted.insert(Arc::clone(&name));
        }
        self.watches.insert(name, Watch { _end: token.drop_guard(), fails: false, missing: false });
    }

    fn take(&mut self, change: Change) {
        let Change { kind, event } = change;
        if let Some(watch) = self.watches.get_mut(&kind) {
            watch.fails = event.is_err();
        }
        let mut effects = Effects::default();
        match event {
            Ok(Event::Apply(object)) => {
                self.graph.seen(&kind, &object.metadata, &mut effects);
                self.note_crd(&kind);
            }
            Ok(Event::InitApply(object)) => self.graph.seen(&kind, &object.metadata, &mut effects),
            Ok(Event::Delete(object)) => {
                self.deleted(&object.metadata, &mut effects);
                self.note_crd(&kind);
            }
            Ok(Event::Init) => self.graph.begin(&kind),
            Ok(Event::InitDone) => {
                self.graph.end(&kind, &mut effects);
                // A definition in the list may have come after the last discovery.
                self.note_crd(&kind);
                if self.unlisted.remove(&kind) && self.unlisted.is_empty() {
                    tracing::debug!(
                        objects = self.graph.len(),
                        kinds = self.watches.len(),
                        "everything is listed"
                    );
                }
            }
            Err(error) => tracing::debug!(kind = &*kind.kind, %error, "cannot watch, trying again"),
        }
        self.follow(effects);
    }

    fn deleted(&mut self, metadata: &ObjectMeta, effects: &mut Effects) {
        if let Some(uid) = &metadata.uid {
            self.graph.gone(uid, effects);
        }
    }

    /// Kinds come and go with their definitions.
    fn note_crd(&mut self, kind: &Kind) {
        if &*kind.kind == "CustomResourceDefinition" {
            self.discover_at = self.discover_at.min(Instant::now() + SETTLE);
        }
    }

    fn follow(&mut self, effects: Effects) {
        effects.examine.into_iter().for_each(|uid| self.queue.push(Work::Examine(uid)));
        effects.orphan.into_iter().for_each(|uid| self.queue.push(Work::Orphan(uid)));
        for misplaced in effects.misplaced {
            let (about, message) = report(&misplaced);
            self.events.warning_about(about, "OwnerRefInvalidNamespace", message);
        }
    }

    /// The work, ready to be polled; none if there is nothing to do any more.
    fn job(&self, work: Work) -> Option<Finished> {
        let worker = Worker {
            client: self.client.clone(),
            kinds: Arc::clone(&self.kinds),
            absent: Arc::clone(&self.graph.absent),
        };
        match &work {
            Work::Examine(uid) => {
                let item = self.graph.item(uid)?;
                Some(async move { (work, worker.examine(&item).await) }.boxed())
            }
            Work::Orphan(uid) => {
                let item = self.graph.item(uid).filter(|item| item.orphans)?;
                let dependents = self.graph.dependents(uid);
                Some(async move { (work, worker.orphan(&item, dependents).await) }.boxed())
            }
        }
    }

    fn finish(&mut self, work: Work, result: Result<Outcome, Failure>) {
        let (Work::Examine(uid) | Work::Orphan(uid)) = &work;
        let mut effects = Effects::default();
        let node = self.graph.item(uid);
        match result {
            Ok(Outcome::NotThere) => {
                if let Some(node) = node {
                    self.graph.not_there(&node.uid, &node.place, &mut effects);
                }
                self.queue.done(&work);
            }
            Ok(outcome) => {
                if let Outcome::First(uids) = outcome {
                    effects.examine.extend(uids);
                }
                // Who was never seen by a watch may come and go unseen: it is asked for until one sees it.
                if node.is_some_and(|node| !node.observed) {
                    self.queue.failed(&work, Instant::now());
                } else {
                    self.queue.done(&work);
                }
            }
            Err(failure) => {
                let pause = self.queue.failed(&work, Instant::now());
                let object = node.map(|node| node.place.to_string()).unwrap_or_default();
                match &failure {
                    Failure::Api(error) if !error.is_race() => {
                        tracing::warn!(object, %failure, ?pause, "cannot collect, trying again");
                    }
                    _ => tracing::debug!(object, %failure, ?pause, "cannot collect yet, looking again"),
                }
            }
        }
        self.follow(effects);
    }
}

/// In Kubernetes' words.
fn report(misplaced: &Misplaced) -> (ObjectReference, String) {
    let place = &misplaced.place;
    let about = ObjectReference {
        api_version: Some(place.kind.api_version.to_string()),
        kind: Some(place.kind.kind.to_string()),
        namespace: Some(place.namespace.to_string()).filter(|namespace| !namespace.is_empty()),
        name: Some(place.name.to_string()),
        uid: Some(misplaced.uid.to_string()),
        ..ObjectReference::default()
    };
    let (uid, owner) = &misplaced.owner;
    let message = format!(
        "ownerRef [{}/{}, namespace: {}, name: {}, uid: {uid}] does not exist in namespace {:?}",
        owner.kind.api_version, owner.kind.kind, owner.namespace, owner.name, place.namespace,
    );
    (about, message)
}
