//! Feeds the index from watches, and carries out what it wants.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use kube::Client;
use kube::api::{DynamicObject, ListParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use proto::pki::NodeName;
use proto::resource::{ObjectKey, ResourceKind};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::EdgeController;
use super::index::Effect;
use crate::desired::Plane;
use crate::kubeapi::{Kind, json, status_of, watch_failure};

/// KubeEdge's own test for an edge node: this label, with an empty value.
const EDGE_LABEL: &str = "node-role.kubernetes.io/edge";

type Watched = (ResourceKind, Result<Event<DynamicObject>, watcher::Error>);

/// Something read from the API because the index asked for it.
enum Read {
    Object(ObjectKey, Result<Option<Box<DynamicObject>>, kube::Error>),
    Pods(NodeName, Result<Vec<DynamicObject>, kube::Error>),
}

/// The state of one run: streams, reads under way, and what a list that is under way has shown so far.
struct Run<'a> {
    controller: &'a EdgeController,
    streams: futures::stream::SelectAll<BoxStream<'static, Watched>>,
    reads: FuturesUnordered<BoxFuture<'static, Read>>,
    seen: HashMap<ResourceKind, HashSet<String>>,
    synced: HashSet<ResourceKind>,
}

impl EdgeController {
    /// Follows the API until cancelled. Nodes are read first, then their pods, then what the pods use, so that only
    /// what edges need is ever kept.
    ///
    /// # Errors
    /// Never; failures of the API are logged and tried again.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), Infallible> {
        let mut run = Run {
            controller: self,
            streams: futures::stream::SelectAll::new(),
            reads: FuturesUnordered::new(),
            seen: HashMap::new(),
            synced: HashSet::new(),
        };
        run.follow(Kind::node());
        loop {
            // A list of thousands is there at once: others want to go on meanwhile.
            tokio::task::consume_budget().await;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some((kind, event)) = run.streams.next() => run.watched(kind, event),
                Some(read) = run.reads.next(), if !run.reads.is_empty() => run.read(read),
            }
        }
    }
}

