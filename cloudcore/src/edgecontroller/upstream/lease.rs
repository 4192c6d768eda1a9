//! A node's lease: the heartbeat by which the rest of Kubernetes sees that it lives.

use kube::api::PostParams;
use proto::message::Content;
use proto::pki::NodeName;
use proto::resource::ObjectKey;

use super::{object, written};
use crate::cloudhub::session::Reply;
use crate::edgecontroller::EdgeController;
use crate::kubeapi::{Failure, Kind, status_of};

/// Where Kubernetes keeps the leases of nodes.
const LEASES: &str = "kube-node-lease";

impl EdgeController {
    pub(super) async fn query_lease(&self, node: &NodeName, key: &ObjectKey) -> Reply {
        let found = async {
            self.own_lease(node, key)?;
            Kind::lease().api(&self.client, Some(LEASES)).get(&key.name).await.map_err(status_of)
        };
        written(found.await, false)
    }

    pub(super) async fn insert_lease(&self, node: &NodeName, key: &ObjectKey, content: &Content) -> Reply {
        let created = async {
            self.own_lease(node, key)?;
            let kind = Kind::lease();
            let mut new = object(content, key, &kind.api)?;
            new.metadata.resource_version = None;
            kind.api(&self.client, Some(LEASES)).create(&PostParams::default(), &new).await.map_err(status_of)
        };
        written(created.await, false)
    }

    pub(super) async fn update_lease(&self, node: &NodeName, key: &ObjectKey, content: &Content) -> Reply {
        let replaced = async {
            self.own_lease(node, key)?;
            let kind = Kind::lease();
            let new = object(content, key, &kind.api)?;
            let api = kind.api(&self.client, Some(LEASES));
            api.replace(&key.name, &PostParams::default(), &new).await.map_err(status_of)
        };
        written(replaced.await, false)
    }

    fn own_lease(&self, node: &NodeName, key: &ObjectKey) -> Result<(), Failure> {
        if key.namespace.as_deref() == Some(LEASES) && key.name == node.as_str() {
            return Ok(());
        }
        Err(self.forbid(node, key, "a node may only touch its own lease in kube-node-lease"))
    }
}
