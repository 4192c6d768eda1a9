//! Kinds that are told, not stored.

use serde_json::{Value, json};

use super::age::age;
use super::format::name;
use super::{AGE, NAME, Printer, text};
use crate::schema::Json;

pub(crate) const COMPONENT_STATUS: Printer =
    Printer::new(&[NAME, text("Status"), text("Message"), text("Error")], |component, _| {
        let healthy = condition(component, "/conditions", "Healthy");
        let status = match healthy.text("/status") {
            "True" => "Healthy",
            "False" => "Unhealthy",
            _ => "Unknown",
        };
        vec![name(component), json!(status), json!(healthy.text("/message")), json!(healthy.text("/error"))]
    });

pub(crate) const API_SERVICE: Printer =
    Printer::new(&[NAME, text("Service"), text("Available"), AGE], |service, now| {
        let available = condition(service, "/status/conditions", "Available");
        vec![name(service), json!("Local"), json!(available.text("/status")), age(service, now)]
    });

fn condition<'o>(object: &'o Value, list: &str, kind: &str) -> &'o Value {
    object.list(list).iter().find(|one| one.text("/type") == kind).unwrap_or(&Value::Null)
}
