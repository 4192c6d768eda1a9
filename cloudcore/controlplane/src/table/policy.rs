//! Smaller groups: leases, bindings, disruption budgets, priorities, classes, requests for certificates.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::{age, human_duration};
use super::format::{NONE, count, name, or};
use super::{AGE, Column, NAME, Printer, int, text, wide};
use crate::schema::Json;
use crate::schema::quantity;

/// Of the subresource `scale`, whatever it belongs to.
pub(crate) const SCALE: Printer =
    Printer::new(&[NAME, int("Desired"), int("Available"), AGE], |scale, now| {
        vec![name(scale), count(scale, "/spec/replicas"), count(scale, "/status/replicas"), age(scale, now)]
    });

pub(crate) const LEASE: Printer = Printer::new(&[NAME, text("Holder"), AGE], |lease, now| {
    vec![name(lease), json!(lease.text("/spec/holderIdentity")), age(lease, now)]
});

pub(crate) const ROLE_BINDING: Printer = Printer::new(
    &[NAME, text("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")],
    |binding, now| {
        let role = format!("{}/{}", binding.text("/roleRef/kind"), binding.text("/roleRef/name"));
        let of = |kind: &str| {
            let subjects = binding.list("/subjects").iter().filter(|one| one.text("/kind") == kind);
            let names = subjects.map(|one| match one.text("/namespace") {
                "" => one.text("/name").to_owned(),
                namespace => format!("{namespace}/{}", one.text("/name")),
            });
            json!(names.collect::<Vec<_>>().join(", "))
        };
        vec![name(binding), json!(role), age(binding, now), of("User"), of("Group"), of("ServiceAccount")]
    },
);

fn int_or_string(object: &Value, pointer: &str) -> Value {
    json!(object.pointer(pointer).map_or_else(|| "N/A".to_owned(), quantity::text))
}

pub(crate) const DISRUPTION_BUDGET: Printer = Printer::new(
    &[NAME, text("Min Available"), text("Max Unavailable"), int("Allowed Disruptions"), AGE],
    |budget, now| {
        vec![
            name(budget),
            int_or_string(budget, "/spec/minAvailable"),
            int_or_string(budget, "/spec/maxUnavailable"),
            count(budget, "/status/disruptionsAllowed"),
            age(budget, now),
        ]
    },
);

pub(crate) const PRIORITY_CLASS: Printer = Printer::new(
    &[
        NAME,
        int("Value"),
        Column { name: "Global-Default", kind: "boolean", format: "", priority: 0 },
        AGE,
        text("PreemptionPolicy"),
    ],
    |class, now| {
        vec![
            name(class),
            count(class, "/value"),
            json!(class.flag("/globalDefault")),
            age(class, now),
            json!(class.text("/preemptionPolicy")),
        ]
    },
);

pub(crate) const RUNTIME_CLASS: Printer = Printer::new(&[NAME, text("Handler"), AGE], |class, now| {
    vec![name(class), json!(class.text("/handler")), age(class, now)]
});

pub(crate) const CERTIFICATE_REQUEST: Printer = Printer::new(
    &[NAME, AGE, text("SignerName"), text("Requestor"), text("RequestedDuration"), text("Condition")],
    |request, now| {
        let seconds = request.int("/spec/expirationSeconds");
        let has = |kind: &str| request.list("/status/conditions").iter().any(|one| one.text("/type") == kind);
        let mut said: Vec<&str> =
            ["Approved", "Denied", "Failed"].into_iter().filter(|kind| has(kind)).collect();
        if said.is_empty() {
            said.push("Pending");
        }
        if !request.text("/status/certificate").is_empty() {
            said.push("Issued");
        }
        vec![
            name(request),
            age(request, now),
            json!(or(request.text("/spec/signerName"), NONE)),
            json!(request.text("/spec/username")),
            json!(seconds.map_or_else(|| NONE.to_owned(), human_duration)),
            json!(said.join(",")),
        ]
    },
);

pub(crate) const STORAGE_CLASS: Printer = Printer::new(
    &[
        NAME,
        text("Provisioner"),
        text("ReclaimPolicy"),
        text("VolumeBindingMode"),
        Column { name: "AllowVolumeExpansion", kind: "boolean", format: "", priority: 0 },
        AGE,
    ],
    |class, now| {
        let annotations = class.object("/metadata/annotations");
        let default = annotations.and_then(|all| all.get("storageclass.kubernetes.io/is-default-class"));
        let mut shown = class.text("/metadata/name").to_owned();
        if default.is_some_and(|value| value == "true") {
            shown.push_str(" (default)");
        }
        vec![
            json!(shown),
            json!(class.text("/provisioner")),
            json!(or(class.text("/reclaimPolicy"), "Delete")),
            json!(or(class.text("/volumeBindingMode"), "Immediate")),
            json!(class.flag("/allowVolumeExpansion")),
            age(class, now),
        ]
    },
);

const AUTOSCALER_COLUMNS: &[Column] =
    &[NAME, text("Reference"), text("Targets"), text("MinPods"), text("MaxPods"), text("Replicas"), AGE];

pub(crate) const AUTOSCALER: Printer =
    Printer::new(AUTOSCALER_COLUMNS, |one, now| autoscaler(one, &targets(one), now));

/// Of version 1, which knows the processor only.
pub(crate) const AUTOSCALER_V1: Printer = Printer::new(AUTOSCALER_COLUMNS, |one, now| {
    let wanted = one.int("/spec/targetCPUUtilizationPercentage");
    let target = wanted.map_or_else(|| NONE.to_owned(), |percent| format!("cpu: <unknown>/{percent}%"));
    autoscaler(one, &target, now)
});

fn autoscaler(one: &Value, targets: &str, now: Timestamp) -> Vec<Value> {
    let target =
        format!("{}/{}", one.text("/spec/scaleTargetRef/kind"), one.text("/spec/scaleTargetRef/name"));
    vec![
        name(one),
        json!(target),
        json!(targets),
        json!(one.int("/spec/minReplicas").map_or_else(|| "<unset>".to_owned(), |min| min.to_string())),
        count(one, "/spec/maxReplicas"),
        count(one, "/status/currentReplicas"),
        age(one, now),
    ]
}

fn targets(autoscaler: &Value) -> String {
    let metrics = autoscaler.list("/spec/metrics");
    let shown: Vec<String> = metrics
        .iter()
        .filter(|metric| metric.text("/type") == "Resource")
        .map(|metric| {
            let wanted = metric.int("/resource/target/averageUtilization");
            let wanted = wanted.map_or_else(
                || metric.text("/resource/target/averageValue").to_owned(),
                |percent| format!("{percent}%"),
            );
            format!("{}: <unknown>/{wanted}", metric.text("/resource/name"))
        })
        .collect();
    or(&shown.join(", "), NONE).to_owned()
}
