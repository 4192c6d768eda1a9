//! Events, as `kubectl describe` lists them: counted when they repeat, and never in the way of the work that they tell of.
//!
//! A reconciliation hands an event to a bounded queue and goes on; one task writes. Source of the rules: Kubernetes v1.36
//! `client-go/tools/record`: the same event again raises `count`, similar ones are combined, and an object may have 25 at once and one more every 5 minutes.

mod series;
mod similar;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

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

use series::Act;
use similar::Similar;

/// Events that wait to be written; more are dropped and counted.
const WAITING: usize = 1000;
/// Events whose repetitions are recognised (client-go: 4096).
const REMEMBERED: usize = 4096;
/// How many events one object may have at once, and after how many seconds it may have one more.
const BURST: f64 = 25.0;
const REFILL: f64 = 300.0;

/// Starts here, and makes the recorders.
#[derive(Clone)]
pub(crate) struct Events {
    queue: mpsc::Sender<Note>,
}

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
}

/// What makes two events the same.
#[derive(Clone, Eq, Hash, PartialEq)]
struct Sameness {
    component: &'static str,
    uid: Option<String>,
    object: (Option<String>, Option<String>, Option<String>),
    severity: Severity,
    reason: &'static str,
    /// None where messages are combined.
    message: Option<String>,
}

struct Written {
    name: String,
    count: i32,
}

/// A bucket of the rate limit: what is left, and when that was.
struct Allowance {
    left: f64,
    at: Timestamp,
}

#[derive(Default)]
struct Memory {
    similar: Similar,
    written: HashMap<Sameness, Written>,
    allowances: HashMap<(&'static str, Option<String>), Allowance>,
}

// === impl Events ===

impl Events {
    /// Starts the writer on `tasks`.
    pub(crate) fn start(client: Client, tasks: &TaskSet) -> Self {
        let (queue, notes) = mpsc::channel(WAITING);
        let notes = Arc::new(tokio::sync::Mutex::new(notes));
        tasks.spawn("events", Restart::on_failure(), move |token| {
            write(client.clone(), Arc::clone(&notes), token)
        });
        Self { queue }
    }

    pub(crate) fn recorder(&self, component: &'static str) -> Recorder {
        Recorder { component, queue: self.queue.clone() }
    }

    pub(crate) fn reporter(&self, component: &'static str, host: &str) -> Reporter {
        Reporter { component, instance: format!("{component}-{host}").into(), queue: self.queue.clone() }
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
        self.report(about, related, Severity::Normal, action, reason, message);
    }

    /// `action` failed in a way that a person may have to look at.
    pub(crate) fn warning(
        &self,
        about: ObjectReference,
        action: &'static str,
        reason: &'static str,
        message: String,
    ) {
        self.report(about, None, Severity::Warning, action, reason, message);
    }

    fn report(
        &self,
        about: ObjectReference,
        related: Option<ObjectReference>,
        severity: Severity,
        action: &'static str,
        reason: &'static str,
        message: String,
    ) {
        let act = Some(Act { action, instance: Arc::clone(&self.instance), related });
        let component = self.component;
        hand_over(
            &self.queue,
            Note { component, act, about, severity, reason, message, combined: false, at: Timestamp::now() },
        );
    }
}

fn hand_over(queue: &mpsc::Sender<Note>, note: Note) {
    let (component, reason) = (note.component, note.reason);
    if let Err(error) = queue.try_send(note) {
        tracing::warn!(component, reason, %error, "an event was dropped");
    }
}

// === impl Memory ===

impl Memory {
    fn allows(&mut self, note: &Note) -> bool {
        if self.allowances.len() >= REMEMBERED {
            self.allowances.retain(|_, allowance| (note.at.as_second() - allowance.at.as_second()) < 300);
            if self.allowances.len() >= REMEMBERED {
                self.allowances.clear();
            }
        }
        let key = (note.component, note.about.uid.clone());
        let allowance = self.allowances.entry(key).or_insert(Allowance { left: BURST, at: note.at });
        let passed = note.at.duration_since(allowance.at).as_secs_f64().max(0.0);
        allowance.left = (allowance.left + passed / REFILL).min(BURST);
        allowance.at = note.at;
        let allowed = allowance.left >= 1.0;
        if allowed {
            allowance.left -= 1.0;
        }
        allowed
    }
}

impl Note {
    fn sameness(&self) -> Sameness {
        let about = &self.about;
        Sameness {
            component: self.component,
            uid: about.uid.clone(),
            object: (about.kind.clone(), about.namespace.clone(), about.name.clone()),
            severity: self.severity,
            reason: self.reason,
            message: (!self.combined).then(|| self.message.clone()),
        }
    }

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

