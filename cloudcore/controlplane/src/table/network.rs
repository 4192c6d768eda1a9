//! Ingresses, network policies, endpoint slices.

use serde_json::{Value, json};

use super::age::age;
use super::format::{NONE, name, or, or_none, selector};
use super::{AGE, NAME, Printer, text};
use crate::schema::Json;

pub(crate) const INGRESS_CLASS: Printer =
    Printer::new(&[NAME, text("Controller"), text("Parameters"), AGE], |class, now| {
        let (kind, group) = (class.text("/spec/parameters/kind"), class.text("/spec/parameters/apiGroup"));
        let parameters = match (kind, group) {
            ("", _) => NONE.to_owned(),
            (kind, "") => format!("{kind}/{}", class.text("/spec/parameters/name")),
            (kind, group) => format!("{kind}.{group}/{}", class.text("/spec/parameters/name")),
        };
        vec![name(class), json!(class.text("/spec/controller")), json!(parameters), age(class, now)]
    });

pub(crate) const INGRESS: Printer = Printer::new(
    &[NAME, text("Class"), text("Hosts"), text("Address"), text("Ports"), AGE],
    |ingress, now| {
        let hosts = ingress.list("/spec/rules").iter().map(|rule| rule.text("/host"));
        let hosts = short(hosts.filter(|host| !host.is_empty()), "*");
        let addresses = ingress.list("/status/loadBalancer/ingress").iter();
        let addresses: Vec<&str> = addresses.map(|one| or(one.text("/ip"), one.text("/hostname"))).collect();
        let ports = if ingress.list("/spec/tls").is_empty() { "80" } else { "80, 443" };
        vec![
            name(ingress),
            or_none(ingress, "/spec/ingressClassName"),
            json!(hosts),
            json!(addresses.join(",")),
            json!(ports),
            age(ingress, now),
        ]
    },
);

/// At most three, then how many more.
fn short<'a>(all: impl Iterator<Item = &'a str>, none: &str) -> String {
    let all: Vec<&str> = all.collect();
    match all.len() {
        0 => none.to_owned(),
        1..=3 => all.join(","),
        more => format!("{} + {} more...", all[..3].join(","), more - 3),
    }
}

pub(crate) const NETWORK_POLICY: Printer = Printer::new(&[NAME, text("Pod-Selector"), AGE], |policy, now| {
    vec![name(policy), json!(selector(policy.pointer("/spec/podSelector"))), age(policy, now)]
});

pub(crate) const ENDPOINT_SLICE: Printer =
    Printer::new(&[NAME, text("AddressType"), text("Ports"), text("Endpoints"), AGE], |slice, now| {
        let ports: Vec<String> = slice
            .list("/ports")
            .iter()
            .map(|port| port.int("/port").map_or_else(|| "*".to_owned(), |number| number.to_string()))
            .collect();
        let ports = if ports.is_empty() {
            "<unset>".to_owned()
        } else {
            short(ports.iter().map(String::as_str), NONE)
        };
        let addresses = slice.list("/endpoints").iter().flat_map(|one| one.list("/addresses"));
        let addresses = short(addresses.filter_map(Value::as_str), "<unset>");
        vec![name(slice), json!(slice.text("/addressType")), json!(ports), json!(addresses), age(slice, now)]
    });
