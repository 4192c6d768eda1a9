//! What is here of pods that nobody wants: those that run, and what others that are gone have left.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::time::Instant;

use super::Manager;
use crate::edged::leftovers;
use crate::edged::pod::worker::Desired;
use crate::edged::runtime::{Container, PodUid, Sandbox, labels};

/// How often it is looked for what pods that are gone have left. Reads one directory.
const CLEAN_EVERY: Duration = Duration::from_secs(30);
/// A pod must be unknown this often in a row before it is removed.
const UNKNOWN_LOOKS: u8 = 2;

impl Manager {
    /// Pods that run although nobody wants them.
    pub(super) fn remove_unknown(
        &mut self,
        prints: &HashMap<PodUid, u64>,
        sandboxes: &[Sandbox],
        containers: &[Container],
    ) {
        self.unknown.retain(|uid, _| prints.contains_key(uid));
        let strangers: Vec<PodUid> =
            prints.keys().filter(|uid| !self.workers.contains_key(&uid.0)).cloned().collect();
        if strangers.is_empty() || !self.may_remove_unknown() {
            return;
        }
        for uid in strangers {
            let looks = self.unknown.entry(uid.clone()).or_default();
            *looks = looks.saturating_add(1);
            if *looks >= UNKNOWN_LOOKS
                && let Some(pod) = skeleton(&uid, sandboxes, containers)
            {
                tracing::warn!(%uid, "a pod runs that the cloud does not know any more: it is stopped and removed");
                self.add_worker(uid.0, Arc::new(pod), Desired::Removed);
            }
        }
    }

    /// Directories and cgroups of pods that exist nowhere any more.
    pub(super) fn clean_up(&mut self, prints: &HashMap<PodUid, u64>) {
        let recently = self.cleaned.is_some_and(|cleaned| cleaned.elapsed() < CLEAN_EVERY);
        if recently || !self.may_remove_unknown() {
            return;
        }
        self.cleaned = Some(Instant::now());
        let left: Vec<String> = leftovers::noted(&self.ctx.settings)
            .into_iter()
            .filter(|uid| !self.workers.contains_key(uid) && !prints.contains_key(&PodUid(uid.clone())))
            .collect();
        if left.is_empty() {
            return;
        }
        let ctx = Arc::clone(&self.ctx);
        self.tasks.spawn_once("clean-up", move |_| async move {
            for uid in left {
                let (ctx, name) = (Arc::clone(&ctx), uid.clone());
                let done = tokio::task::spawn_blocking(move || leftovers::remove(&name, &ctx.settings));
                match done.await.map_err(std::io::Error::other).and_then(|result| result) {
                    Ok(true) => tracing::info!(uid, "removed what a pod that is gone had left"),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(uid, "cannot remove what a pod that is gone left: {error}"),
                }
            }
        });
    }
}

/// What the runtime's labels tell about a pod that the store does not know.
fn skeleton(uid: &PodUid, sandboxes: &[Sandbox], containers: &[Container]) -> Option<Pod> {
    let of_container = containers.iter().find(|container| container.uid == *uid).map(|container| {
        let label = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
        (label(labels::POD_NAME), label(labels::POD_NAMESPACE))
    });
    let of_sandbox = sandboxes.iter().find(|sandbox| sandbox.uid == *uid);
    let (name, namespace) =
        of_sandbox.map(|sandbox| (sandbox.name.clone(), sandbox.namespace.clone())).or(of_container)?;
    let grace = containers
        .iter()
        .filter(|container| container.uid == *uid)
        .filter_map(|container| container.annotations.get(labels::GRACE)?.parse::<i64>().ok())
        .max();
    serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": namespace, "uid": uid.0 },
        "spec": { "containers": [], "terminationGracePeriodSeconds": grace },
    }))
    .ok()
}
