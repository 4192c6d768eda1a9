//! Whether devices work, for people: `kubectl get devices`, conditions with what to do, and events when that changes.
//!
//! Owns: `status.health`, `status.lastReportTime` and `status.conditions` of Device objects (nobody else writes them). What is
//! known comes from the index, watches of nodes, sessions, nodes' words about their mappers, and the reports themselves;
//! [`judge`] is pure. A device that reports all the time costs a write a minute at most, and all of them together a bounded
//! number.

mod judge;
mod tell;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use proto::devices::{MapperReport, check};
use proto::pki::NodeName;
use proto::session::Dialect;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::DeviceController;
use super::index::{DeviceId, Subject};
use crate::cloudhub::Sessions;
use crate::kubeapi::{Failure, watch_failure_of};
use judge::{Facts, Liveness, Mapper, Verdict, judge};

/// How often devices are looked at.
const TICK: Duration = Duration::from_secs(2);
/// How long a node may be without a session before its devices are said to be cut off: it reconnects within seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often at most a device's last report is written down.
const REFRESH: Duration = Duration::from_secs(60);
/// How often at most a device says that its status cannot be written.
const COMPLAINT: Duration = Duration::from_secs(600);
/// Devices written in one round because their health changed; the others come in the next.
const NEWS: usize = 500;
/// Devices written in one round only because they reported.
const REFRESHED: usize = 50;
/// Devices written at once.
const PARALLEL: usize = 8;

/// What is known beyond the index. See the module.
#[derive(Default)]
pub(super) struct Health {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    nodes: HashMap<String, NodeSeen>,
    nodes_listed: bool,
    mappers: HashMap<NodeName, MapperReport>,
    /// When a node had a session last.
    heard: HashMap<NodeName, Instant>,
    devices: HashMap<DeviceId, Known>,
}

/// A Node object.
#[derive(Clone, Default)]
struct NodeSeen {
    /// Since when it is not ready, in the API's words.
    not_ready_since: Option<String>,
}

/// A device.
#[derive(Default)]
struct Known {
    uid: String,
    /// Versions of device and model that `findings` is about.
    read: (String, Option<String>),
    finding: Option<check::Finding>,
    expects_reports: bool,
    /// Unix milliseconds.
    reported: Option<i64>,
    state: Option<String>,
    shown: Option<Shown>,
    /// When it was said that its status cannot be written.
    complained: Option<Instant>,
}

/// What the API was last given.
#[derive(Clone)]
struct Shown {
    verdict: Verdict,
    reported: Option<i64>,
    at: Instant,
}

/// One write that is due.
struct Due {
    device: DeviceId,
    uid: String,
    verdict: Verdict,
    before: Option<Verdict>,
    reported: Option<i64>,
}

impl Health {
    /// What a node says about its mappers.
    pub(super) fn mappers(&self, node: &NodeName, report: MapperReport) {
        self.inner().mappers.insert(node.clone(), report);
    }

    /// What a device's status says now: of when its newest reading is (Unix milliseconds), and its state.
    pub(super) fn saw(&self, device: &DeviceId, reading: Option<i64>, state: Option<&str>) {
        let reading = reading.map(|at| at.min(tasks::clock::unix_ms()));
        let mut inner = self.inner();
        let known = inner.devices.entry(device.clone()).or_default();
        known.reported = known.reported.max(reading);
        if known.state.as_deref() != state {
            known.state = state.map(str::to_owned);
        }
    }

    /// What the API shows of a device. Taken over after a start; a status that somebody removed is written anew.
    pub(super) fn shows(&self, device: &DeviceId, uid: &str, status: Option<&Value>) {
        let shown = status.and_then(tell::read);
        let mut inner = self.inner();
        let known = inner.devices.entry(device.clone()).or_default();
        match shown {
            None => known.shown = None,
            Some((verdict, reported)) if known.uid.is_empty() => {
                known.uid = uid.to_owned();
                known.reported = known.reported.max(reported);
                known.shown = Some(Shown { verdict, reported, at: Instant::now() });
            }
            Some(_) => {}
        }
    }

