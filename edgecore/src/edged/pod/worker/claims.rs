//! Getting the claims that the pod refers to, and the volumes behind them.

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use proto::resource::{ObjectKey, ResourceKind};

use super::Worker;
use crate::edged::objects::{Absent, Claim, Objects, References};
use crate::edged::volumes;

impl Worker {
    pub(super) async fn gather_claims(
        &self,
        namespace: &str,
        references: &References,
        objects: &mut Objects,
    ) {
        for name in &references.claims {
            let claim: Result<PersistentVolumeClaim, Absent> =
                self.fetch(namespace, ResourceKind::PersistentVolumeClaim, name).await;
            let found = match claim {
                Ok(claim) => {
                    let volume = match volumes::bound(&claim) {
                        Some(volume) => {
                            let key = ObjectKey::cluster(ResourceKind::PersistentVolume, volume);
                            Some(self.fetch_key(&key).await)
                        }
                        None => None,
                    };
                    Ok(Claim { claim, volume })
                }
                Err(absent) => Err(absent),
            };
            objects.claims.insert(name.clone(), found);
        }
        if references.claims.is_empty() {
            return;
        }
        // Some volumes are of one machine alone, and say by its labels of which.
        let key = ObjectKey::node(&self.ctx.settings.node_name);
        if let Ok(Some(held)) = self.ctx.store.get(&key).await
            && let Ok(node) = serde_json::from_value::<Node>(held.object)
        {
            objects.node_labels = node.metadata.labels.unwrap_or_default();
        }
    }
}
