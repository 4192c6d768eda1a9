//! What of an object is not worth keeping in a cache.

use std::any::Any;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::Resource;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Drops what controllers never look at and what can be larger than all the rest together.
pub(super) fn slim<K: Resource + 'static>(object: &mut K) {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
    if let Some(pod) = (object as &mut dyn Any).downcast_mut::<Pod>() {
        slim_pod(pod);
    }
}

/// There are more pods than all other objects. What only their node needs to know goes; the scheduler looks at the rest.
fn slim_pod(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    spec.ephemeral_containers = None;
    if let Some(volumes) = &mut spec.volumes {
        volumes.retain(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some());
        volumes.shrink_to_fit();
    }
    for containers in [Some(&mut spec.containers), spec.init_containers.as_mut()].into_iter().flatten() {
        for container in containers.iter_mut() {
            let whole = std::mem::take(container);
            *container = Container {
                name: whole.name,
                image: whole.image,
                ports: whole.ports,
                resources: whole.resources,
                restart_policy: whole.restart_policy,
                ..Container::default()
            };
        }
        containers.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_keeps_what_places_it_and_loses_what_only_its_node_needs() {
        let container = json!({
            "name": "c", "image": "i", "env": [{"name": "A", "value": "b"}], "command": ["x"],
            "ports": [{"containerPort": 80, "hostPort": 80}], "resources": {"requests": {"cpu": "1"}},
        });
        let volumes = json!([
            {"name": "a", "emptyDir": {}}, {"name": "b", "persistentVolumeClaim": {"claimName": "b"}},
        ]);
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"annotations": {LAST_APPLIED: "{}", "kept": "1"}, "managedFields": [{"manager": "m"}]},
            "spec": {"containers": [container], "volumes": volumes, "hostNetwork": true},
        }))
        .expect("a pod");
        slim(&mut pod);
        assert_eq!(
            serde_json::to_value(&pod).expect("JSON"),
            json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": {"kept": "1"}},
                "spec": {
                    "containers": [{
                        "name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 80}],
                        "resources": {"requests": {"cpu": "1"}},
                    }],
                    "volumes": [{"name": "b", "persistentVolumeClaim": {"claimName": "b"}}],
                    "hostNetwork": true,
                },
            })
        );
    }
}
