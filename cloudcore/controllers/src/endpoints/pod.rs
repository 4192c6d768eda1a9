//! What of a pod its services tell: whether, where and on which ports it answers. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::pods::is_finished;

/// Whether it may answer at all: it has an address and has not ended.
pub(super) fn is_reachable(pod: &Pod) -> bool {
    !is_finished(pod) && addresses(pod).next().is_some()
}

/// All its addresses, in the order in which the node told them.
pub(super) fn addresses(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    let status = pod.status.as_ref();
    let many = status.and_then(|status| status.pod_ips.as_deref()).unwrap_or_default();
    let one = status.and_then(|status| status.pod_ip.as_deref()).filter(|_| many.is_empty());
    many.iter().map(|address| address.ip.as_str()).chain(one).filter_map(|address| address.parse().ok())
}

pub(super) fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|name| !name.is_empty())
}

/// The name under which the service's domain knows the pod.
pub(super) fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let here = spec.subdomain.as_deref().unwrap_or_default() == service.name_any();
    spec.hostname.clone().filter(|name| !name.is_empty() && here)
}

pub(super) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.namespace(),
        name: Some(pod.name_any()),
        uid: pod.uid(),
        ..ObjectReference::default()
    }
}

/// The number of the port to which a service's port leads; nothing if no container has a port of that name.
pub(super) fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        Some(IntOrString::Int(number)) if *number != 0 => Some(*number),
        Some(IntOrString::String(name)) => named_port(pod, name, protocol(port.protocol.as_deref())),
        _ => Some(port.port),
    }
}

/// The API's default is TCP.
pub(super) fn protocol(protocol: Option<&str>) -> &str {
    protocol.unwrap_or("TCP")
}

fn named_port(pod: &Pod, name: &str, wanted: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(sidecar);
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let mut fitting = ports
        .filter(|port| port.name.as_deref() == Some(name) && protocol(port.protocol.as_deref()) == wanted);
    fitting.next().map(|port| port.container_port)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value, status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec, "status": status})).unwrap()
    }

    fn port(value: Value) -> ServicePort {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_named_port_is_looked_for_in_containers_and_sidecars_by_protocol() {
        let ports = |number: i32, protocol: &str| json!([{"name": "dns", "containerPort": number, "protocol": protocol}]);
        let pod = pod(
            json!({
                "containers": [{"name": "a", "ports": ports(1, "TCP")}, {"name": "b", "ports": ports(2, "UDP")}],
                "initContainers": [
                    {"name": "once", "ports": ports(3, "SCTP")},
                    {"name": "side", "restartPolicy": "Always", "ports": ports(4, "SCTP")},
                ],
            }),
            json!({}),
        );
        let found = |protocol: &str| {
            target_port(&pod, &port(json!({"port": 53, "targetPort": "dns", "protocol": protocol})))
        };
        assert_eq!((found("TCP"), found("UDP"), found("SCTP")), (Some(1), Some(2), Some(4)));
        assert_eq!(target_port(&pod, &port(json!({"port": 53, "targetPort": "web"}))), None);
        assert_eq!(target_port(&pod, &port(json!({"port": 53, "targetPort": 5353}))), Some(5353));
        assert_eq!(target_port(&pod, &port(json!({"port": 53}))), Some(53));
    }

    #[test]
    fn a_pod_that_ended_or_has_no_address_is_not_reachable() {
        let with = |status| is_reachable(&pod(json!({"containers": []}), status));
        assert!(with(json!({"phase": "Running", "podIP": "10.0.0.1"})));
        assert!(with(json!({"phase": "Running", "podIPs": [{"ip": "fd00::1"}]})));
        assert!(!with(json!({"phase": "Running"})));
        assert!(!with(json!({"phase": "Succeeded", "podIP": "10.0.0.1"})));
        assert!(!with(json!({"phase": "Failed", "podIP": "10.0.0.1"})));
    }

    #[test]
    fn only_a_pod_of_the_services_own_subdomain_has_a_host_name() {
        let service: Service = serde_json::from_value(json!({"metadata": {"name": "db"}})).unwrap();
        let with = |spec| hostname(&pod(spec, json!({})), &service);
        assert_eq!(
            with(json!({"containers": [], "hostname": "db-0", "subdomain": "db"})),
            Some("db-0".to_owned())
        );
        assert_eq!(with(json!({"containers": [], "hostname": "db-0", "subdomain": "web"})), None);
        assert_eq!(with(json!({"containers": [], "hostname": "db-0"})), None);
        assert_eq!(with(json!({"containers": [], "subdomain": "db"})), None);
    }
}
