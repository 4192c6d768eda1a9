//! What services are given: addresses and node ports. What is not asked for is allocated, what is asked for must be free, and what a
//! service has it keeps while its type needs it.
//!
//! Who calls must hold the lock of services, so that nothing is given twice. May call: `store` (to read). Called by: `admission`. Source:
//! Kubernetes v1.36 `pkg/registry/core/service`.

mod address;
mod families;
mod ports;

pub(crate) use address::API_SERVICE;

use serde_json::Value;

use super::{Api, Target, all};
use crate::schema::Json;
use crate::status::{FieldError, Status};

/// Gives a new service what it needs.
pub(super) fn create(api: &Api, target: &Target, service: &mut Value) -> Result<(), Status> {
    families::check(service).map_err(|wrong| invalid(service, wrong))?;
    address::allocate(api, service)?;
    ports::allocate(api, target, service, &[])
}

/// Gives a changed service what it newly needs, and takes what it needs no more.
pub(super) fn update(api: &Api, target: &Target, old: &Value, new: &mut Value) -> Result<(), Status> {
    ports::keep(old, new);
    drop_unneeded(old, new);
    families::check(new).map_err(|wrong| invalid(new, wrong))?;
    if !has_address(old) {
        address::allocate(api, new)?;
    }
    ports::allocate(api, target, new, &ports::of(old))
}

fn invalid(service: &Value, wrong: FieldError) -> Status {
    Status::invalid("", "Service", service.text("/metadata/name"), &[wrong])
}

/// Whether its type is one with an address, if only the address `None`.
fn has_address(service: &Value) -> bool {
    service.text("/spec/type") != "ExternalName"
}

fn is_balanced(service: &Value) -> bool {
    service.text("/spec/type") == "LoadBalancer"
}

fn has_node_ports(service: &Value) -> bool {
    is_balanced(service) || service.text("/spec/type") == "NodePort"
}

fn is_external(service: &Value) -> bool {
    has_node_ports(service) || has_address(service) && !service.list("/spec/externalIPs").is_empty()
}

fn has_health_check(service: &Value) -> bool {
    is_balanced(service) && service.text("/spec/externalTrafficPolicy") == "Local"
}

/// A field, and which services need it.
type Need = (&'static str, fn(&Value) -> bool);

const NEEDS: &[Need] = &[
    ("clusterIP", has_address),
    ("clusterIPs", has_address),
    ("ipFamilies", has_address),
    ("ipFamilyPolicy", has_address),
    ("healthCheckNodePort", has_health_check),
    ("allocateLoadBalancerNodePorts", is_balanced),
    ("loadBalancerClass", is_balanced),
    ("externalTrafficPolicy", is_external),
];

/// What the type needed before and does not now goes, unless it was changed meanwhile: then validation has to say so.
fn drop_unneeded(old: &Value, new: &mut Value) {
    for (field, is_needed) in NEEDS {
        if is_needed(old) && !is_needed(new) && new["spec"].get(field) == old["spec"].get(field) {
            new["spec"].as_object_mut().and_then(|spec| spec.shift_remove(*field));
        }
    }
    if has_node_ports(old) && !has_node_ports(new) {
        ports::drop_known(&ports::of(old), new);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_that_changes_its_type_sheds_what_it_needs_no_more() {
        let old = json!({"spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.1"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001,
            "allocateLoadBalancerNodePorts": true, "ports": [{"port": 80, "nodePort": 30002}],
        }});
        let to = |kind: &str| {
            let mut new = old.clone();
            new["spec"]["type"] = json!(kind);
            drop_unneeded(&old, &mut new);
            new["spec"].take()
        };
        assert_eq!(to("ExternalName"), json!({"type": "ExternalName", "ports": [{"port": 80}]}));
        let inner = to("ClusterIP");
        assert_eq!((&inner["clusterIP"], &inner["ports"]), (&json!("10.96.1.1"), &json!([{"port": 80}])));
        assert!(inner.get("externalTrafficPolicy").is_none());
        let node = to("NodePort");
        assert!(node.get("healthCheckNodePort").is_none() && node["externalTrafficPolicy"] == "Local");
        assert_eq!(node["ports"][0]["nodePort"], 30002);
    }

    #[test]
    fn what_was_changed_with_the_type_stays_for_validation_to_refuse() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.1.1", "ports": [{"port": 80, "nodePort": 30002}]}});
        let mut new = json!({"spec": {"type": "ExternalName", "clusterIP": "10.96.1.2", "ports": [{"port": 80, "nodePort": 30003}]}});
        let before = new.clone();
        drop_unneeded(&old, &mut new);
        assert_eq!(new, before);
    }
}
