//! How many pods an owner wants.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use kube::core::GroupVersionKind;
use kube::{Api, discovery};

use super::Shell;
use crate::cache::uid_of;
use crate::claim::controller_of;
use crate::error::Error;

impl Shell {
    /// The uid of the topmost owner and how many pods it wants; nothing if it is not there or has no scale.
    pub(super) async fn wanted_by(
        &self,
        owner: &OwnerReference,
        namespace: &str,
    ) -> Result<Option<(String, i32)>, Error> {
        let caches = &self.context.caches;
        match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("apps/v1", "ReplicaSet") => {
                let set = caches.replica_sets.get(namespace, &owner.name);
                let Some(set) = set.filter(|set| uid_of(&**set) == owner.uid) else { return Ok(None) };
                let above = controller_of(&*set).filter(|above| above.kind == "Deployment");
                if let Some(above) = above {
                    let deployment = caches.deployments.get(namespace, &above.name);
                    let deployment = deployment.filter(|deployment| uid_of(&**deployment) == above.uid);
                    return Ok(deployment.map(|deployment| {
                        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
                        (above.uid.clone(), replicas.unwrap_or(1))
                    }));
                }
                let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
                Ok(Some((owner.uid.clone(), replicas.unwrap_or(1))))
            }
            ("apps/v1", "StatefulSet") => {
                let set = caches.stateful_sets.get(namespace, &owner.name);
                let set = set.filter(|set| uid_of(&**set) == owner.uid);
                let replicas = |set: &k8s_openapi::api::apps::v1::StatefulSet| set.spec.as_ref()?.replicas;
                Ok(set.map(|set| (owner.uid.clone(), replicas(&set).unwrap_or(1))))
            }
            _ => self.scale_of(owner, namespace).await,
        }
    }

    /// What the `scale` of an owner of any kind says.
    async fn scale_of(
        &self,
        owner: &OwnerReference,
        namespace: &str,
    ) -> Result<Option<(String, i32)>, Error> {
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let kind = GroupVersionKind::gvk(group, version, &owner.kind);
        let found = discovery::pinned_kind(&self.context.client, &kind).await;
        let Ok((resource, _)) = found else { return Ok(None) };
        let api = Api::<DynamicObject>::namespaced_with(self.context.client.clone(), namespace, &resource);
        match api.get_scale(&owner.name).await {
            Ok(scale) if scale.metadata.uid.as_deref() == Some(&owner.uid) => {
                Ok(Some((owner.uid.clone(), scale.spec.and_then(|spec| spec.replicas).unwrap_or(0))))
            }
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(Error::api("read the scale of an owner")(error)),
        }
    }
}