    /// Whether it is time to say (again) that the device's status cannot be written.
    fn complains(&self, device: &DeviceId) -> bool {
        let mut inner = self.inner();
        let known = inner.devices.entry(device.clone()).or_default();
        let due = known.complained.is_none_or(|at| at.elapsed() >= COMPLAINT);
        if due {
            known.complained = Some(Instant::now());
        }
        due
    }

    /// A panic cannot leave it in a state that the next round does not mend.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DeviceController {
    /// The API does not let us write the device's DeviceStatus: says so on the Device, from time to time.
    pub(super) async fn tell_status_refused(&self, device: &DeviceId, uid: &str, failure: &Failure) {
        if !self.health.complains(device) {
            return;
        }
        warn!(%device, "its DeviceStatus cannot be written: {}", failure.message);
        let message = format!(
            "its values cannot be shown: {}. Install the definitions in deploy/crds, and let cloudcore's account get, list, watch, create, update, patch and delete devicestatuses.devices.kubeedge.io",
            failure.message
        );
        tell::warn_of(&self.client, device, uid, "StatusNotWritten", message).await;
    }

    /// Looks after devices' health until cancelled.
    pub(super) async fn look_after(
        &self,
        sessions: Sessions,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = self.follow_nodes() => Ok(()),
            never = self.rounds(&sessions) => match never {},
        }
    }

    async fn rounds(&self, sessions: &Sessions) -> Infallible {
        let started = Instant::now();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !self.desired.is_synced(crate::desired::Plane::Devices) {
                continue;
            }
            let due = self.due(sessions, started);
            let writes = futures::stream::iter(due).map(|due| self.show(due));
            writes.buffer_unordered(PARALLEL).collect::<()>().await;
        }
    }

    /// Everything that the API should be told.
    fn due(&self, sessions: &Sessions, started: Instant) -> Vec<Due> {
        let now = Instant::now();
        let subjects = self.index().subjects();
        let mut inner = self.health.inner();
        let there: HashSet<&DeviceId> = subjects.iter().map(|subject| &subject.id).collect();
        inner.devices.retain(|id, _| there.contains(id));
        let mut silent = HashSet::new();
        for (node, _, dialect) in sessions.all() {
            // After our own start, what it says about its mappers is on its way.
            if dialect == Dialect::SkerryV1
                && !inner.mappers.contains_key(&node)
                && now - started < 2 * PATIENCE
            {
                silent.insert(node.clone());
            }
            inner.heard.insert(node, now);
        }
        inner.heard.retain(|_, at| now - *at < PATIENCE);
        let mut due = Vec::new();
        // Whose last report is to be written down, the longest waiting first.
        let mut stale: Vec<(Instant, Due)> = Vec::new();
        for subject in &subjects {
            let Some(liveness) = inner.liveness(subject, started, now) else { continue };
            if subject.node.as_ref().is_some_and(|node| silent.contains(node)) {
                continue;
            }
            let mapper = subject.node.as_ref().and_then(|node| inner.mapper(node, subject));
            let known = inner.devices.entry(subject.id.clone()).or_default();
            known.follow(subject);
            let facts = Facts {
                node: subject.node.as_ref().map(NodeName::as_str),
                liveness,
                protocol: &subject.protocol,
                mapper,
                model: subject.model_name.as_deref(),
                has_model: subject.model.is_some(),
                finding: known.finding.as_ref(),
                reported: known.reported.is_some(),
                state: known.state.as_deref(),
                expects_reports: known.expects_reports,
            };
            let verdict = judge(&subject.id.to_string(), &facts);
            let news = known.shown.as_ref().is_none_or(|shown| shown.verdict != verdict);
            let old = known
                .shown
                .as_ref()
                .is_some_and(|shown| shown.reported < known.reported && now - shown.at >= REFRESH);
            if !news && !old {
                continue;
            }
            let write = Due {
                device: subject.id.clone(),
                uid: known.uid.clone(),
                verdict,
                before: known.shown.as_ref().map(|shown| shown.verdict.clone()),
                reported: known.reported,
            };
            match known.shown.as_ref().filter(|_| !news) {
                Some(shown) => stale.push((shown.at, write)),
                None => due.push(write),
            }
        }
        due.truncate(NEWS);
        stale.sort_by_key(|(at, _)| *at);
        due.extend(stale.into_iter().take(REFRESHED).map(|(_, write)| write));
        due
    }

    async fn show(&self, due: Due) {
        let shown = Shown { verdict: due.verdict.clone(), reported: due.reported, at: Instant::now() };
        match tell::write(&self.client, &due.device, &due.verdict, due.reported).await {
            Ok(()) => {
                if let Some(known) = self.health.inner().devices.get_mut(&due.device)
                    && known.uid == due.uid
                {
                    known.shown = Some(shown);
                }
                tell::event(&self.client, &due.device, &due.uid, due.before.as_ref(), &due.verdict).await;
            }
            Err(failure) if failure.is_not_found() => debug!(device = %due.device, "it is gone"),
            Err(failure) => warn!(device = %due.device, "its health cannot be written: {}", failure.message),
        }
    }

    async fn follow_nodes(&self) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut events = watcher(nodes, watcher::Config::default()).default_backoff().boxed();
        let mut listed = HashMap::new();
        while let Some(event) = events.next().await {
            match event {
                Err(error) => {
                    warn!("watching nodes failed, trying again: {}", watch_failure_of(error, "v1 Node"))
                }
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(node)) => {
                    listed.insert(node.metadata.name.clone().unwrap_or_default(), NodeSeen::of(&node));
                }
                Ok(Event::InitDone) => {
                    let mut inner = self.health.inner();
                    inner.nodes = std::mem::take(&mut listed);
                    inner.nodes_listed = true;
                }
                Ok(Event::Apply(node)) => {
                    let seen = NodeSeen::of(&node);
                    self.health.inner().nodes.insert(node.metadata.name.unwrap_or_default(), seen);
                }
                Ok(Event::Delete(node)) => {
                    self.health.inner().nodes.remove(&node.metadata.name.unwrap_or_default());
                }
            }
        }
    }
}

