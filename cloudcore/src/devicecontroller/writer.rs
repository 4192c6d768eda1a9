//! Writes reports into DeviceStatus objects: one write per device at a time, several devices at once, and reports that
//! come while a write is under way share the next one. So the API sees no more writes than it can take, and there
//! are no conflicts to resolve: nobody else writes these fields.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use proto::session::Outcome;
use serde_json::json;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::DeviceController;
use super::index::{Device, DeviceId};
use super::report::Change;
use super::status::Status;
use crate::kubeapi::{Failure, Kind, failure, is_passing, status_of};

/// Devices written at once.
const PARALLEL: usize = 32;
/// Attempts within one write when the object appears or vanishes meanwhile.
const ATTEMPTS: usize = 3;

/// Something to be done with a device's status.
#[derive(Debug)]
pub(super) enum Work {
    /// Merge this, and say when the API has it.
    Report { device: DeviceId, change: Change, reply: oneshot::Sender<Outcome> },
    /// See to it that the object exists.
    Ensure(DeviceId),
    /// Remove the object: its device is gone.
    Forget(DeviceId),
}

/// A device with something to do, or whose status is known.
#[derive(Default)]
struct Entry {
    /// What the API has, if that is known.
    status: Option<Status>,
    waiting: Vec<Task>,
    busy: bool,
}

enum Task {
    Report(Change, oneshot::Sender<Outcome>),
    Ensure,
    Forget,
}

/// How a write ended.
struct Written {
    device: DeviceId,
    /// What the API has now; `None` if that is not known.
    status: Option<Status>,
    gone: bool,
}

