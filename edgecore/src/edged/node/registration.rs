//! Registers the node, and again when somebody has deleted it.

use std::time::Duration;

use jiff::Timestamp;
use proto::{
    answer,
    message::{Content, Group, Message, Operation, Route, Source},
    resource::{ObjectKey, Resource, ResourceKind},
};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::{NodeSettings, Outlook, changed, condition, machine::Machine, object};
use crate::{edgehub, metamanager};

/// KubeEdge's own limit of a question to the cloud (v1.23 `remoteQueryTimeout`).
const PATIENCE: Duration = Duration::from_secs(60);
/// A kubelet tries again after 100 ms, doubling to 7 s.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(7);
/// How often a standing link is used to see whether the Node object still exists.
const LOOK_AGAIN: Duration = Duration::from_secs(5 * 60);

/// Keeps the Node object in existence.
#[derive(Clone)]
pub(super) struct Registrar {
    settings: NodeSettings,
    hub: edgehub::Handle,
    meta: metamanager::Handle,
    outlook: Outlook,
}

impl Registrar {
    pub(super) fn new(
        settings: NodeSettings,
        hub: edgehub::Handle,
        meta: metamanager::Handle,
        outlook: Outlook,
    ) -> Self {
        Self { settings, hub, meta, outlook }
    }

    pub(super) async fn run(&mut self) {
        let mut connection = self.hub.connection();
        let mut nodes = self.meta.changes(ResourceKind::Node);
        loop {
            while !connection.borrow_and_update().is_up() {
                changed(&mut connection).await;
            }
            self.register().await;
            let look_again = Instant::now() + LOOK_AGAIN;
            loop {
                tokio::select! {
                    () = changed(&mut connection) => break,
                    () = changed(&mut nodes) => if self.is_missing().await { break },
                    () = sleep_until(look_again) => break,
                }
            }
        }
    }

    /// Whether the store has no Node: it was deleted in the cloud, or the store is new.
    async fn is_missing(&self) -> bool {
        matches!(self.meta.get(&self.key()).await, Ok(None))
    }

    /// Asks until the cloud has the node or the link is gone.
    async fn register(&mut self) {
        let mut pause = FIRST_PAUSE;
        while self.hub.connection().borrow().is_up() {
            match self.ask().await {
                Ok(true) => {
                    info!(node = %self.settings.name, "node registered");
                    return;
                }
                Ok(false) => {
                    debug!(node = %self.settings.name, "node is registered already");
                    return;
                }
                Err(reason) => {
                    warn!(node = %self.settings.name, reason, "node cannot be registered yet, trying again");
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// `true` when this created the node, `false` when it existed.
    async fn ask(&self) -> Result<bool, String> {
        let machine = Machine::look(&self.settings.root);
        let runtime = self.outlook.runtime.borrow().clone();
        let pressure = *self.outlook.pressure.borrow();
        let images = self.outlook.images.borrow().clone();
        let conditions = condition::conditions(&[], pressure, &runtime, Timestamp::now());
        let seen = object::Seen {
            machine: &machine,
            runtime: &runtime,
            images: images.as_ref().map(|images| images.as_slice()),
        };
        let node = object::node(&self.settings, seen, conditions);
        let content = Content::json(&node).map_err(|error| error.to_string())?;
        let route = Route::new(Source::Edged, Group::Meta, Operation::Insert, Resource::Object(self.key()));
        let answer =
            self.hub.request(Message::new(route, content), PATIENCE).await.map_err(|e| e.to_string())?;
        match answer::parse(&answer.content) {
            Ok(_) => Ok(true),
            Err(status) if status.reason == "AlreadyExists" => Ok(false),
            Err(status) => Err(status.message),
        }
    }

    fn key(&self) -> ObjectKey {
        ObjectKey { namespace: None, kind: ResourceKind::Node, name: self.settings.name.clone() }
    }
}
