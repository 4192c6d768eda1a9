//! Whether a node name belongs to a node that lives.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::Api;
use proto::pki::NodeName;
use tokio::time::Instant;

use super::super::sessions::Sessions;
use crate::kubeapi::{Failure, status_of};

/// After a start, nodes that this cloudcore served may not be back yet.
const SETTLING: Duration = Duration::from_secs(60);
/// Kubernetes' own lease of a node, if it does not say.
const LEASE_SECONDS: i64 = 40;

/// Tells living nodes' names from free ones.
pub(super) struct Names {
    client: Client,
    sessions: Sessions,
    address: String,
    began: Instant,
}

/// A living node has the name.
#[derive(Debug)]
pub(super) struct Taken {
    /// How it is known to live, in words.
    pub(super) by: String,
    /// Whether it has registered yet.
    pub(super) has_object: bool,
}

impl Names {
    pub(super) fn new(client: Client, sessions: Sessions, address: String) -> Self {
        Self { client, sessions, address, began: Instant::now() }
    }

    /// A node lives if it is connected here, or if it is ready, renews its lease, and is another cloudcore's.
    pub(super) async fn taken(&self, node: &NodeName) -> Result<Option<Taken>, Failure> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let object = nodes.get_opt(node.as_str()).await.map_err(status_of)?;
        if let Some((peer, _)) = self.sessions.connected(node) {
            return Ok(Some(Taken {
                by: format!("it is connected from {peer}"),
                has_object: object.is_some(),
            }));
        }
        let Some(object) = object else { return Ok(None) };
        let conditions = object.status.and_then(|status| status.conditions).unwrap_or_default();
        let ready =
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let served_by = object.metadata.annotations.and_then(|mut all| all.remove("cloudcore"));
        let elsewhere = served_by.as_deref().is_some_and(|at| at != self.address);
        if !ready || !(elsewhere || self.began.elapsed() < SETTLING) {
            return Ok(None);
        }
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        let lease = leases.get_opt(node.as_str()).await.map_err(status_of)?.and_then(|lease| lease.spec);
        let renewed =
            lease.as_ref().and_then(|lease| lease.renew_time.as_ref()).map(|time| time.0.as_second());
        let seconds = lease.and_then(|lease| lease.lease_duration_seconds).map_or(LEASE_SECONDS, i64::from);
        let fresh = renewed.is_some_and(|renewed| Timestamp::now().as_second() - renewed <= seconds);
        let by = format!("it is ready and served by the cloudcore at {}", served_by.unwrap_or_default());
        Ok(fresh.then_some(Taken { by, has_object: true }))
    }
}
