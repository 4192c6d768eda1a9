//! Feeds the index from watches, and carries out what it wants.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use proto::resource::{ObjectKey, ResourceKind};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::DeviceController;
use super::index::{DeviceId, Effect};
use super::writer::Work;
use crate::desired::Plane;
use crate::kubeapi::{Kind, json, watch_failure};

type Watched = (ResourceKind, Result<Event<DynamicObject>, watcher::Error>);

impl DeviceController {
    /// Follows the API and writes reports until cancelled.
    ///
    /// # Errors
    /// Never; failures of the API are logged and tried again.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), Infallible> {
        tokio::select! {
            end = self.write(stop.clone()) => end,
            end = self.look_after(self.sessions.clone(), stop.clone()) => end,
            end = self.watch(stop) => end,
        }
    }

    async fn watch(&self, stop: CancellationToken) -> Result<(), Infallible> {
        // Models first, so that a device finds its model when it comes.
        let mut streams: SelectAll<BoxStream<'static, Watched>> = SelectAll::new();
        let mut seen: HashMap<ResourceKind, HashSet<(String, String)>> = HashMap::new();
        let mut synced = HashSet::new();
        streams.push(self.follow(&Kind::device_model()));
        loop {
            let (kind, event) = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(watched) = streams.next() => watched,
            };
            let effects = match event {
                Err(error) => {
                    warn!(%kind, "watching failed, trying again: {}", watch_failure(&kind, error));
                    continue;
                }
                Ok(Event::Init) => {
                    seen.insert(kind, HashSet::new());
                    continue;
                }
                Ok(Event::InitApply(object)) => {
                    if let Some(seen) = seen.get_mut(&kind) {
                        seen.insert(place(&object));
                    }
                    self.applied(&kind, &object)
                }
                Ok(Event::Apply(object)) => self.applied(&kind, &object),
                Ok(Event::Delete(object)) => self.deleted(&kind, place(&object)),
                Ok(Event::InitDone) => {
                    let effects = self.missing(&kind, &seen.remove(&kind).unwrap_or_default());
                    if synced.insert(kind.clone()) && kind == ResourceKind::DeviceModel {
                        streams.push(self.follow(&Kind::device()));
                    }
                    effects
                }
            };
            self.carry_out(effects).await;
            if synced.len() == 2 && !self.desired.is_synced(Plane::Devices) {
                self.desired.set_synced(Plane::Devices);
                let (devices, models) = self.size();
                info!("devicecontroller knows {devices} devices of {models} models");
            }
        }
    }

    fn follow(&self, kind: &Kind) -> BoxStream<'static, Watched> {
        let link = kind.link.clone();
        let events = watcher(kind.api(&self.client, None), watcher::Config::default()).default_backoff();
        events.map(move |event| (link.clone(), event)).boxed()
    }

    fn applied(&self, kind: &ResourceKind, object: &DynamicObject) -> Vec<Effect> {
        let known = if *kind == ResourceKind::Device { Kind::device() } else { Kind::device_model() };
        let spec = object.data.get("spec").cloned().unwrap_or_default();
        if *kind == ResourceKind::Device {
            let (namespace, name) = place(object);
            let uid = object.metadata.uid.as_deref().unwrap_or_default();
            self.health.shows(&DeviceId { namespace, name }, uid, object.data.get("status"));
        }
        match known.object(json(object)) {
            Ok(object) if *kind == ResourceKind::Device => self.index().applied_device(object, &spec),
            Ok(object) => self.index().applied_model(object),
            Err(error) => {
                warn!("{error}");
                Vec::new()
            }
        }
    }

    fn deleted(&self, kind: &ResourceKind, (namespace, name): (String, String)) -> Vec<Effect> {
        match kind {
            ResourceKind::Device => self.index().deleted_device(&DeviceId { namespace, name }),
            kind => self.index().deleted_model(&ObjectKey::namespaced(namespace, kind.clone(), name)),
        }
    }

    fn missing(&self, kind: &ResourceKind, seen: &HashSet<(String, String)>) -> Vec<Effect> {
        let mut index = self.index();
        match kind {
            ResourceKind::Device => {
                let gone = index.devices_missing_from(seen);
                gone.iter().flat_map(|id| index.deleted_device(id)).collect()
            }
            _ => {
                let gone = index.models_missing_from(seen);
                gone.iter().flat_map(|key| index.deleted_model(key)).collect()
            }
        }
    }

    async fn carry_out(&self, effects: Vec<Effect>) {
        for effect in effects {
            let work = match effect {
                Effect::Put(node, object) => {
                    self.desired.put(&node, object);
                    continue;
                }
                Effect::Again(node, key) => {
                    self.desired.again(&node, &key);
                    continue;
                }
                Effect::Remove(node, key) => {
                    self.desired.remove(&node, &key);
                    continue;
                }
                Effect::Ensure(device) => Work::Ensure(device),
                Effect::Forget(device) => Work::Forget(device),
            };
            // The writer runs beside this loop and ends with it; a closed queue means that both are ending.
            if self.work.send(work).await.is_err() {
                return;
            }
        }
    }
}

fn place(object: &DynamicObject) -> (String, String) {
    let metadata = &object.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}
