//! The devices of a mapper: a task for each, started, told of changes and stopped as edgecore says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dmi::v1beta1 as wire;
use tasks::{Restart, TaskSet};
use tokio::sync::{Mutex, watch};
use tracing::{info, warn};

use crate::config::ConfigError;
use crate::device::Device;
use crate::protocol::Protocol;
use crate::push::Push;
use crate::reports::Reports;
use crate::worker;

/// How long a device's task has to end.
const GRACE: Duration = Duration::from_secs(2);

/// All devices.
pub(crate) struct Fleet<P> {
    protocol: Arc<P>,
    pub(crate) reports: Arc<Reports>,
    push: Push,
    tasks: TaskSet,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    models: BTreeMap<String, wire::DeviceModel>,
    devices: BTreeMap<String, Running>,
}

/// A device that is served; without a task when its configuration makes no sense.
struct Running {
    device: wire::Device,
    task: Option<(TaskSet, watch::Sender<Arc<Device>>)>,
}

// === impl Fleet ===

impl<P: Protocol> Fleet<P> {
    pub(crate) fn new(protocol: P, reports: Arc<Reports>, push: Push) -> Self {
        Self {
            protocol: Arc::new(protocol),
            reports,
            push,
            tasks: TaskSet::new("devices"),
            state: Mutex::default(),
        }
    }

    /// All that there is, and nothing else.
    pub(crate) async fn replace(&self, models: Vec<wire::DeviceModel>, devices: Vec<wire::Device>) {
        let mut state = self.state.lock().await;
        state.models = models.into_iter().map(|model| (id(&model.namespace, &model.name), model)).collect();
        let wanted: BTreeSet<String> =
            devices.iter().map(|device| id(&device.namespace, &device.name)).collect();
        let gone: Vec<String> = state.devices.keys().filter(|id| !wanted.contains(*id)).cloned().collect();
        for id in gone {
            self.stop(&mut state, &id).await;
        }
        for device in devices {
            // Said where it is found out.
            let _ = self.start(&mut state, device).await;
        }
    }

    pub(crate) async fn put_model(&self, model: wire::DeviceModel) {
        let mut state = self.state.lock().await;
        let of = id(&model.namespace, &model.name);
        state.models.insert(of.clone(), model);
        let devices: Vec<wire::Device> = state
            .devices
            .values()
            .map(|running| running.device.clone())
            .filter(|device| model_of(device) == of)
            .collect();
        for device in devices {
            let _ = self.start(&mut state, device).await;
        }
    }

    pub(crate) async fn remove_model(&self, namespace: &str, name: &str) {
        self.state.lock().await.models.remove(&id(namespace, name));
    }

    /// A new device, or one that changed.
    ///
    /// # Errors
    /// Its configuration makes no sense. It is not served until it is changed.
    pub(crate) async fn put(&self, device: wire::Device) -> Result<(), ConfigError> {
        let mut state = self.state.lock().await;
        self.start(&mut state, device).await
    }

    /// May be repeated.
    pub(crate) async fn remove(&self, namespace: &str, name: &str) {
        let mut state = self.state.lock().await;
        self.stop(&mut state, &id(namespace, name)).await;
    }

    pub(crate) async fn get(&self, namespace: &str, name: &str) -> Option<wire::Device> {
        self.state.lock().await.devices.get(&id(namespace, name)).map(|running| running.device.clone())
    }

    /// Ends all tasks.
    pub(crate) async fn end(&self) {
        let mut state = self.state.lock().await;
        let all: Vec<String> = state.devices.keys().cloned().collect();
        for id in all {
            self.stop(&mut state, &id).await;
        }
    }

    async fn start(&self, state: &mut State, device: wire::Device) -> Result<(), ConfigError> {
        let id = id(&device.namespace, &device.name);
        let seen = Arc::new(Device::new(&device, state.models.get(&model_of(&device))));
        if let Err(wrong) = self.protocol.check(&seen) {
            warn!(device = id, "not served until it is changed: {wrong}");
            self.stop(state, &id).await;
            self.reports.state_of(&id, "unhealthy");
            state.devices.insert(id, Running { device, task: None });
            return Err(wrong);
        }
        if let Some(Running { device: known, task: Some((_, sender)) }) = state.devices.get_mut(&id) {
            *known = device;
            sender.send_replace(seen);
            return Ok(());
        }
        info!(device = id, "a device is served");
        let (sender, receiver) = watch::channel(seen);
        let tasks = self.tasks.child(&id);
        let (protocol, reports, push) =
            (Arc::clone(&self.protocol), Arc::clone(&self.reports), self.push.clone());
        tasks.spawn("device", Restart::on_failure(), move |stop| {
            worker::run(Arc::clone(&protocol), receiver.clone(), Arc::clone(&reports), push.clone(), stop)
        });
        state.devices.insert(id, Running { device, task: Some((tasks, sender)) });
        Ok(())
    }

    async fn stop(&self, state: &mut State, id: &str) {
        let Some(running) = state.devices.remove(id) else { return };
        if let Some((tasks, _)) = running.task {
            let report = tasks.shutdown(GRACE).await;
            if !report.is_clean() {
                warn!(device = id, "its protocol did not let go in time");
            }
        }
        self.reports.forget(id);
        info!(device = id, "a device is no longer served");
    }
}

fn id(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

fn model_of(device: &wire::Device) -> String {
    let reference = device.spec.as_ref().map(|spec| spec.device_model_reference.as_str());
    id(&device.namespace, reference.unwrap_or_default())
}
