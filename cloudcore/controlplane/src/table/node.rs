//! Nodes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::age;
use super::format::{NONE, name, or};
use super::{AGE, NAME, Printer, text, wide};
use crate::schema::Json;

const UNKNOWN: &str = "<unknown>";

pub(crate) const NODE: Printer = Printer::new(
    &[
        NAME,
        text("Status"),
        text("Roles"),
        AGE,
        text("Version"),
        wide("Internal-IP"),
        wide("External-IP"),
        wide("OS-Image"),
        wide("Kernel-Version"),
        wide("Container-Runtime"),
    ],
    cells,
);

fn cells(node: &Value, now: Timestamp) -> Vec<Value> {
    let info = |field: &str| or(node.text(&format!("/status/nodeInfo/{field}")), UNKNOWN);
    let mut kernel = info("kernelVersion").to_owned();
    let architecture = node.text("/status/nodeInfo/architecture");
    if !architecture.is_empty() && kernel != UNKNOWN {
        kernel = format!("{kernel} ({architecture})");
    }
    vec![
        name(node),
        json!(status(node)),
        json!(roles(node)),
        age(node, now),
        json!(node.text("/status/nodeInfo/kubeletVersion")),
        json!(address(node, "InternalIP")),
        json!(address(node, "ExternalIP")),
        json!(info("osImage")),
        json!(kernel),
        json!(info("containerRuntimeVersion")),
    ]
}

fn status(node: &Value) -> String {
    let ready = node.list("/status/conditions").iter().find(|one| one.text("/type") == "Ready");
    let word = match ready.map(|one| one.text("/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if node.flag("/spec/unschedulable") { format!("{word},SchedulingDisabled") } else { word.to_owned() }
}

fn roles(node: &Value) -> String {
    let roles: BTreeSet<&str> = node
        .object("/metadata/labels")
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    or(&roles.into_iter().collect::<Vec<_>>().join(","), NONE).to_owned()
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let found = node.list("/status/addresses").iter().find(|one| one.text("/type") == kind);
    or(found.map(|one| one.text("/address")).unwrap_or_default(), NONE)
}
