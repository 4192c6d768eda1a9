//! The subsets of Endpoints, in the one form that can be compared. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Pod, Service};

use super::{cluster_ip, pod};
use crate::cache::is_going;
use crate::pods::is_ready;

/// More addresses than this are cut off (Kubernetes: `maxCapacity`).
const MOST: usize = 1000;

/// A port by which subsets are told apart: name, protocol, number, application's protocol.
type Port = (String, String, i32, Option<String>);
/// Addresses by what is compared: text of the address, and uid of the pod. With whether they are ready.
type Addresses = BTreeMap<(String, String), (EndpointAddress, bool)>;

pub(super) struct Subsets {
    pub(super) subsets: Vec<EndpointSubset>,
    /// Whether addresses had to be left out.
    pub(super) truncated: bool,
}

/// The subsets of a service over `pods`, which its selector fits.
pub(super) fn subsets<'p>(service: &Service, pods: impl Iterator<Item = &'p Pod>) -> Subsets {
    let spec = service.spec.clone().unwrap_or_default();
    let publish = spec.publish_not_ready_addresses.unwrap_or(false);
    let ports = spec.ports.unwrap_or_default();
    let (mut by_port, mut without) = (BTreeMap::<Port, Addresses>::new(), Addresses::new());
    for pod in pods.filter(|pod| pod::is_reachable(pod) && (publish || !is_going(*pod))) {
        let Some(address) = address(service, pod) else { continue };
        let key = (address.ip.clone(), pod.metadata.uid.clone().unwrap_or_default());
        let entry = (address, publish || is_ready(pod));
        if ports.is_empty() && cluster_ip(service) == "None" {
            without.insert(key.clone(), entry.clone());
        }
        for port in &ports {
            let Some(number) = pod::target_port(pod, port) else { continue };
            let protocol = pod::protocol(port.protocol.as_deref()).to_owned();
            let port = (port.name.clone().unwrap_or_default(), protocol, number, port.app_protocol.clone());
            by_port.entry(port).or_default().insert(key.clone(), entry.clone());
        }
    }
    // Ports that lead to the same addresses share a subset.
    let mut by_addresses = Vec::<(Addresses, Vec<Port>)>::new();
    for (port, addresses) in by_port {
        match by_addresses.iter_mut().find(|(others, _)| *others == addresses) {
            Some((_, ports)) => ports.push(port),
            None => by_addresses.push((addresses, vec![port])),
        }
    }
    if !without.is_empty() {
        by_addresses.push((without, Vec::new()));
    }
    truncate(by_addresses.into_iter().map(|(addresses, ports)| subset(addresses, ports)).collect())
}

fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref());
    let six = match families.and_then(|families| families.first()) {
        Some(family) => family == "IPv6",
        None => cluster_ip(service).parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()),
    };
    let address = pod::addresses(pod).find(|address| address.is_ipv6() == six)?;
    Some(EndpointAddress {
        ip: address.to_string(),
        hostname: pod::hostname(pod, service),
        node_name: pod::node_name(pod).map(str::to_owned),
        target_ref: Some(pod::reference(pod)),
    })
}

