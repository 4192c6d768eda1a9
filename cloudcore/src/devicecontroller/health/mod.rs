//! Whether devices work, for people: `kubectl get devices`, conditions with what to do, and events when that changes.
//!
//! Owns: `status.health`, `status.lastReportTime` and `status.conditions` of Device objects (nobody else writes them). What is
//! known comes from the index, watches of nodes, sessions, nodes' words about their mappers, and the reports themselves;
//! [`judge`] is pure. A device that reports all the time costs a write a minute at most, and all of them together a bounded
//! number.

mod judge;
mod links;
mod nodes;
mod rounds;
mod silence;
mod tell;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::devices::{MapperReport, check};
use proto::pki::NodeName;
use serde_json::Value;
use tokio::time::Instant;

use super::index::{DeviceId, Subject};
use judge::{Liveness, Mapper, Verdict};
use links::{Link, PATIENCE};
use nodes::NodeSeen;

/// How often at most a device says that its status cannot be written.
const COMPLAINT: Duration = Duration::from_secs(600);
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
    /// Nodes that tell when their devices were heard: in which session they did last, and since when they listen.
    listeners: HashMap<NodeName, (u64, Instant)>,
    /// Nodes that have a session, or had one a moment ago.
    links: HashMap<NodeName, Link>,
    devices: HashMap<DeviceId, Known>,
}

/// A device.
#[derive(Default)]
struct Known {
    uid: String,
    /// Versions of device and model that `findings` is about.
    read: (String, Option<String>),
    finding: Option<check::Finding>,
    expects_reports: bool,
    /// How long it may be silent, if it says how often it reports.
    patience: Option<Duration>,
    /// Of when its newest reading is, Unix milliseconds.
    reported: Option<i64>,
    /// When it was heard last, by our clock.
    heard: Option<Instant>,
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

impl Health {
    /// What a node says about its mappers.
    pub(super) fn mappers(&self, node: &NodeName, report: MapperReport) {
        self.inner().mappers.insert(node.clone(), links::bounded(report));
    }

    /// What a node says in a session about when its devices were heard, and for how long it has been listening. Devices
    /// that are not its own have been left out.
    pub(super) fn seen(
        &self,
        node: &NodeName,
        session: u64,
        listening: Duration,
        devices: Vec<(DeviceId, Duration)>,
    ) {
        let (now, clock) = (Instant::now(), tasks::clock::unix_ms());
        let mut inner = self.inner();
        // Longer than this machine runs: it has missed nothing that we know of.
        let began = now.checked_sub(listening);
        let before = inner.listeners.get(node).map_or(now, |(_, since)| *since);
        inner.listeners.insert(node.clone(), (session, began.unwrap_or(before)));
        for (device, ago) in devices {
            let known = inner.devices.entry(device).or_default();
            known.heard = known.heard.max(now.checked_sub(ago));
            let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
            known.reported = known.reported.max(Some(clock.saturating_sub(ago).max(0)));
        }
    }

    /// What a device's status says now: of when its newest reading is (Unix milliseconds), and its state.
    pub(super) fn saw(&self, device: &DeviceId, reading: Option<i64>, state: Option<&str>) {
        let reading = reading.map(|at| at.min(tasks::clock::unix_ms()));
        let mut inner = self.inner();
        let known = inner.devices.entry(device.clone()).or_default();
        if reading > known.reported {
            known.reported = reading;
            known.heard = Some(Instant::now());
        }
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

impl Inner {
    /// `None`: it is too early to say.
    fn liveness(&self, subject: &Subject, started: Instant, now: Instant) -> Option<Liveness> {
        let Some(node) = &subject.node else { return Some(Liveness::Connected) };
        if self.links.contains_key(node) {
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
            *self = Self { uid: subject.device.uid.clone(), ..Self::default() };
            if known.uid.is_empty() {
                (self.reported, self.heard, self.state) = (known.reported, known.heard, known.state);
            }
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
        self.patience = device.as_ref().and_then(silence::patience);
        self.finding = device.and_then(|device| check::device(&device, model.as_ref()).into_iter().next());
    }
}
