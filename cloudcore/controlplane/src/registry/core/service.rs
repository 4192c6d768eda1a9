//! Services. Addresses are not allocated here: that takes knowledge of the other services.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::super::descriptor::{Descriptor, STATUS};
use super::super::{checks, names};
use crate::schema::{Errors, Json, Path};
use crate::table;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

pub(super) const SERVICE: Descriptor = Descriptor {
    short_names: &["svc"],
    categories: &["all"],
    subresources: &[STATUS],
    create_on_update: true,
    name: names::dns_1035_label,
    default,
    prepare_create,
    prepare_update,
    validate,
    validate_update,
    printer: table::SERVICE,
    ..Descriptor::of::<Service>()
};

fn default(service: &mut Value) {
    let Some(spec) = service.child("spec") else { return };
    spec.default_to("sessionAffinity", "None");
    spec.default_to("type", "ClusterIP");
    if spec.text("/sessionAffinity") == "ClientIP" {
        spec.default_to("sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
    }
    for port in spec.list_mut("/ports") {
        port.default_to("protocol", "TCP");
        if let Some(number) = port.get("port").cloned() {
            port.default_to("targetPort", number);
        }
    }
    let kind = spec.text("/type").to_owned();
    let external = kind == "ClusterIP" && !spec.list("/externalIPs").is_empty();
    if external || matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        spec.default_to("externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        spec.default_to("allocateLoadBalancerNodePorts", true);
    }
    if kind != "ExternalName" {
        spec.default_to("internalTrafficPolicy", "Cluster");
        // Who writes the endpoints himself may have them in both families.
        let free = spec.text("/clusterIP") == "None" && !spec.has("/selector");
        spec.default_to("ipFamilyPolicy", if free { "RequireDualStack" } else { "SingleStack" });
        let both = free && spec.text("/ipFamilyPolicy") != "SingleStack";
        spec.default_to("ipFamilies", if both { json!(["IPv4", "IPv6"]) } else { json!(["IPv4"]) });
        let address = spec.text("/clusterIP").to_owned();
        if !address.is_empty() {
            spec.default_to("clusterIPs", json!([address]));
        }
    }
}

fn prepare_create(service: &mut Value) {
    service.put("status", json!({"loadBalancer": {}}));
}

/// An address that was allocated stays, if the writer does not mention it.
fn prepare_update(old: &Value, new: &mut Value) {
    if new.text("/spec/type") == "ExternalName" {
        return;
    }
    let emptied = new.text("/spec/clusterIP").is_empty();
    if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut).filter(|_| emptied) {
        spec.shift_remove("clusterIP");
    }
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if let (Some(value), Some(spec)) = (old.pointer(&format!("/spec/{field}")), new.get_mut("spec")) {
            spec.default_to(field, value.clone());
        }
    }
}

