//! The lease by which the cloud knows that this node lives.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
};
use proto::{
    answer,
    message::{Content, Group, Message, Operation, Route, Source},
    resource::{ObjectKey, Resource, ResourceKind},
};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{NodeSettings, changed};
use crate::{edgehub, metamanager};

const NAMESPACE: &str = "kube-node-lease";
/// A kubelet tries a failed renewal five times at once before it waits for the next turn.
const TRIES: u32 = 5;
/// While the lease does not exist yet, the node's registration is awaited in short steps.
const SOON: Duration = Duration::from_millis(250);

/// Renews the lease four times in its life.
#[derive(Clone)]
pub(super) struct Keeper {
    settings: NodeSettings,
    hub: edgehub::Handle,
    meta: metamanager::Handle,
    /// As the cloud returned it last; its version makes the next renewal an update of exactly this one.
    lease: Option<Lease>,
}

/// Why a renewal did not succeed.
enum Failure {
    /// The lease is another one by now, or gone: ask for it first.
    Stale,
    /// The node is not in the store yet, so nobody could own the lease.
    NoNode,
    /// Anything else.
    Other(String),
}

impl Keeper {
    pub(super) fn new(settings: NodeSettings, hub: edgehub::Handle, meta: metamanager::Handle) -> Self {
        Self { settings, hub, meta, lease: None }
    }

    pub(super) async fn run(&mut self) {
        let mut connection = self.hub.connection();
        let interval = self.settings.lease / 4;
        loop {
            while !connection.borrow_and_update().is_up() {
                changed(&mut connection).await;
            }
            let pause = match self.renew().await {
                Ok(()) => interval,
                Err(Failure::NoNode) => SOON,
                Err(Failure::Stale) => Duration::ZERO,
                Err(Failure::Other(reason)) => {
                    warn!(reason, "lease cannot be renewed, trying again");
                    interval
                }
            };
            // A new link is used at once: the lease may be close to its end.
            timeout(pause, changed(&mut connection)).await.ok();
        }
    }

    async fn renew(&mut self) -> Result<(), Failure> {
        let mut failure = Failure::Stale;
        for _ in 0..TRIES {
            failure = match self.turn().await {
                Ok(()) => return Ok(()),
                Err(Failure::NoNode) => return Err(Failure::NoNode),
                Err(Failure::Stale) => {
                    self.lease = None;
                    Failure::Stale
                }
                Err(Failure::Other(reason)) => {
                    sleep(SOON).await;
                    Failure::Other(reason)
                }
            };
        }
        Err(match failure {
            Failure::Stale => Failure::Other("the lease changes faster than it can be renewed".to_owned()),
            other => other,
        })
    }

    async fn turn(&mut self) -> Result<(), Failure> {
        if self.lease.is_none() {
            self.lease = self.find().await?;
        }
        let now = Some(MicroTime(Timestamp::now()));
        let (operation, lease) = match self.lease.clone() {
            Some(mut lease) => {
                let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
                spec.holder_identity = Some(self.settings.name.clone());
                spec.lease_duration_seconds = Some(self.seconds());
                spec.renew_time = now;
                (Operation::Update, lease)
            }
            None => (Operation::Insert, self.fresh(now).await?),
        };
        let content = Content::json(&lease).map_err(|error| Failure::Other(error.to_string()))?;
        let answered = self.ask(operation, content).await?;
        self.lease = serde_json::from_value(answered).ok();
        debug!("lease renewed");
        Ok(())
    }

    /// The lease in the cloud, if there is one.
    async fn find(&self) -> Result<Option<Lease>, Failure> {
        match self.ask(Operation::Query, Content::null()).await {
            Ok(object) => {
                serde_json::from_value(object).map(Some).map_err(|error| Failure::Other(error.to_string()))
            }
            Err(Failure::Stale) => Ok(None),
            Err(other) => Err(other),
        }
    }

    async fn fresh(&self, now: Option<MicroTime>) -> Result<Lease, Failure> {
        let key = ObjectKey { namespace: None, kind: ResourceKind::Node, name: self.settings.name.clone() };
        let node = self.meta.get(&key).await.map_err(|error| Failure::Other(error.to_string()))?;
        let node = node.ok_or(Failure::NoNode)?;
        Ok(Lease {
            metadata: ObjectMeta {
                name: Some(self.settings.name.clone()),
                namespace: Some(NAMESPACE.to_owned()),
                owner_references: Some(vec![OwnerReference {
                    api_version: "v1".to_owned(),
                    kind: "Node".to_owned(),
                    name: self.settings.name.clone(),
                    uid: node.uid,
                    ..OwnerReference::default()
                }]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.settings.name.clone()),
                lease_duration_seconds: Some(self.seconds()),
                renew_time: now,
                ..LeaseSpec::default()
            }),
        })
    }

    async fn ask(&self, operation: Operation, content: Content) -> Result<serde_json::Value, Failure> {
        let key = ObjectKey {
            namespace: Some(NAMESPACE.to_owned()),
            kind: ResourceKind::Lease,
            name: self.settings.name.clone(),
        };
        let route = Route::new(Source::Edged, Group::Meta, operation, Resource::Object(key));
        let request = self.hub.request(Message::new(route, content), self.settings.lease / 4).await;
        let answer = request.map_err(|error| Failure::Other(error.to_string()))?;
        answer::parse(&answer.content).map_err(|status| match status.reason.as_str() {
            "NotFound" | "Conflict" | "AlreadyExists" => Failure::Stale,
            _ => Failure::Other(status.message),
        })
    }

    fn seconds(&self) -> i32 {
        i32::try_from(self.settings.lease.as_secs()).unwrap_or(i32::MAX)
    }
}
