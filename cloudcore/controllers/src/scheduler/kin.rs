//! Which pods belong together: those of the same service or owner, for the default spreading.

use kube::core::{Expression, Selector};

use super::labels::{Labels, PodSelector};
use crate::claim::controller_of;
use crate::context::Caches;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// What selects the pod's kin; none if it has none. Source: Kubernetes v1.36 `plugins/helper.DefaultSelector`.
pub(crate) fn kin(caches: &Caches, pod: &Pod) -> Option<PodSelector> {
    let namespace = pod.metadata.namespace.as_deref()?;
    let labels = pod.metadata.labels.as_ref()?;
    let mut selector = Selector::default();
    for service in caches.services.within(namespace, |service| selects(service, labels)) {
        let pairs = service.spec.iter().flat_map(|spec| spec.selector.clone().unwrap_or_default());
        selector.extend(pairs.map(|(key, value)| Expression::Equal(key, value)));
    }
    let owner = controller_of(pod);
    let owned: Option<LabelSelector> = owner.and_then(|owner| match owner.kind.as_str() {
        "ReplicaSet" => {
            Some(caches.replica_sets.get(namespace, &owner.name)?.spec.as_ref()?.selector.clone())
        }
        "ReplicationController" => {
            let spec = caches.replication_controllers.get(namespace, &owner.name)?.spec.clone()?;
            Some(LabelSelector { match_labels: spec.selector, ..LabelSelector::default() })
        }
        "StatefulSet" => {
            Some(caches.stateful_sets.get(namespace, &owner.name)?.spec.as_ref()?.selector.clone())
        }
        _ => None,
    });
    if let Some(Ok(owned)) = owned.map(Selector::try_from) {
        selector.extend(owned);
    }
    (!selector.selects_all()).then(|| PodSelector::of(selector))
}

fn selects(service: &Service, labels: &Labels) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    })
}