fn validate(service: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let spec = root.field("spec");
    let kind = service.text("/spec/type");
    if !TYPES.contains(&kind) {
        errors.not_supported(&spec.field("type"), kind, TYPES);
    }
    let list = service.list("/spec/ports");
    if list.is_empty() && kind != "ExternalName" && service.text("/spec/clusterIP") != "None" {
        errors.required(&spec.field("ports"), "");
    }
    if kind == "ExternalName" && service.text("/spec/externalName").is_empty() {
        errors.required(&spec.field("externalName"), "");
    }
    let ports = spec.field("ports");
    let (mut seen_names, mut seen_ports, mut seen_node_ports) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (index, port) in list.iter().enumerate() {
        let here = ports.index(index);
        let name = port.text("/name");
        if name.is_empty() {
            if list.len() > 1 {
                errors.required(&here.field("name"), "");
            }
        } else {
            for wrong in names::dns_label(name) {
                errors.invalid(&here.field("name"), name, &wrong);
            }
            if !seen_names.insert(name) {
                errors.duplicate(&here.field("name"), name);
            }
        }
        let number = port.int("/port").unwrap_or_default();
        if !(1..=65535).contains(&number) {
            errors.invalid(&here.field("port"), number, PORT_RANGE);
        }
        let protocol = port.text("/protocol");
        if !PROTOCOLS.contains(&protocol) {
            errors.not_supported(&here.field("protocol"), protocol, PROTOCOLS);
        }
        let node_port = port.int("/nodePort").unwrap_or_default();
        if node_port != 0 && kind == "ClusterIP" {
            errors.forbidden(&here.field("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
        if node_port != 0 && !seen_node_ports.insert((node_port, protocol)) {
            errors.duplicate(&here.field("nodePort"), node_port);
        }
        if !seen_ports.insert((number, protocol)) {
            errors.duplicate(&here, json!({"protocol": protocol, "port": number}));
        }
        match port.get("targetPort") {
            Some(Value::String(name)) => {
                for wrong in names::port_name(name) {
                    errors.invalid(&here.field("targetPort"), name.as_str(), &wrong);
                }
            }
            Some(Value::Number(target)) if !(1..=65535).contains(&target.as_i64().unwrap_or_default()) => {
                errors.invalid(&here.field("targetPort"), target.clone(), PORT_RANGE);
            }
            _ => {}
        }
    }
    if kind == "ExternalName" {
        let (name, address) = (service.text("/spec/externalName"), service.text("/spec/clusterIP"));
        for wrong in names::dns_subdomain(name.trim_end_matches('.')).into_iter().filter(|_| !name.is_empty())
        {
            errors.invalid(&spec.field("externalName"), name, &wrong);
        }
        if !matches!(address, "" | "None") {
            errors.forbidden(&spec.field("clusterIPs"), "may not be set for ExternalName services");
        }
    } else {
        let address = service.text("/spec/clusterIP");
        if !matches!(address, "" | "None") {
            checks::address(address, &spec.field("clusterIPs").index(0), errors);
        }
        if address == "None" && matches!(kind, "LoadBalancer" | "NodePort") {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&spec.field("clusterIPs").index(0), address, &detail);
        }
    }
    let addresses = spec.field("externalIPs");
    for (index, address) in service.list("/spec/externalIPs").iter().enumerate() {
        checks::address(address.as_str().unwrap_or_default(), &addresses.index(index), errors);
    }
    for field in ["externalTrafficPolicy", "internalTrafficPolicy"] {
        let policy = service.pointer("/spec").map(|all| all[field].clone()).unwrap_or_default();
        if !policy.is_null() && policy != "Cluster" && policy != "Local" {
            errors.not_supported(&spec.field(field), policy, &["Cluster", "Local"]);
        }
    }
    super::super::meta::labels(service.pointer("/spec/selector"), &spec.field("selector"), errors);
    let affinity = service.text("/spec/sessionAffinity");
    if !matches!(affinity, "ClientIP" | "None") {
        errors.not_supported(&spec.field("sessionAffinity"), affinity, &["ClientIP", "None"]);
    }
    let config = spec.field("sessionAffinityConfig");
    if affinity == "None" && service.has("/spec/sessionAffinityConfig") {
        let detail = "must not be set when session affinity is None";
        errors.forbidden(&config, detail);
    } else if let Some(seconds) = service.int("/spec/sessionAffinityConfig/clientIP/timeoutSeconds")
        && !(1..=86400).contains(&seconds)
    {
        let detail = "must be greater than 0 and less than 86400";
        errors.invalid(&config.field("clientIP").field("timeoutSeconds"), seconds, detail);
    }
}

fn validate_update(old: &Value, new: &Value, errors: &mut Errors) {
    let external = |service: &Value| service.text("/spec/type") == "ExternalName";
    let (before, after) = (old.text("/spec/clusterIP"), new.text("/spec/clusterIP"));
    if !external(old) && !external(new) && !before.is_empty() && before != after {
        let root = Path::Root;
        let spec = root.field("spec");
        let detail = "may not change once set";
        errors.invalid(&spec.field("clusterIPs").index(0), json!([after]), detail);
    }
}
