//! The smaller kinds of the core group, and the columns of kinds that have no printer of their own.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::age::age;
use super::format::{NONE, labels, name, or};
use super::{AGE, Column, NAME, Printer, text, wide};
use crate::schema::Json;

pub(crate) const NAME_AND_AGE: Printer =
    Printer::new(&[NAME, AGE], |object, now| vec![name(object), age(object, now)]);

/// Kubernetes' default columns.
pub(crate) const NAME_AND_CREATED_AT: Printer = Printer::new(
    &[NAME, Column { name: "Created At", kind: "date", format: "", priority: 0 }],
    |object, _| vec![name(object), json!(object.text("/metadata/creationTimestamp"))],
);

pub(crate) const NAMESPACE: Printer = Printer::new(&[NAME, text("Status"), AGE], |one, now| {
    vec![name(one), json!(one.text("/status/phase")), age(one, now)]
});

fn entries(object: &Value, field: &str) -> usize {
    object.object(field).map_or(0, Map::len)
}

pub(crate) const CONFIG_MAP: Printer = Printer::new(&[NAME, text("Data"), AGE], |one, now| {
    vec![name(one), json!(entries(one, "/data") + entries(one, "/binaryData")), age(one, now)]
});

pub(crate) const SECRET: Printer = Printer::new(&[NAME, text("Type"), text("Data"), AGE], |one, now| {
    vec![name(one), json!(one.text("/type")), json!(entries(one, "/data")), age(one, now)]
});

pub(crate) const SERVICE: Printer = Printer::new(
    &[NAME, text("Type"), text("Cluster-IP"), text("External-IP"), text("Port(s)"), AGE, wide("Selector")],
    service,
);

fn service(service: &Value, now: Timestamp) -> Vec<Value> {
    let cluster = or(service.text("/spec/clusterIPs/0"), service.text("/spec/clusterIP"));
    let ports: Vec<String> = service
        .list("/spec/ports")
        .iter()
        .map(|port| {
            let number = port.int("/port").unwrap_or_default();
            match port.int("/nodePort").unwrap_or_default() {
                0 => format!("{number}/{}", port.text("/protocol")),
                node => format!("{number}:{node}/{}", port.text("/protocol")),
            }
        })
        .collect();
    vec![
        name(service),
        json!(service.text("/spec/type")),
        json!(or(cluster, NONE)),
        json!(external_address(service)),
        json!(or(&ports.join(","), NONE)),
        age(service, now),
        json!(labels(service.object("/spec/selector"))),
    ]
}

fn external_address(service: &Value) -> String {
    let listed: Vec<&str> = service.list("/spec/externalIPs").iter().filter_map(Value::as_str).collect();
    match service.text("/spec/type") {
        "ExternalName" => service.text("/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let given = service.list("/status/loadBalancer/ingress").iter();
            let given = given.map(|one| or(one.text("/ip"), one.text("/hostname")));
            let all: Vec<&str> = given.chain(listed).collect();
            or(&all.join(","), "<pending>").to_owned()
        }
        _ => or(&listed.join(","), NONE).to_owned(),
    }
}

pub(crate) const ENDPOINTS: Printer = Printer::new(&[NAME, text("Endpoints"), AGE], |one, now| {
    let mut all = Vec::new();
    for subset in one.list("/subsets") {
        for port in subset.list("/ports") {
            for address in subset.list("/addresses") {
                all.push(format!("{}:{}", address.text("/ip"), port.int("/port").unwrap_or_default()));
            }
        }
    }
    let more = all.len().saturating_sub(3);
    all.truncate(3);
    let mut cell = or(&all.join(","), NONE).to_owned();
    if more > 0 {
        cell = format!("{cell} + {more} more...");
    }
    vec![name(one), json!(cell), age(one, now)]
});

pub(crate) const RESOURCE_QUOTA: Printer =
    Printer::new(&[NAME, text("Request"), text("Limit"), AGE], |quota, now| {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        let mut names: Vec<&String> = quota.object("/status/hard").into_iter().flat_map(Map::keys).collect();
        names.sort();
        for resource in names {
            let of = |list: &str| {
                let found = quota.object(list).and_then(|all| all.get(resource)).and_then(Value::as_str);
                found.unwrap_or("0").to_owned()
            };
            let entry = format!("{resource}: {}/{}", of("/status/used"), of("/status/hard"));
            if resource.starts_with("limits.") { limits.push(entry) } else { requests.push(entry) }
        }
        vec![name(quota), json!(requests.join(", ")), json!(limits.join(", ")), age(quota, now)]
    });
