//! Owns the set of pod workers: one for every pod in the store, one for every pod that the runtime still holds although
//! nobody wants it. Looks at the runtime as a whole when it says that something happened, and rarely otherwise.

mod health;
mod look;
mod runtime_events;
mod strangers;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use proto::resource::ResourceKind;
use proto::session::Dialect;
use tasks::{Restart, TaskSet};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::edged::context::Context;
use crate::edged::node::RuntimeHealth;
use crate::edged::pod::worker::{Desired, Worker};
use crate::edged::pod::{policy, status};
use crate::edged::runtime::PodUid;
use crate::edged::static_pods::{self, StaticPods};
use crate::edgehub::Connection;
use crate::metamanager::{STATIC_UID, StoreError};

/// Between looks when the runtime sends events, and when it does not.
const RELIST: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1));
/// After an event the runtime needs a moment until its lists show it.
const AFTER_EVENT: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(500)];
/// A node whose store is new waits this long after the cloud has connected before it removes pods that it does not know.
const SETTLED_AFTER: Duration = Duration::from_secs(30);

/// A worker and how to reach it.
struct Entry {
    pod: Arc<Pod>,
    desired: watch::Sender<Desired>,
    nudge: Arc<Notify>,
}

/// The loop's state.
pub(super) struct Manager {
    ctx: Arc<Context>,
    static_pods: watch::Receiver<StaticPods>,
    workers: BTreeMap<String, Entry>,
    tasks: TaskSet,
    ended: (mpsc::Sender<String>, mpsc::Receiver<String>),
    /// What the runtime held of each pod at the last look.
    prints: HashMap<PodUid, u64>,
    unknown: HashMap<PodUid, u8>,
    health: watch::Sender<RuntimeHealth>,
    /// Since when the store is known to be what the cloud wants; `None` when it never was.
    trusted: bool,
    /// Whether the runtime answered the last look.
    answers: bool,
    /// When the runtime was last asked how it is.
    asked: Option<Instant>,
    /// When it was last time to collect what is dead.
    collected: Option<Instant>,
    connected_since: Option<Instant>,
    /// When it was last looked for what pods that are gone have left.
    cleaned: Option<Instant>,
}

impl Manager {
    /// Workers run on a child of `tasks`.
    pub(super) fn new(
        ctx: Arc<Context>,
        static_pods: watch::Receiver<StaticPods>,
        tasks: &TaskSet,
        health: watch::Sender<RuntimeHealth>,
    ) -> Self {
        Self {
            ctx,
            static_pods,
            workers: BTreeMap::new(),
            tasks: tasks.child("workers"),
            ended: mpsc::channel(64),
            prints: HashMap::new(),
            unknown: HashMap::new(),
            health,
            trusted: false,
            answers: false,
            asked: None,
            collected: None,
            connected_since: None,
            cleaned: None,
        }
    }

    /// Runs until cancelled; tells `beats` whenever it comes round.
    pub(super) async fn run(
        mut self,
        token: CancellationToken,
        beats: watch::Sender<Instant>,
    ) -> Result<(), StoreError> {
        tokio::select! {
            () = token.cancelled() => Ok(()),
            ended = self.live(beats) => ended,
        }
    }

