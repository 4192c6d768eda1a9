//! The endpoints that a service's slices have to hold. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};

use super::packing::{Group, Plan};
use super::{cluster_ip, pod};
use crate::cache::is_going;
use crate::pods::is_ready;

/// How many endpoints a slice may have (Kubernetes: `--max-endpoints-per-slice`).
pub(super) const MOST: usize = 100;

const ZONE: &str = "topology.kubernetes.io/zone";

/// A pod that the selector fits, and its node as far as it is known.
pub(super) type Member = (Arc<Pod>, Option<Arc<Node>>);

/// Whether the pod is left out only because its node is not known yet.
pub(super) fn waits_for_node(service: &Service, (pod, node): &Member) -> bool {
    let publish = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    pod::is_reachable(pod) && node.is_none() && !publish
}

/// Makes `existing`, which belong to `service`, into what its pods are; see [`Plan::new`].
pub(super) fn plan(
    service: &Service,
    members: &[Member],
    existing: &[Arc<EndpointSlice>],
    is_dressed: impl Fn(&EndpointSlice) -> bool,
) -> Plan {
    let mut plan = Plan::default();
    let families = families(service);
    for family in &families {
        let there: Vec<_> = existing.iter().filter(|slice| slice.address_type == *family).cloned().collect();
        let mut part = Plan::new(&there, groups(service, members, family), MOST, &is_dressed);
        // A service has a slice always, if only an empty one.
        if there.len() == part.delete.len() && part.create.is_empty() {
            let empty = |slice: &EndpointSlice| {
                slice.endpoints.as_ref().is_none_or(Vec::is_empty)
                    && slice.ports.as_ref().is_none_or(Vec::is_empty)
            };
            if matches!(&*part.delete, [one] if empty(one) && is_dressed(one)) {
                part.delete.clear();
            } else {
                part.create.push(Group { address_type: family.clone(), ..Group::default() });
            }
        }
        part.recycle();
        plan.create.extend(part.create);
        plan.update.extend(part.update);
        plan.delete.extend(part.delete);
    }
    plan.delete.extend(existing.iter().filter(|slice| !families.contains(&slice.address_type)).cloned());
    plan
}

fn families(service: &Service) -> Vec<String> {
    let named = service.spec.as_ref().and_then(|spec| spec.ip_families.clone()).unwrap_or_default();
    if !named.is_empty() {
        return named;
    }
    match cluster_ip(service).parse::<IpAddr>() {
        Ok(address) if address.is_ipv6() => vec!["IPv6".to_owned()],
        Ok(_) => vec!["IPv4".to_owned()],
        Err(_) => vec!["IPv4".to_owned(), "IPv6".to_owned()],
    }
}

fn groups(service: &Service, members: &[Member], family: &str) -> Vec<Group> {
    let mut groups = BTreeMap::<Vec<(String, i32, String)>, Group>::new();
    for member in members.iter().filter(|member| !waits_for_node(service, member)) {
        let Some(endpoint) = endpoint(service, member, family) else { continue };
        let ports = ports(service, &member.0);
        let key = ports.iter().map(|port| {
            let name = port.name.clone().unwrap_or_default();
            (name, port.port.unwrap_or_default(), port.protocol.clone().unwrap_or_default())
        });
        let group = groups.entry(key.collect()).or_insert_with(|| Group {
            address_type: family.to_owned(),
            ports,
            endpoints: Vec::new(),
        });
        group.endpoints.push(endpoint);
    }
    groups.into_values().collect()
}

fn endpoint(service: &Service, (pod, node): &Member, family: &str) -> Option<Endpoint> {
    if !pod::is_reachable(pod) {
        return None;
    }
    let addresses: Vec<String> = pod::addresses(pod)
        .filter(|address| address.is_ipv6() == (family == "IPv6"))
        .map(|address| address.to_string())
        .collect();
    if addresses.is_empty() {
        return None;
    }
    let publish = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    let (serving, terminating) = (is_ready(pod), is_going(&**pod));
    let zone = node.as_ref().and_then(|node| node.metadata.labels.as_ref()?.get(ZONE).cloned());
    Some(Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(publish || serving && !terminating),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: pod::hostname(pod, service),
        node_name: pod::node_name(pod).map(str::to_owned),
        target_ref: Some(pod::reference(pod)),
        zone: zone.filter(|zone| !zone.is_empty()),
        ..Endpoint::default()
    })
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let port = |port| {
        let number = pod::target_port(pod, port)?;
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(number),
            protocol: Some(pod::protocol(port.protocol.as_deref()).to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
    };
    ports.iter().filter_map(port).collect()
}

#[cfg(test)]
mod tests;
