//! Feeds the monitor, and does what it says.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::monitor::{Effect, Monitor, Now, Rules};
use super::pods;
use crate::context::Context;
use crate::error::Error;
use crate::events::Recorder;

/// Where agents keep their leases.
const LEASES: &str = "kube-node-lease";
/// Changes of nodes that come together are looked at together.
const SETTLE: Duration = Duration::from_millis(20);
/// How many effects are under way at once.
const AT_ONCE: usize = 16;

struct Lifecycle {
    context: Context,
    events: Recorder,
    monitor: Monitor,
}

/// Watches over nodes until `token` is cancelled.
pub(super) async fn run(context: Context, token: CancellationToken) -> Result<(), Infallible> {
    let caches = Arc::clone(&context.caches);
    tokio::select! {
        () = token.cancelled() => return Ok(()),
        () = async { caches.nodes.ready().await; caches.leases.ready().await; caches.pods.ready().await } => {}
    }
    let settings = Arc::clone(&context.settings);
    let rules = Rules {
        grace: settings.node_monitor_grace,
        startup_grace: settings.node_startup_grace,
        period: settings.node_monitor_period,
    };
    let events = context.recorder("node-controller");
    let mut lifecycle = Lifecycle { context, events, monitor: Monitor::new(rules) };
    let (mut nodes, mut leases) = (caches.nodes.changes(), caches.leases.changes());
    loop {
        // All that came in meanwhile counts before anybody is judged.
        while let Some(Some(_)) = nodes.next().now_or_never() {}
        while let Some(Some(lease)) = leases.next().now_or_never() {
            lifecycle.heard(&lease);
        }
        lifecycle.look().await;
        let due = Instant::now() + rules.period;
        let due = lifecycle.monitor.next_due().map_or(due, |next| next.max(Instant::now() + SETTLE).min(due));
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(due) => break,
                Some(lease) = leases.next() => lifecycle.heard(&lease),
                Some(_) = nodes.next() => {
                    tokio::time::sleep(SETTLE).await;
                    break;
                }
            }
        }
    }
}

// === impl Lifecycle ===

impl Lifecycle {
    fn heard(&mut self, lease: &k8s_openapi::api::coordination::v1::Lease) {
        if lease.metadata.namespace.as_deref() == Some(LEASES) {
            let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
            self.monitor.lease(&lease.name_any(), renewed, Instant::now());
        }
    }

    async fn look(&mut self) {
        let nodes = self.context.caches.nodes.store().state();
        let now = Now { instant: Instant::now(), wall: Timestamp::now() };
        let effects = self.monitor.step(&nodes, now);
        let this = &*self;
        let unmarked: Vec<Option<String>> = futures::stream::iter(effects)
            .map(|effect| this.carry_out(effect))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        unmarked.into_iter().flatten().for_each(|node| self.monitor.again(&node));
    }

    /// The answer is a node whose pods could not be marked.
    async fn carry_out(&self, effect: Effect) -> Option<String> {
        let (done, node) = match effect {
            Effect::Registered(node) => {
                let name = node.name_any();
                let message = format!("Node {name} event: Registered Node {name} in Controller");
                self.events.normal(&*node, "RegisteredNode", message);
                return None;
            }
            Effect::Removed(node) => {
                let name = node.name_any();
                let message = format!("Node {name} event: Removing Node {name} from Controller");
                self.events.normal(&*node, "RemovingNode", message);
                return None;
            }
            Effect::Silent { node, conditions, was_ready } => {
                (self.silence(&node, conditions, was_ready).await, node)
            }
            Effect::Taint { node, taints } => (self.taint(&node, &taints).await, node),
            Effect::Dress { node, change } => {
                let changed =
                    self.api().patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(change)).await;
                (changed.map(drop).map_err(Error::api("label a node")), node)
            }
            Effect::PodsNotReady(node) => {
                let done = self.pods_not_ready(&node).await;
                let name = node.name_any();
                if let Err(error) = done {
                    tracing::warn!(node = name, %error, "cannot mark its pods yet");
                    return Some(name);
                }
                return None;
            }
        };
        match done {
            Ok(()) => {}
            Err(error) if error.is_race() => {
                tracing::debug!(node = node.name_any(), %error, "the node changed meanwhile, looking again");
            }
            Err(error) => tracing::warn!(node = node.name_any(), %error, "cannot change a node yet"),
        }
        None
    }

    fn api(&self) -> Api<Node> {
        Api::all(self.context.client.clone())
    }

    /// Only if the node has not spoken meanwhile.
    async fn silence(
        &self,
        node: &Arc<Node>,
        conditions: Vec<NodeCondition>,
        was_ready: bool,
    ) -> Result<(), Error> {
        let name = node.name_any();
        let patch = json!({
            "metadata": {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version},
            "status": {"conditions": conditions},
        });
        let patched = self.api().patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map_err(Error::api("say that a node is silent"))?;
        tracing::info!(node = name, "a node fell silent");
        if was_ready {
            let message = format!("Node {name} status is now: NodeNotReady");
            self.events.normal(&**node, "NodeNotReady", message);
        }
        Ok(())
    }

    async fn taint(&self, node: &Arc<Node>, taints: &[Taint]) -> Result<(), Error> {
        let taints = if taints.is_empty() { json!(null) } else { json!(taints) };
        let patch = json!({
            "metadata": {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version},
            "spec": {"taints": taints},
        });
        let patched = self.api().patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map(drop).map_err(Error::api("taint a node"))
    }

    async fn pods_not_ready(&self, node: &Node) -> Result<(), Error> {
        let name = node.name_any();
        for pod in self.context.caches.pods.on_node(&name) {
            if pods::not_ready(&self.context.client, &pod).await? {
                self.events.warning(&*pod, "NodeNotReady", "Node is not ready".to_owned());
            }
        }
        Ok(())
    }
}
