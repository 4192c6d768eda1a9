//! Events, as `kubectl describe` lists them: counted when they repeat, and never in the way of the work that they tell of.
//!
//! A reconciliation hands an event to a bounded queue and goes on; one task writes. Source of the rules: Kubernetes v1.36
//! `client-go/tools/record` and `tools/events`: the same event again raises `count`, similar ones are combined, a series is written twice
//! and then now and again, and an object may have 25 at once and one more every 5 minutes.

mod memory;
mod recall;
mod series;
mod similar;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::api::events::v1::Event as SeriesEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde_json::json;
use tasks::{Restart, TaskSet};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use memory::{Memory, Step, Written};
use series::Act;

/// Events that wait to be written; more are dropped and counted.
const WAITING: usize = 1000;

/// Starts here, and makes the recorders.
#[derive(Clone)]
pub(crate) struct Events {
    queue: mpsc::Sender<Note>,
    memory: Shared,
}

/// What was told. A note that is only counted is never in the queue, where it might find no place.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Memory>>);

/// Records events in the name of a component.
#[derive(Clone)]
pub(crate) struct Recorder {
    component: &'static str,
    queue: mpsc::Sender<Note>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Severity {
    Normal,
    Warning,
}

struct Note {
    component: &'static str,
    /// None in the older style.
    act: Option<Act>,
    about: ObjectReference,
    severity: Severity,
    reason: &'static str,
    message: String,
    /// Whether the message stands for similar ones as well.
    combined: bool,
    at: Timestamp,
}

/// Records what a component does, in the newer style.
#[derive(Clone)]
pub(crate) struct Reporter {
    component: &'static str,
    instance: Arc<str>,
    queue: mpsc::Sender<Note>,
    memory: Shared,
}

// === impl Events ===

impl Events {
    /// Starts the writer on `tasks`.
    pub(crate) fn start(client: Client, tasks: &TaskSet) -> Self {
        let (queue, notes) = mpsc::channel(WAITING);
        let (notes, memory) = (Arc::new(tokio::sync::Mutex::new(notes)), Shared::default());
        let shared = memory.clone();
        tasks.spawn("events", Restart::on_failure(), move |token| {
            write(client.clone(), Arc::clone(&notes), shared.clone(), token)
        });
        Self { queue, memory }
    }

    pub(crate) fn recorder(&self, component: &'static str) -> Recorder {
        Recorder { component, queue: self.queue.clone() }
    }

    pub(crate) fn reporter(&self, component: &'static str, host: &str) -> Reporter {
        let (queue, memory) = (self.queue.clone(), self.memory.clone());
        Reporter { component, instance: format!("{component}-{host}").into(), queue, memory }
    }
}

// === impl Recorder ===

impl Recorder {
    /// Something went as it should.
    pub(crate) fn normal<K: Resource<DynamicType = ()>>(
        &self,
        about: &K,
        reason: &'static str,
        message: String,
    ) {
        self.record(about.object_ref(&()), Severity::Normal, reason, message);
    }

    /// Something that a person may have to look at.
    pub(crate) fn warning<K: Resource<DynamicType = ()>>(
        &self,
        about: &K,
        reason: &'static str,
        message: String,
    ) {
        self.record(about.object_ref(&()), Severity::Warning, reason, message);
    }

    /// The same about an object of a kind that is only known at run time.
    pub(crate) fn warning_about(&self, about: ObjectReference, reason: &'static str, message: String) {
        self.record(about, Severity::Warning, reason, message);
    }

    fn record(&self, about: ObjectReference, severity: Severity, reason: &'static str, message: String) {
        let component = self.component;
        let note = Note {
            component,
            act: None,
            about,
            severity,
            reason,
            message,
            combined: false,
            at: Timestamp::now(),
        };
        hand_over(&self.queue, note);
    }
}

// === impl Reporter ===

impl Reporter {
    /// `action` went as it should.
    pub(crate) fn normal(
        &self,
        about: ObjectReference,
        related: Option<ObjectReference>,
        action: &'static str,
        reason: &'static str,
        message: String,
    ) {
        self.report(self.note((about, related), Severity::Normal, action, reason, message));
    }

    /// `action` failed in a way that a person may have to look at.
    pub(crate) fn warning(
        &self,
        about: ObjectReference,
        action: &'static str,
        reason: &'static str,
        message: String,
    ) {
        self.report(self.note((about, None), Severity::Warning, action, reason, message));
    }

    fn report(&self, note: Note) {
        if self.memory.lock().counts(&note) {
            return;
        }
        hand_over(&self.queue, note);
    }