impl DeviceController {
    /// Writes until cancelled.
    pub(super) async fn write(&self, stop: CancellationToken) -> Result<(), Infallible> {
        let mut queue = self.queue.lock().await;
        let mut entries: HashMap<DeviceId, Entry> = HashMap::new();
        let mut ready: VecDeque<DeviceId> = VecDeque::new();
        let mut writes: FuturesUnordered<BoxFuture<'static, Written>> = FuturesUnordered::new();
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                count = queue.recv_many(&mut batch, 512) => {
                    if count == 0 {
                        return Ok(());
                    }
                    for work in batch.drain(..) {
                        let (device, task) = match work {
                            Work::Report { device, change, reply } => (device, Task::Report(change, reply)),
                            Work::Ensure(device) => (device, Task::Ensure),
                            Work::Forget(device) => (device, Task::Forget),
                        };
                        let entry = entries.entry(device.clone()).or_default();
                        if entry.waiting.is_empty() && !entry.busy {
                            ready.push_back(device);
                        }
                        entry.waiting.push(task);
                    }
                }
                Some(written) = writes.next(), if !writes.is_empty() => {
                    let Written { device, status, gone } = written;
                    if let Some(entry) = entries.get_mut(&device) {
                        entry.busy = false;
                        entry.status = status;
                        if !entry.waiting.is_empty() {
                            ready.push_back(device);
                        } else if gone {
                            entries.remove(&device);
                        }
                    }
                }
            }
            while writes.len() < PARALLEL {
                let Some(device) = ready.pop_front() else { break };
                let Some(entry) = entries.get_mut(&device) else { continue };
                entry.busy = true;
                let tasks = std::mem::take(&mut entry.waiting);
                let writer = self.clone();
                let known = entry.status.take();
                writes.push(Box::pin(async move { writer.write_device(device, known, tasks).await }));
            }
        }
    }

    async fn write_device(&self, id: DeviceId, mut status: Option<Status>, tasks: Vec<Task>) -> Written {
        let forget = tasks.iter().rposition(|task| matches!(task, Task::Forget));
        let mut replies = Vec::new();
        let mut changes = Vec::new();
        for (at, task) in tasks.into_iter().enumerate() {
            match task {
                Task::Report(_, reply) if forget.is_some_and(|forget| at < forget) => {
                    let _ = reply.send(Outcome::Rejected(format!("device {id} was deleted")));
                }
                Task::Report(change, reply) => {
                    changes.push(change);
                    replies.push(reply);
                }
                Task::Ensure | Task::Forget => {}
            }
        }
        let device = self.index().device(&id).cloned();
        if forget.is_some() || device.is_none() {
            status = None;
            self.remove(&id, device.as_ref()).await;
        }
        let Some(device) = device else {
            for reply in replies {
                let _ = reply.send(Outcome::Rejected(format!("device {id} was deleted")));
            }
            return Written { device: id, status: None, gone: true };
        };
        let (outcome, status) = match self.bring_to(&id, &device, status, &changes).await {
            Ok(status) => {
                self.health.saw(&id, status.last_reported(), status.state());
                (Outcome::Done, Some(status))
            }
            Err(failure) if is_mendable(&failure) => {
                self.tell_status_refused(&id, &device.uid, &failure).await;
                (Outcome::Retry(failure.message), None)
            }
            Err(failure) if is_passing(&failure) || failure.is_conflict() => {
                warn!(device = %id, "reports could not be written, the edge will send them again: {}", failure.message);
                (Outcome::Retry(failure.message), None)
            }
            Err(failure) => {
                warn!(device = %id, "the API refused a device's status: {}", failure.message);
                (Outcome::Rejected(failure.message), None)
            }
        };
        for reply in replies {
            // Whoever asked may be gone with its connection; the edge will ask again.
            let _ = reply.send(outcome.clone());
        }
        Written { device: id, status, gone: false }
    }

    /// Brings the API's DeviceStatus to what it says now with the changes merged; returns what it says then.
    async fn bring_to(
        &self,
        id: &DeviceId,
        device: &Device,
        known: Option<Status>,
        changes: &[Change],
    ) -> Result<Status, Failure> {
        let api = Kind::device_status().api(&self.client, Some(&id.namespace));
        let mut known = known;
        for _ in 0..ATTEMPTS {
            let current = match known.take() {
                Some(status) => Some(status),
                None => self.load(&api, id, device).await?,
            };
            let exists = current.is_some();
            let before = current.unwrap_or_default();
            let mut after = before.clone();
            after.retain(&device.properties);
            for change in changes {
                after.merge(change.clone(), &device.properties);
            }
            if exists && after == before {
                return Ok(after);
            }
            self.metrics.report_patches.inc();
            let written = if exists {
                let patch = Patch::Merge(json!({ "status": after.to_json() }));
                api.patch(&id.name, &PatchParams::default(), &patch).await.map(drop)
            } else {
                api.create(&PostParams::default(), &fresh(id, device, &after)).await.map(drop)
            };
            match written.map_err(status_of) {
                Ok(()) => return Ok(after),
                // It appeared or vanished meanwhile: look again.
                Err(failure) if failure.is_not_found() && exists => {
                    debug!(device = %id, "its status vanished")
                }
                Err(failure) if failure.is_already_exists() => debug!(device = %id, "its status appeared"),
                Err(failure) => return Err(failure),
            }
        }
        let message = format!("the status of device {id} keeps appearing and vanishing");
        Err(failure(503, "ServiceUnavailable", &message))
    }

    async fn load(
        &self,
        api: &Api<DynamicObject>,
        id: &DeviceId,
        device: &Device,
    ) -> Result<Option<Status>, Failure> {
        let Some(found) = api.get_opt(&id.name).await.map_err(status_of)? else { return Ok(None) };
        let owners = found.metadata.owner_references.unwrap_or_default();
        if owners.iter().any(|owner| owner.kind == "Device" && owner.uid != device.uid) {
            // It belongs to a namesake that is gone; the garbage collector may not have been there yet.
            api.delete(&id.name, &DeleteParams::default()).await.map_err(status_of)?;
            return Ok(None);
        }
        Ok(Some(Status::read(found.data.get("status"))))
    }

    /// Removes a DeviceStatus whose device is gone; `successor` is the namesake that took its place.
    async fn remove(&self, id: &DeviceId, successor: Option<&Device>) {
        let api = Kind::device_status().api(&self.client, Some(&id.namespace));
        let removed = match successor {
            Some(device) => self.load(&api, id, device).await.map(drop),
            None => api.delete(&id.name, &DeleteParams::default()).await.map(drop).map_err(status_of),
        };
        match removed {
            Err(failure) if !failure.is_not_found() => {
                warn!(device = %id, "its status could not be removed: {}", failure.message);
            }
            _ => debug!(device = %id, "its status was removed"),
        }
    }
}

/// Rights or a definition are missing. Somebody will mend it, and no value is to be lost until then.
fn is_mendable(failure: &Failure) -> bool {
    matches!(failure.code, 401 | 403 | 404)
}

fn fresh(id: &DeviceId, device: &Device, status: &Status) -> DynamicObject {
    let kind = Kind::device_status();
    let owner = json!([{
        "apiVersion": kind.api.api_version,
        "kind": "Device",
        "name": id.name,
        "uid": device.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    }]);
    let mut object = DynamicObject::new(&id.name, &kind.api).within(&id.namespace);
    object.metadata.owner_references = serde_json::from_value(owner).ok();
    object.data(json!({ "spec": {}, "status": status.to_json() }))
}