    fn metadata(&self) -> ObjectMeta {
        let name = self.about.name.clone().unwrap_or_default();
        ObjectMeta {
            name: Some(format!("{name}.{:016x}", self.at.as_nanosecond())),
            namespace: Some(self.namespace().to_owned()),
            ..ObjectMeta::default()
        }
    }

    fn event(self) -> Event {
        let (metadata, kind, at) = (self.metadata(), self.kind(), Time(self.at));
        Event {
            metadata,
            involved_object: self.about,
            reason: Some(self.reason.to_owned()),
            message: Some(self.message),
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
    token: CancellationToken,
) -> Result<(), Infallible> {
    let mut notes = notes.lock().await;
    let mut memory = Memory::default();
    loop {
        let note = tokio::select! {
            () = token.cancelled() => return Ok(()),
            note = notes.recv() => note,
        };
        let Some(mut note) = note else { return Ok(()) };
        memory.similar.combine(&mut note);
        if !memory.allows(&note) {
            tracing::debug!(
                component = note.component,
                reason = note.reason,
                "too many events about one object"
            );
            continue;
        }
        let (component, reason) = (note.component, note.reason);
        if let Err(error) = publish(&client, &mut memory, note).await {
            tracing::warn!(component, reason, %error, "an event cannot be written");
        }
    }
}

async fn publish(client: &Client, memory: &mut Memory, note: Note) -> Result<(), kube::Error> {
    let sameness = note.sameness();
    if let Some(written) = memory.written.get_mut(&sameness) {
        written.count += 1;
        match repeat(client, &note, written).await {
            // Events expire; then it is told anew.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            result => return result,
        }
    }
    if memory.written.len() >= REMEMBERED {
        memory.written.clear();
    }
    match create(client, note).await {
        Ok(name) => {
            memory.written.insert(sameness, Written { name, count: 1 });
            Ok(())
        }
        // A namespace that goes takes no more events.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn repeat(client: &Client, note: &Note, written: &Written) -> Result<(), kube::Error> {
    let (name, params, namespace) = (&written.name, PatchParams::default(), note.namespace());
    if note.act.is_some() {
        let api = Api::<SeriesEvent>::namespaced(client.clone(), namespace);
        return api
            .patch(name, &params, &Patch::Merge(series::again(written.count, note.at)))
            .await
            .map(drop);
    }
    let api = Api::<Event>::namespaced(client.clone(), namespace);
    let patch = json!({"count": written.count, "lastTimestamp": Time(note.at), "message": note.message});
    api.patch(name, &params, &Patch::Merge(patch)).await.map(drop)
}

/// Gives the event's name.
async fn create(client: &Client, mut note: Note) -> Result<String, kube::Error> {
    let (namespace, metadata) = (note.namespace().to_owned(), note.metadata());
    let name = metadata.name.clone().unwrap_or_default();
    if let Some(act) = note.act.take() {
        let api = Api::<SeriesEvent>::namespaced(client.clone(), &namespace);
        let said = (note.kind(), note.reason, note.message);
        let event = series::event(metadata, (note.component, act), note.about, said, note.at);
        api.create(&PostParams::default(), &event).await?;
    } else {
        let api = Api::<Event>::namespaced(client.clone(), &namespace);
        api.create(&PostParams::default(), &note.event()).await?;
    }
    Ok(name)
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

    #[test]
    fn an_object_that_shouts_is_heard_25_times_and_then_every_5_minutes() {
        let mut memory = Memory::default();
        assert_eq!((0..100).filter(|_| memory.allows(&note("loud", 0))).count(), 25);
        assert!(memory.allows(&note("quiet", 0)));
        assert!(!memory.allows(&note("loud", 299)));
        assert!(memory.allows(&note("loud", 301)));
        assert!(!memory.allows(&note("loud", 302)));
    }
}