fn subset(addresses: Addresses, ports: Vec<Port>) -> EndpointSubset {
    let (ready, others): (Vec<_>, Vec<_>) = addresses.into_values().partition(|(_, ready)| *ready);
    let port = |(name, protocol, port, app_protocol): Port| EndpointPort {
        name: Some(name).filter(|name| !name.is_empty()),
        port,
        protocol: Some(protocol),
        app_protocol,
    };
    let addresses = |all: Vec<(EndpointAddress, bool)>| {
        some(all.into_iter().map(|(address, _)| address).collect::<Vec<_>>())
    };
    EndpointSubset {
        addresses: addresses(ready),
        not_ready_addresses: addresses(others),
        ports: some(ports.into_iter().map(port).collect()),
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Leaves out what is too much: first of those that are not ready, from each subset as much as its share.
fn truncate(mut subsets: Vec<EndpointSubset>) -> Subsets {
    let count = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
    let ready: usize = subsets.iter().map(|subset| count(&subset.addresses)).sum();
    let others: usize = subsets.iter().map(|subset| count(&subset.not_ready_addresses)).sum();
    if ready + others <= MOST {
        return Subsets { subsets, truncated: false };
    }
    let cut_ready = ready > MOST;
    let (room, total) = if cut_ready { (MOST, ready) } else { (MOST - ready, others) };
    let mut left = room;
    for subset in &mut subsets {
        if cut_ready {
            subset.not_ready_addresses = None;
        }
        let list = if cut_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let share = (count(list) * room).div_ceil(total).min(left);
        left -= share;
        *list = list.take().map(|mut list| {
            list.truncate(share);
            list
        });
        *list = list.take().filter(|list| !list.is_empty());
    }
    subsets.retain(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some());
    Subsets { subsets, truncated: true }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap()
    }

    fn pod(number: usize, ready: bool, port: i32) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": format!("p{number}"), "namespace": "default", "uid": format!("u{number}")},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]},
            "status": {
                "phase": "Running", "podIPs": [{"ip": format!("10.0.{}.{}", number / 250, number % 250)}],
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            },
        }))
        .unwrap()
    }

    fn json_of(service: &Service, pods: &[Pod]) -> Value {
        serde_json::to_value(subsets(service, pods.iter()).subsets).unwrap()
    }

    #[test]
    fn ready_and_others_are_apart_and_ports_with_the_same_pods_together() {
        let service = service(json!({"clusterIP": "10.96.0.9", "ports": [
            {"name": "b", "port": 80, "targetPort": 8080}, {"name": "a", "port": 443, "targetPort": 8443},
        ]}));
        let target = |number: usize| {
            json!({
                "ip": format!("10.0.0.{number}"), "nodeName": "n",
                "targetRef": {"kind": "Pod", "name": format!("p{number}"), "namespace": "default", "uid": format!("u{number}")},
            })
        };
        assert_eq!(
            json_of(&service, &[pod(2, true, 1), pod(1, true, 1), pod(3, false, 1)]),
            json!([{
                "addresses": [target(1), target(2)], "notReadyAddresses": [target(3)],
                "ports": [
                    {"name": "a", "port": 8443, "protocol": "TCP"}, {"name": "b", "port": 8080, "protocol": "TCP"},
                ],
            }])
        );
    }

    #[test]
    fn pods_that_give_a_named_port_another_number_have_a_subset_of_their_own() {
        let service =
            service(json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80, "targetPort": "web"}]}));
        let found = json_of(&service, &[pod(1, true, 8080), pod(2, true, 9090)]);
        let ports: Vec<_> = found.as_array().unwrap().iter().map(|subset| &subset["ports"]).collect();
        assert_eq!(
            ports,
            [&json!([{"port": 8080, "protocol": "TCP"}]), &json!([{"port": 9090, "protocol": "TCP"}])]
        );
    }

    #[test]
    fn a_headless_service_needs_no_ports_and_publishes_who_is_not_ready_if_told() {
        let mut going = pod(2, true, 1);
        going.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        let pods = [pod(1, false, 1), going];
        let found = json_of(&service(json!({"clusterIP": "None"})), &pods);
        assert_eq!(found[0]["notReadyAddresses"][0]["ip"], "10.0.0.1");
        assert!(found[0].get("addresses").is_none() && found[0].get("ports").is_none());
        let found = json_of(&service(json!({"clusterIP": "None", "publishNotReadyAddresses": true})), &pods);
        assert_eq!(found[0]["addresses"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_pod_of_the_other_family_only_is_left_out() {
        let found =
            json_of(&service(json!({"clusterIP": "None", "ipFamilies": ["IPv6"]})), &[pod(1, true, 1)]);
        assert_eq!(found, json!([]));
    }

    #[test]
    fn more_than_a_thousand_addresses_are_cut_off_and_ready_ones_last() {
        let service = service(json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}));
        let pods: Vec<Pod> = (1..=1200).map(|number| pod(number, number > 500, 1)).collect();
        let found = subsets(&service, pods.iter());
        assert!(found.truncated);
        assert_eq!(found.subsets[0].addresses.as_ref().unwrap().len(), 700);
        assert_eq!(found.subsets[0].not_ready_addresses.as_ref().unwrap().len(), 300);
        let all: Vec<Pod> = (1..=1001).map(|number| pod(number, number > 1, 1)).collect();
        let found = subsets(&service, all.iter());
        assert_eq!(found.subsets[0].addresses.as_ref().unwrap().len(), 1000);
        assert!(found.subsets[0].not_ready_addresses.is_none());
        assert!(!subsets(&service, all[1..].iter()).truncated);
    }
}