    fn note(
        &self,
        (about, related): (ObjectReference, Option<ObjectReference>),
        severity: Severity,
        action: &'static str,
        reason: &'static str,
        message: String,
    ) -> Note {
        Note {
            component: self.component,
            act: Some(Act { action, instance: Arc::clone(&self.instance), related }),
            about,
            severity,
            reason,
            message,
            combined: false,
            at: Timestamp::now(),
        }
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hand_over(queue: &mpsc::Sender<Note>, note: Note) {
    let (component, reason) = (note.component, note.reason);
    if let Err(error) = queue.try_send(note) {
        tracing::warn!(component, reason, %error, "an event was dropped");
    }
}

// === impl Note ===

impl Note {
    fn namespace(&self) -> &str {
        // Events about cluster-scoped objects have to be somewhere.
        self.about.namespace.as_deref().unwrap_or("default")
    }

    fn kind(&self) -> &'static str {
        match self.severity {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        }
    }

    /// The name of the event about this object that was first told then.
    fn name(&self, first: Timestamp) -> String {
        let name = self.about.name.as_deref().unwrap_or_default();
        format!("{name}.{:016x}", first.as_nanosecond())
    }

    fn metadata(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.name(self.at)),
            namespace: Some(self.namespace().to_owned()),
            ..ObjectMeta::default()
        }
    }

    fn event(&self) -> Event {
        let (metadata, kind, at) = (self.metadata(), self.kind(), Time(self.at));
        Event {
            metadata,
            involved_object: self.about.clone(),
            reason: Some(self.reason.to_owned()),
            message: Some(self.message.clone()),
            type_: Some(kind.to_owned()),
            source: Some(EventSource { component: Some(self.component.to_owned()), host: None }),
            reporting_component: Some(self.component.to_owned()),
            count: Some(1),
            first_timestamp: Some(at.clone()),
            last_timestamp: Some(at),
            ..Event::default()
        }
    }
}

async fn write(
    client: Client,
    notes: Arc<tokio::sync::Mutex<mpsc::Receiver<Note>>>,
    memory: Shared,
    token: CancellationToken,
) -> Result<(), Infallible> {
    let mut notes = notes.lock().await;
    loop {
        let note = tokio::select! {
            () = token.cancelled() => return Ok(()),
            note = notes.recv() => note,
        };
        let Some(mut note) = note else { return Ok(()) };
        let allowed = {
            let mut memory = memory.lock();
            memory.similar.combine(&mut note);
            memory.allows(&note)
        };
        if !allowed {
            tracing::debug!(
                component = note.component,
                reason = note.reason,
                "too many events about one object"
            );
            continue;
        }
        let (component, reason) = (note.component, note.reason);
        if let Err(error) = publish(&client, &memory, note).await {
            tracing::warn!(component, reason, %error, "an event cannot be written");
        }
    }
}

async fn publish(client: &Client, memory: &Shared, note: Note) -> Result<(), kube::Error> {
    let step = memory.lock().step(&note);
    match step {
        Step::Nothing => return Ok(()),
        Step::Create => {}
        Step::Repeat(written) => match repeat(client, &note, written).await {
            // Events expire; then it is told anew.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            result => return result,
        },
    }
    let created = create(client, &note).await;
    if created.is_ok() {
        memory.lock().created(&note);
    }
    match created {
        // A namespace that goes takes no more events.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(()),
        result => result,
    }
}

async fn repeat(client: &Client, note: &Note, written: Written) -> Result<(), kube::Error> {
    let (name, params, namespace) = (note.name(written.first), PatchParams::default(), note.namespace());
    if note.act.is_some() {
        let api = Api::<SeriesEvent>::namespaced(client.clone(), namespace);
        let patch = Patch::Merge(series::again(written.count, note.at));
        return api.patch(&name, &params, &patch).await.map(drop);
    }
    let api = Api::<Event>::namespaced(client.clone(), namespace);
    let patch = json!({"count": written.count, "lastTimestamp": Time(note.at), "message": note.message});
    api.patch(&name, &params, &Patch::Merge(patch)).await.map(drop)
}

async fn create(client: &Client, note: &Note) -> Result<(), kube::Error> {
    let (namespace, metadata) = (note.namespace(), note.metadata());
    if let Some(act) = note.act.clone() {
        let api = Api::<SeriesEvent>::namespaced(client.clone(), namespace);
        let said = (note.kind(), note.reason, note.message.clone());
        let event = series::event(metadata, (note.component, act), note.about.clone(), said, note.at);
        return api.create(&PostParams::default(), &event).await.map(drop);
    }
    let api = Api::<Event>::namespaced(client.clone(), namespace);
    api.create(&PostParams::default(), &note.event()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn note(uid: &str, second: i64) -> Note {
        Note {
            component: "test",
            act: None,
            about: ObjectReference { uid: Some(uid.to_owned()), ..ObjectReference::default() },
            severity: Severity::Normal,
            reason: "Tested",
            message: String::new(),
            combined: false,
            at: Timestamp::from_second(second).unwrap(),
        }
    }
}