impl Run<'_> {
    fn follow(&mut self, kind: Kind) {
        let link = kind.link.clone();
        let all = watcher::Config::default();
        // A pod without a node is of no edge yet.
        let wanted = if link == ResourceKind::Pod { all.fields("spec.nodeName!=") } else { all };
        let events = watcher(kind.api(&self.controller.client, None), wanted).default_backoff();
        self.streams.push(events.map(move |event| (link.clone(), event)).boxed());
    }

    fn watched(&mut self, kind: ResourceKind, event: Result<Event<DynamicObject>, watcher::Error>) {
        match event {
            Err(error) => warn!(%kind, "watching failed, trying again: {}", watch_failure(&kind, error)),
            Ok(Event::Init) => {
                self.seen.insert(kind, HashSet::new());
            }
            Ok(Event::InitApply(object)) => {
                // Nodes are told apart by name: a namesake takes over.
                let mark =
                    if kind == ResourceKind::Node { &object.metadata.name } else { &object.metadata.uid };
                if let (Some(mark), Some(seen)) = (mark.clone(), self.seen.get_mut(&kind)) {
                    seen.insert(mark);
                }
                self.applied(&kind, object);
            }
            Ok(Event::InitDone) => self.listed(kind),
            Ok(Event::Apply(object)) => self.applied(&kind, object),
            Ok(Event::Delete(object)) => self.deleted(&kind, &object),
        }
    }

    fn applied(&mut self, kind: &ResourceKind, object: DynamicObject) {
        let name = object.metadata.name.clone().unwrap_or_default();
        let labels = object.metadata.labels.as_ref();
        let is_edge = labels.and_then(|labels| labels.get(EDGE_LABEL)).is_some_and(String::is_empty);
        let spec = object.data.get("spec").cloned().unwrap_or_default();
        let known = match kind {
            ResourceKind::Node => Kind::node(),
            ResourceKind::Pod => Kind::pod(),
            other => match Kind::readable(other) {
                Some(known) => known,
                None => return,
            },
        };
        let object = match known.object(json(&object)) {
            Ok(object) => object,
            Err(error) => return warn!("{error}"),
        };
        let effects = match kind {
            ResourceKind::Node => match name.parse::<NodeName>() {
                Ok(name) => self.controller.index().applied_node(name, is_edge, object),
                Err(error) => {
                    return warn!(node = name, "a node that cannot be an edge node is ignored: {error}");
                }
            },
            ResourceKind::Pod => self.controller.index().applied_pod(object, &spec),
            _ => self.controller.index().applied(object),
        };
        self.carry_out(effects);
    }

    fn deleted(&mut self, kind: &ResourceKind, object: &DynamicObject) {
        let metadata = &object.metadata;
        let name = metadata.name.clone().unwrap_or_default();
        let namespace = metadata.namespace.clone().unwrap_or_default();
        let effects = match kind {
            ResourceKind::Node => match name.parse::<NodeName>() {
                Ok(name) => self.controller.index().deleted_node(&name),
                Err(_) => return,
            },
            ResourceKind::Pod => {
                let uid = metadata.uid.as_deref().unwrap_or_default();
                self.controller.index().deleted_pod(&namespace, &name, uid)
            }
            kind => {
                let revision = metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0);
                let key = ObjectKey::namespaced(namespace, kind.clone(), name);
                self.controller.index().deleted(&key, revision)
            }
        };
        self.carry_out(effects);
    }

    /// A list is complete: what it did not show is gone.
    fn listed(&mut self, kind: ResourceKind) {
        let seen = self.seen.remove(&kind).unwrap_or_default();
        let mut index = self.controller.index();
        let mut effects = Vec::new();
        match &kind {
            ResourceKind::Node => {
                for node in index.nodes_missing_from(&seen) {
                    effects.extend(index.deleted_node(&node));
                }
            }
            ResourceKind::Pod => {
                for (namespace, name, uid) in index.pods_missing_from(&seen) {
                    effects.extend(index.deleted_pod(&namespace, &name, &uid));
                }
            }
            kind => {
                for key in index.missing_from(kind, &seen) {
                    effects.extend(index.deleted(&key, 0));
                }
            }
        }
        drop(index);
        self.carry_out(effects);
        if self.synced.insert(kind.clone()) {
            self.first_listed(&kind);
        }
    }

    fn first_listed(&mut self, kind: &ResourceKind) {
        match kind {
            ResourceKind::Node => self.follow(Kind::pod()),
            ResourceKind::Pod => {
                self.follow_readable(&ResourceKind::ConfigMap);
                self.follow_readable(&ResourceKind::Secret);
            }
            _ => {}
        }
        let all = [ResourceKind::Node, ResourceKind::Pod, ResourceKind::ConfigMap, ResourceKind::Secret];
        if all.iter().all(|kind| self.synced.contains(kind)) {
            self.controller.desired.set_synced(Plane::Core);
            let (nodes, pods) = self.controller.size();
            info!("edgecontroller knows {nodes} edge nodes with {pods} pods");
        }
    }

    fn follow_readable(&mut self, kind: &ResourceKind) {
        if let Some(kind) = Kind::readable(kind) {
            self.follow(kind);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Put(node, object) => self.controller.desired.put(&node, object),
                Effect::Remove(node, key) => self.controller.desired.remove(&node, &key),
                Effect::NodeGone(node) => {
                    info!(%node, "the node object was deleted");
                    (self.controller.node_gone)(&node);
                }
                // The list that is under way shows them all.
                Effect::ListPods(node) if !self.synced.contains(&ResourceKind::Pod) => {
                    self.controller.index().listed_pods(&node);
                }
                Effect::ListPods(node) => {
                    self.reads.push(list_pods(self.controller.client.clone(), node).boxed())
                }
                Effect::Fetch(key) => self.reads.push(fetch(self.controller.client.clone(), key).boxed()),
            }
        }
    }

    fn read(&mut self, read: Read) {
        match read {
            Read::Object(key, Ok(found)) => {
                let object = found.and_then(|object| Kind::readable(&key.kind)?.object(json(&object)).ok());
                debug!(object = %key, found = object.is_some(), "read because a pod uses it");
                let effects = self.controller.index().fetched(object);
                self.carry_out(effects);
            }
            Read::Object(key, Err(error)) => {
                warn!(object = %key, "cannot be read, trying again: {}", status_of(error).message);
                let client = self.controller.client.clone();
                let again = tokio::time::sleep(Duration::from_secs(2)).then(move |()| fetch(client, key));
                self.reads.push(again.boxed());
            }
            Read::Pods(node, Ok(pods)) => {
                for pod in pods {
                    self.applied(&ResourceKind::Pod, pod);
                }
                self.controller.index().listed_pods(&node);
            }
            Read::Pods(node, Err(error)) => {
                warn!(%node, "its pods cannot be listed, trying again: {}", status_of(error).message);
                let client = self.controller.client.clone();
                let again =
                    tokio::time::sleep(Duration::from_secs(2)).then(move |()| list_pods(client, node));
                self.reads.push(again.boxed());
            }
        }
    }
}

async fn fetch(client: Client, key: ObjectKey) -> Read {
    let Some(kind) = Kind::readable(&key.kind) else { return Read::Object(key, Ok(None)) };
    let found = kind.api(&client, key.namespace.as_deref()).get_opt(&key.name).await;
    Read::Object(key, found.map(|found| found.map(Box::new)))
}

async fn list_pods(client: Client, node: NodeName) -> Read {
    let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = Kind::pod().api(&client, None).list(&here).await;
    Read::Pods(node, pods.map(|list| list.items))
}
