//! Follows rules and their endpoints, tells nodes, and writes statuses.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use proto::pki::NodeName;
use proto::rules::{GROUP, VERSION};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Router;
use super::orders::Told;
use super::table::{Id, Object};
use crate::kubeapi::{is_passing, status_of, watch_failure_of};

/// How often statuses with news are written.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How often nodes are looked at that took no more when they were told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Statuses written at a time.
const WRITERS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Endpoint,
    Rule,
}

type Watched = (Kind, Result<Event<DynamicObject>, watcher::Error>);

// === impl Kind ===

impl Kind {
    fn api(self) -> ApiResource {
        let (kind, plural) = match self {
            Self::Endpoint => ("RuleEndpoint", "ruleendpoints"),
            Self::Rule => ("Rule", "rules"),
        };
        ApiResource {
            group: GROUP.into(),
            version: VERSION.into(),
            api_version: format!("{GROUP}/{VERSION}"),
            kind: kind.into(),
            plural: plural.into(),
        }
    }
}

impl Router {
    /// Runs until cancelled.
    ///
    /// # Errors
    /// Never; failures of the API are logged and tried again.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), Infallible> {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.watch() => {}
            () = self.tell_nodes() => {}
            () = self.write_statuses() => {}
        }
        // What was counted since the last round.
        self.write_news().await;
        Ok(())
    }

    async fn watch(&self) {
        let mut streams: SelectAll<BoxStream<'static, Watched>> = SelectAll::new();
        // Endpoints first, so that a rule finds its own when it comes.
        streams.push(self.follow(Kind::Endpoint));
        let mut listed: Option<(Kind, HashSet<Id>)> = None;
        let mut complete = HashSet::new();
        while let Some((kind, event)) = streams.next().await {
            match event {
                Err(error) => {
                    let missing = "the API does not know rules: install the definitions in deploy/crds (keadm init does)";
                    warn!("watching rules failed, trying again: {}", watch_failure_of(error, missing));
                    continue;
                }
                Ok(Event::Init) => {
                    listed = Some((kind, HashSet::new()));
                    continue;
                }
                Ok(Event::InitApply(object)) => {
                    if let Some((_, seen)) = listed.as_mut().filter(|(listing, _)| *listing == kind) {
                        seen.insert(id(&object));
                    }
                    self.applied(kind, &object);
                    continue;
                }
                Ok(Event::InitDone) => {
                    if let Some((_, seen)) = listed.take_if(|(listing, _)| *listing == kind) {
                        self.keep(kind, &seen);
                    }
                    if complete.insert(kind) && kind == Kind::Endpoint {
                        streams.push(self.follow(Kind::Rule));
                        continue;
                    }
                }
                Ok(Event::Apply(object)) => {
                    if !self.applied(kind, &object) {
                        continue;
                    }
                }
                Ok(Event::Delete(object)) => match kind {
                    Kind::Endpoint => self.shared.table().remove_endpoint(&id(&object)),
                    Kind::Rule => self.shared.table().remove_rule(&id(&object)),
                },
            }
            if complete.contains(&Kind::Rule) {
                self.shared.table().settle();
                if !self.shared.synced.swap(true, Ordering::AcqRel) {
                    info!("router knows {} rules", self.shared.table().all().len());
                }
                self.shared.changed.notify_one();
            }
        }
    }

    fn follow(&self, kind: Kind) -> BoxStream<'static, Watched> {
        let api: Api<DynamicObject> = Api::all_with(self.shared.client.clone(), &kind.api());
        watcher(api, watcher::Config::default()).default_backoff().map(move |event| (kind, event)).boxed()
    }

    fn keep(&self, kind: Kind, seen: &HashSet<Id>) {
        match kind {
            Kind::Endpoint => self.shared.table().keep_endpoints(|id| seen.contains(id)),
            Kind::Rule => self.shared.table().keep_rules(|id| seen.contains(id)),
        }
    }

    /// Whether it says something new.
    fn applied(&self, kind: Kind, object: &DynamicObject) -> bool {
        let spec = object.data.get("spec").cloned().unwrap_or_default();
        let read = match kind {
            Kind::Endpoint => serde_json::from_value(spec).map(|endpoint| {
                self.shared.table().put_endpoint(id(object), endpoint);
                true
            }),
            Kind::Rule => serde_json::from_value(spec).map(|spec| {
                let status = object.data.get("status").cloned().unwrap_or_default();
                let created = object.metadata.creation_timestamp.as_ref();
                let rule = Object {
                    uid: object.metadata.uid.clone().unwrap_or_default(),
                    created: created.map_or(0, |time| time.0.as_second()),
                    spec,
                    // A status that somebody else wrote may be anything.
                    status: serde_json::from_value(status).unwrap_or_default(),
                };
                self.shared.table().put_rule(id(object), rule)
            }),
        };
        read.unwrap_or_else(|error| {
            warn!("{kind:?} {:?} cannot be read and is left out: {error}", id(object));
            false
        })
    }

    async fn tell_nodes(&self) {
        let mut told = Told::default();
        loop {
            let again = tokio::time::sleep(TELL_EVERY);
            tokio::select! {
                () = self.shared.changed.notified() => {}
                () = again => {}
            }
            if !self.shared.synced.load(Ordering::Acquire) {
                continue;
            }
            let connected = self.shared.sessions.all();
            if told.len() > 2 * connected.len() + 64 {
                let connected: HashSet<&NodeName> = connected.iter().map(|(node, ..)| node).collect();
                told.keep(|node| connected.contains(node));
            }
            for (node, session, dialect) in connected {
                let wanted = self.shared.table().orders(&node);
                told.tell(&node, session, dialect, &wanted, |message| {
                    self.shared.sessions.tell(&node, message).is_some_and(|on| on == session)
                });
            }
        }
    }

    async fn write_statuses(&self) {
        loop {
            tokio::time::sleep(WRITE_EVERY).await;
            self.write_news().await;
        }
    }

    async fn write_news(&self) {
        let all = self.shared.table().all();
        let news = all.into_iter().filter_map(|lasting| Some((lasting.tally.news()?, lasting)));
        futures::stream::iter(news.collect::<Vec<_>>())
            .for_each_concurrent(WRITERS, |(status, lasting)| async move {
                let client = self.shared.client.clone();
                let api: Api<DynamicObject> =
                    Api::namespaced_with(client, &lasting.id.namespace, &Kind::Rule.api());
                // The uid: a rule of the same name that was made since has a status of its own.
                let patch = json!({"metadata": {"uid": lasting.uid}, "status": status});
                let written =
                    api.patch(&lasting.id.name, &PatchParams::default(), &Patch::Merge(patch)).await;
                if let Err(error) = written {
                    let status = status_of(error);
                    if is_passing(&status) {
                        lasting.tally.unwritten();
                    }
                    debug!(rule = ?lasting.id, "the status of a rule was not written: {}", status.message);
                }
            })
            .await;
    }
}

fn id(object: &DynamicObject) -> Id {
    let metadata = &object.metadata;
    Id {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}