impl NodeSeen {
    fn of(node: &Node) -> Self {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
        let not_ready = ready.filter(|condition| condition.status != "True");
        let since = not_ready.and_then(|condition| condition.last_transition_time.as_ref());
        Self { not_ready_since: since.map(|time| time.0.to_string()) }
    }
}

impl Inner {
    /// `None`: it is too early to say.
    fn liveness(&self, subject: &Subject, started: Instant, now: Instant) -> Option<Liveness> {
        let Some(node) = &subject.node else { return Some(Liveness::Connected) };
        if self.heard.contains_key(node) {
            return Some(Liveness::Connected);
        }
        // A node without pods has no Node object, and is there once it has connected.
        if !self.nodes_listed || now - started < PATIENCE {
            return None;
        }
        Some(match self.nodes.get(node.as_str()) {
            None => Liveness::Missing,
            Some(seen) => Liveness::Gone { since: seen.not_ready_since.clone() },
        })
    }

    fn mapper(&self, node: &NodeName, subject: &Subject) -> Option<Mapper> {
        let report = self.mappers.get(node)?;
        let mapper = report.mappers.iter().find(|mapper| mapper.protocol == subject.protocol);
        Some(Mapper::of(mapper, &subject.id.to_string()))
    }
}

impl Known {
    /// Reads device and model again if they changed.
    fn follow(&mut self, subject: &Subject) {
        if self.uid != subject.device.uid {
            // A namesake begins anew.
            let known = std::mem::take(self);
            // What was heard before the first look at it is its own.
            let (reported, state) =
                if known.uid.is_empty() { (known.reported, known.state) } else { (None, None) };
            *self = Self { uid: subject.device.uid.clone(), reported, state, ..Self::default() };
        }
        let version = |object: &crate::desired::Object| object.resource_version.clone();
        let read = (version(&subject.device), subject.model.as_deref().map(version));
        if self.read == read {
            return;
        }
        self.read = read;
        let device = subject.device.content.parse_lenient::<proto::devices::Device>().ok();
        let model = subject.model.as_ref().and_then(|model| model.content.parse_lenient().ok());
        self.expects_reports = device.as_ref().is_some_and(|device| {
            device.spec.properties.iter().any(|property| property.report_to_cloud == Some(true))
        });
        self.finding = device.and_then(|device| check::device(&device, model.as_ref()).into_iter().next());
    }
}
