//! Events as the kubelet writes them, merged: the same thing said again raises a count. How often a repeated event is
//! written down falls with its count, because every write wears out flash.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::pod::members::{self, Role};
use crate::metamanager;

/// Events remembered for merging.
const REMEMBERED: usize = 256;
/// A repeated event is written again after this time at the latest.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// The longest message; runtimes can be talkative.
const MAX_MESSAGE: usize = 1024;

/// Whether an event is good or bad news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Things go their way.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Writes events down for the cloud.
#[derive(Debug)]
pub struct Recorder {
    store: metamanager::Handle,
    node: String,
    enabled: bool,
    seen: Mutex<VecDeque<Seen>>,
}

/// An event that was said before.
#[derive(Debug, Clone)]
struct Seen {
    event: Event,
    /// `None` before the first time.
    written: Option<Instant>,
}

impl Recorder {
    /// Writes to the store, in the name of that node; does nothing unless `enabled`.
    pub fn new(store: metamanager::Handle, node: &str, enabled: bool) -> Self {
        Self { store, node: node.to_owned(), enabled, seen: Mutex::default() }
    }

    /// Says something about a pod, or about one of its containers.
    pub async fn pod(
        &self,
        pod: &Pod,
        container: Option<&str>,
        severity: Severity,
        reason: &str,
        message: &str,
    ) {
        let object = of_pod(pod, container);
        self.record(object, severity, reason, message).await;
    }

    /// What is said of a pod once in its life, for who writes it down together with what it tells of; none when no events are wanted. Said
    /// again, as by an agent that was killed, it is the same event.
    pub fn pod_once(&self, pod: &Pod, severity: Severity, reason: &str, message: &str) -> Option<Event> {
        let object = of_pod(pod, None);
        let digest = Sha256::digest(format!("{}/{reason}", object.uid.as_deref().unwrap_or_default()));
        let name = format!("{}.{}", object.name.as_deref().unwrap_or("unknown"), hex::encode(&digest[..8]));
        let now = Timestamp::now();
        let time = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let mut event = self.fresh(object, severity, reason, cut(message), time, now);
        event.metadata.name = Some(name);
        say(severity, reason, event.involved_object.name.as_deref(), message);
        self.enabled.then_some(event)
    }

    /// Says something about the node.
    pub async fn node(&self, severity: Severity, reason: &str, message: &str) {
        let object = ObjectReference {
            kind: Some("Node".into()),
            name: Some(self.node.clone()),
            // The kubelet's convention: a node's events carry its name as uid.
            uid: Some(self.node.clone()),
            ..ObjectReference::default()
        };
        self.record(object, severity, reason, message).await;
    }

    async fn record(&self, object: ObjectReference, severity: Severity, reason: &str, message: &str) {
        let message = cut(message);
        say(severity, reason, object.name.as_deref(), &message);
        if let Some(event) = self.merge(object, severity, reason, message, Timestamp::now()) {
            self.store(event).await;
        }
    }

    async fn store(&self, event: Event) {
        if !self.enabled {
            return;
        }
        if let Err(error) = self.store.record_event(event).await {
            tracing::warn!("an event is not recorded: {error}");
        }
    }

    /// The event to write, or `None` when it was said recently and often.
    fn merge(
        &self,
        object: ObjectReference,
        severity: Severity,
        reason: &str,
        message: String,
        now: Timestamp,
    ) -> Option<Event> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &Seen| {
            let event = &known.event;
            event.reason.as_deref() == Some(reason)
                && event.message.as_deref() == Some(message.as_str())
                && event.involved_object.uid == object.uid
                && event.involved_object.field_path == object.field_path
        };
        let time = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let mut entry = match seen.iter().position(same).and_then(|index| seen.remove(index)) {
            Some(mut known) => {
                known.event.count = Some(known.event.count.unwrap_or(1).saturating_add(1));
                known.event.last_timestamp = Some(Time(time));
                known
            }
            None => Seen { event: self.fresh(object, severity, reason, message, time, now), written: None },
        };
        let count = entry.event.count.unwrap_or(1);
        let worth_it = (count & (count - 1)) == 0 || entry.written.is_none_or(|at| at.elapsed() >= REFRESH);
        if worth_it {
            entry.written = Some(Instant::now());
        }
        let event = worth_it.then(|| entry.event.clone());
        seen.push_back(entry);
        if seen.len() > REMEMBERED {
            seen.pop_front();
        }
        event
    }

    fn fresh(
        &self,
        object: ObjectReference,
        severity: Severity,
        reason: &str,
        message: String,
        time: Timestamp,
        now: Timestamp,
    ) -> Event {
        let namespace = object.namespace.clone().unwrap_or_else(|| "default".into());
        // client-go's name: the object's, a dot, and the time as a hexadecimal number.
        let name = format!("{}.{:x}", object.name.as_deref().unwrap_or("unknown"), now.as_nanosecond());
        Event {
            metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
            involved_object: object,
            type_: Some(match severity {
                Severity::Normal => "Normal".into(),
                Severity::Warning => "Warning".into(),
            }),
            reason: Some(reason.to_owned()),
            message: Some(message),
            source: Some(EventSource { component: Some("kubelet".into()), host: Some(self.node.clone()) }),
            reporting_component: Some("kubelet".into()),
            reporting_instance: Some(self.node.clone()),
            first_timestamp: Some(Time(time)),
            last_timestamp: Some(Time(time)),
            count: Some(1),
            ..Event::default()
        }
    }
}

fn of_pod(pod: &Pod, container: Option<&str>) -> ObjectReference {
    let meta = &pod.metadata;
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: container.map(|name| field_path(pod, name)),
    }
}

fn say(severity: Severity, reason: &str, object: Option<&str>, message: &str) {
    match severity {
        Severity::Normal => tracing::info!(reason, object, "{message}"),
        Severity::Warning => tracing::warn!(reason, object, "{message}"),
    }
}

fn field_path(pod: &Pod, container: &str) -> String {
    let role = members::find(pod, container).map_or(Role::Main, |(role, _)| role);
    format!("spec.{}{{{container}}}", role.field())
}

fn cut(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((at, _)) => format!("{}...", &message[..at]),
        None => message.to_owned(),
    }
}
