//! Workloads.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::age;
use super::format::{NONE, count, joined, labels, name, or, selector};
use super::{AGE, NAME, Printer, int, text, wide};
use crate::schema::Json;

/// Containers, images and selector: the wide columns of every workload.
fn template(workload: &Value) -> [Value; 3] {
    let containers = workload.list("/spec/template/spec/containers");
    let selected = workload.pointer("/spec/selector");
    // The selector of a replication controller is a plain map of labels.
    let plain = selected.is_some_and(|one| !one.has("/matchLabels") && !one.has("/matchExpressions"));
    let selected = if plain { labels(workload.object("/spec/selector")) } else { selector(selected) };
    [joined(containers, "/name"), joined(containers, "/image"), json!(selected)]
}

fn ready_of(workload: &Value) -> Value {
    let ready = workload.int("/status/readyReplicas").unwrap_or_default();
    json!(format!("{ready}/{}", workload.int("/spec/replicas").unwrap_or_default()))
}

pub(crate) const DEPLOYMENT: Printer = Printer::new(
    &[
        NAME,
        text("Ready"),
        text("Up-to-date"),
        text("Available"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    |one: &Value, now: Timestamp| {
        let mut cells = vec![
            name(one),
            ready_of(one),
            count(one, "/status/updatedReplicas"),
            count(one, "/status/availableReplicas"),
            age(one, now),
        ];
        cells.extend(template(one));
        cells
    },
);

pub(crate) const REPLICA_SET: Printer = Printer::new(
    &[
        NAME,
        int("Desired"),
        int("Current"),
        int("Ready"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    |one, now| {
        let mut cells = vec![
            name(one),
            count(one, "/spec/replicas"),
            count(one, "/status/replicas"),
            count(one, "/status/readyReplicas"),
            age(one, now),
        ];
        cells.extend(template(one));
        cells
    },
);

pub(crate) const DAEMON_SET: Printer = Printer::new(
    &[
        NAME,
        int("Desired"),
        int("Current"),
        int("Ready"),
        int("Up-to-date"),
        int("Available"),
        text("Node Selector"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    |one, now| {
        let mut cells = vec![
            name(one),
            count(one, "/status/desiredNumberScheduled"),
            count(one, "/status/currentNumberScheduled"),
            count(one, "/status/numberReady"),
            count(one, "/status/updatedNumberScheduled"),
            count(one, "/status/numberAvailable"),
            json!(labels(one.object("/spec/template/spec/nodeSelector"))),
            age(one, now),
        ];
        cells.extend(template(one));
        cells
    },
);

pub(crate) const STATEFUL_SET: Printer =
    Printer::new(&[NAME, text("Ready"), AGE, wide("Containers"), wide("Images")], |one, now| {
        let [containers, images, _] = template(one);
        vec![name(one), ready_of(one), age(one, now), containers, images]
    });

pub(crate) const CONTROLLER_REVISION: Printer =
    Printer::new(&[NAME, text("Controller"), text("Revision"), AGE], |one, now| {
        let owner = one.list("/metadata/ownerReferences").iter().find(|owner| owner.flag("/controller"));
        let owner = owner.map(|owner| {
            let group = owner.text("/apiVersion").split_once('/').map_or("", |(group, _)| group);
            let dot = if group.is_empty() { "" } else { "." };
            format!("{}{dot}{group}/{}", owner.text("/kind").to_lowercase(), owner.text("/name"))
        });
        let owner = owner.unwrap_or_default();
        vec![name(one), json!(or(&owner, NONE)), count(one, "/revision"), age(one, now)]
    });