    async fn live(&mut self, beats: watch::Sender<Instant>) -> Result<(), StoreError> {
        let mut pods = self.ctx.store.changes(ResourceKind::Pod);
        let mut rebuilds = self.ctx.store.rebuilds();
        let mut connection = self.ctx.connection.clone();
        let mut static_pods = self.static_pods.clone();
        let (nudges, mut nudged) = mpsc::channel(1);
        let mut events = runtime_events::watch(&self.ctx, &self.tasks, nudges);
        self.trusted = self.is_filled().await?;
        self.keep_what_pods_hold().await?;
        self.take_up_pods().await?;
        let mut looks: Vec<Instant> = vec![Instant::now()];
        let mut had_events = false;
        let mut last_look = Instant::now();
        loop {
            beats.send_replace(Instant::now());
            let live = *events.borrow_and_update();
            // From now on nothing is missed; what happened before is seen by one more look.
            if live && !had_events {
                looks.push(Instant::now());
            }
            had_events = live;
            let healthy = matches!(*self.health.borrow(), RuntimeHealth::Ready { .. });
            let idle = if live && healthy { RELIST.0 } else { RELIST.1 };
            let next = looks.iter().min().copied().unwrap_or(last_look + idle);
            tokio::select! {
                changed = pods.changed() => {
                    changed.map_err(|_| StoreError::Closed)?;
                    self.take_up_pods().await?;
                }
                Ok(()) = static_pods.changed() => self.take_up_pods().await?,
                changed = rebuilds.changed() => {
                    changed.map_err(|_| StoreError::Closed)?;
                    tracing::warn!("the object store was rebuilt: pods that it does not know are left alone until the cloud has filled it");
                    self.trusted = false;
                    self.connected_since = None;
                    self.note_connection(*connection.borrow());
                }
                Ok(()) = connection.changed() => {
                    let now = *connection.borrow_and_update();
                    self.note_connection(now);
                }
                Some(()) = nudged.recv() => {
                    let now = Instant::now();
                    looks = AFTER_EVENT.iter().map(|delay| now + *delay).collect();
                }
                Ok(()) = events.changed() => {}
                Some(uid) = self.ended.1.recv() => {
                    self.drop_worker(&uid);
                    self.take_up_pods().await?;
                }
                () = tokio::time::sleep_until(next) => {
                    looks.retain(|look| *look > next);
                    self.look().await;
                    last_look = Instant::now();
                }
            }
        }
    }

    /// A store that holds the node's own object or any pod was filled by the cloud before.
    async fn is_filled(&self) -> Result<bool, StoreError> {
        let node = proto::resource::ObjectKey::node(&self.ctx.settings.node_name);
        let store = &self.ctx.store;
        Ok(store.get(&node).await?.is_some() || !store.list(&ResourceKind::Pod).await?.is_empty())
    }

    /// Before any pod begins, so that none is given what another has had since before a restart.
    async fn keep_what_pods_hold(&self) -> Result<(), StoreError> {
        for object in self.ctx.store.list(&ResourceKind::Pod).await? {
            let Ok(pod) = serde_json::from_value::<Pod>(object.object) else { continue };
            let meta = &pod.metadata;
            let own = text(&policy::spec(&pod).node_name) == self.ctx.settings.node_name;
            let told = self.ctx.store.pod_status(text(&meta.namespace), text(&meta.name), text(&meta.uid));
            let phase = told.await?.and_then(|status| status.phase);
            if own && phase.is_some_and(|phase| !matches!(phase.as_str(), "Succeeded" | "Failed")) {
                self.ctx.admission.keep(&pod);
            }
        }
        Ok(())
    }

    fn note_connection(&mut self, connection: Connection) {
        self.connected_since = match connection {
            // Only this dialect compares what the node holds with what it should hold when it connects.
            Connection::Up { dialect: Dialect::SkerryV1 } => {
                self.connected_since.or_else(|| Some(Instant::now()))
            }
            _ => None,
        };
    }

    /// Whether a pod that the store does not know is one that nobody wants.
    fn may_remove_unknown(&mut self) -> bool {
        if !self.trusted && self.connected_since.is_some_and(|since| since.elapsed() >= SETTLED_AFTER) {
            self.trusted = true;
        }
        self.trusted
    }

    /// Brings the set of workers in line with the pods in the store.
    async fn take_up_pods(&mut self) -> Result<(), StoreError> {
        let stored = self.ctx.store.list(&ResourceKind::Pod).await?;
        let mut wanted = BTreeMap::new();
        for object in stored {
            let key = object.key.to_string();
            match serde_json::from_value::<Pod>(object.object) {
                Ok(pod)
                    if policy::spec(&pod).node_name.as_deref()
                        != Some(self.ctx.settings.node_name.as_str()) =>
                {
                    tracing::debug!("{key} is bound to another node");
                }
                // What it shows runs here already.
                Ok(pod) if static_pods::is_mirror(&pod) => {}
                Ok(pod) => {
                    if let Some(uid) = pod.metadata.uid.clone() {
                        wanted.insert(uid, Arc::new(pod));
                    }
                }
                Err(error) => tracing::error!("{key} cannot be read as a Pod and is not run: {error}"),
            }
        }
        let files = self.static_pods.borrow_and_update().clone();
        wanted.extend(files.iter().map(|(uid, pod)| (uid.clone(), Arc::clone(pod))));
        for (uid, entry) in &self.workers {
            if !wanted.contains_key(uid) {
                entry.desired.send_if_modified(|desired| {
                    let was_present = *desired != Desired::Removed;
                    *desired = Desired::Removed;
                    was_present
                });
            }
        }
        for (uid, pod) in wanted {
            match self.workers.get(&uid) {
                Some(entry) => {
                    entry.desired.send_if_modified(|desired| {
                        let next = Desired::Present(Arc::clone(&pod));
                        // A status that comes back from the cloud changes nothing here.
                        let differs = !matches!(&*desired, Desired::Present(old) if same_wish(old, &pod));
                        if differs {
                            *desired = next;
                        }
                        differs
                    });
                }
                // A file that was changed: its pod begins when the one before it has ended.
                None if static_pods::is_static(&pod) && self.has_predecessor(&pod) => {}
                None => self.add_worker(uid, Arc::clone(&pod), Desired::Present(pod)),
            }
        }
        Ok(())
    }

    /// Whether a static pod of this name, that is to end, is still there. Pods of the API do not count: theirs are other pods.
    fn has_predecessor(&self, pod: &Pod) -> bool {
        let name = |pod: &Pod| (pod.metadata.namespace.clone(), pod.metadata.name.clone());
        let mut statics = self.workers.iter().filter(|(uid, _)| uid.starts_with(STATIC_UID));
        statics.any(|(_, entry)| name(&entry.pod) == name(pod))
    }

    fn add_worker(&mut self, uid: String, pod: Arc<Pod>, desired: Desired) {
        let (sender, receiver) = watch::channel(desired);
        let nudge = Arc::new(Notify::new());
        let entry = Entry { pod: Arc::clone(&pod), desired: sender, nudge: Arc::clone(&nudge) };
        self.workers.insert(uid.clone(), entry);
        let (ctx, ended) = (Arc::clone(&self.ctx), self.ended.0.clone());
        let name = format!("{}/{}", text(&pod.metadata.namespace), text(&pod.metadata.name));
        let span_name = name.clone();
        self.tasks.spawn(name, Restart::on_failure(), move |token| {
            let worker =
                Worker::new(Arc::clone(&ctx), Arc::clone(&pod), receiver.clone(), Arc::clone(&nudge));
            let (ended, uid, cancelled) = (ended.clone(), uid.clone(), token.clone());
            let span = tracing::info_span!("pod", name = span_name, uid);
            let run = async move {
                worker.run(token).await?;
                if !cancelled.is_cancelled() {
                    // Nobody to tell means that everything ends.
                    ended.send(uid).await.ok();
                }
                Ok::<(), StoreError>(())
            };
            tracing::Instrument::instrument(run, span)
        });
    }

    fn drop_worker(&mut self, uid: &str) {
        let Some(entry) = self.workers.remove(uid) else { return };
        self.ctx.admission.release(uid);
        let desired = entry.desired.borrow().clone();
        // The object came back between the worker's end and now.
        if let Desired::Present(pod) = desired {
            self.add_worker(uid.to_owned(), Arc::clone(&pod), Desired::Present(pod));
        }
        self.unknown.remove(&PodUid(uid.to_owned()));
    }
}

fn text(part: &Option<String>) -> &str {
    part.as_deref().unwrap_or_default()
}

/// Whether nothing differs that a worker acts on.
fn same_wish(old: &Pod, new: &Pod) -> bool {
    let conditions = |pod: &Pod| pod.status.as_ref().and_then(|status| status.conditions.clone());
    let gates = |pod: &Pod| policy::spec(pod).readiness_gates.as_ref().map(|_| conditions(pod));
    let (a, b) = (&old.metadata, &new.metadata);
    old.spec == new.spec
        && a.labels == b.labels
        && a.annotations == b.annotations
        && a.deletion_timestamp == b.deletion_timestamp
        && a.deletion_grace_period_seconds == b.deletion_grace_period_seconds
        && a.generation == b.generation
        && gates(old) == gates(new)
        && status::is_denied(old) == status::is_denied(new)
}
