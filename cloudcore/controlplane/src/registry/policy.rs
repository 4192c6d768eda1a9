//! The small groups around scheduling: `policy`, `scheduling.k8s.io`, `node.k8s.io`.

use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde_json::{Value, json};

use super::descriptor::{Descriptor, STATUS};
use super::{checks, names};
use crate::schema::{Errors, Json, Path};
use crate::table;

/// The kinds of `policy/v1`.
pub(super) const POLICY: &[Descriptor] = &[Descriptor {
    short_names: &["pdb"],
    subresources: &[STATUS],
    generations: true,
    unconditional_update: false,
    prepare_create: |budget| {
        budget.put(
            "status",
            json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}),
        );
    },
    validate: validate_budget,
    printer: table::DISRUPTION_BUDGET,
    ..Descriptor::of::<PodDisruptionBudget>()
}];

/// The kinds of `scheduling.k8s.io/v1`.
pub(super) const SCHEDULING: &[Descriptor] = &[Descriptor {
    short_names: &["pc"],
    default: |class| class.default_to("preemptionPolicy", "PreemptLowerPriority"),
    validate: validate_priority,
    validate_update: validate_priority_update,
    printer: table::PRIORITY_CLASS,
    ..Descriptor::of::<PriorityClass>()
}];

/// The kinds of `node.k8s.io/v1`.
pub(super) const NODE: &[Descriptor] = &[Descriptor {
    create_on_update: true,
    unconditional_update: false,
    validate: |class, errors| {
        for wrong in names::dns_label(class.text("/handler")) {
            errors.invalid(&Path::Root.field("handler"), class.text("/handler"), &wrong);
        }
    },
    validate_update: |old, new, errors| checks::immutable(old, new, &["handler"], errors),
    printer: table::RUNTIME_CLASS,
    ..Descriptor::of::<RuntimeClass>()
}];

fn validate_budget(budget: &Value, errors: &mut Errors) {
    if budget.has("/spec/minAvailable") && budget.has("/spec/maxUnavailable") {
        let spec = budget.get("spec").cloned().unwrap_or_default();
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.invalid(&Path::Root.field("spec"), spec, detail);
    }
    let root = Path::Root;
    let spec = root.field("spec");
    for field in ["minAvailable", "maxUnavailable"] {
        if let Some(value) = budget.pointer("/spec").and_then(|all| all.get(field)) {
            checks::share(value, &spec.field(field), errors);
            checks::at_most_all(value, &spec.field(field), errors);
        }
    }
    if let Some(selector) = budget.pointer("/spec/selector") {
        checks::selector(selector, &spec.field("selector"), errors);
    }
}

/// Above it are only the classes of the system.
const MOST: i64 = 1_000_000_000;
const SYSTEM: &[(&str, i64)] =
    &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

fn validate_priority(class: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let (name, value) = (class.text("/metadata/name"), class.int("/value").unwrap_or(0));
    if name.starts_with("system-") {
        if !SYSTEM.contains(&(name, value)) || class.flag("/globalDefault") {
            let detail = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {name} is not a known system priority class"
            );
            errors.forbidden(&root.field("metadata").field("name"), &detail);
        }
    } else if value > MOST {
        errors.forbidden(
            &root.field("value"),
            &format!("maximum allowed value of a user defined priority is {MOST}"),
        );
    }
    let policy = class.text("/preemptionPolicy");
    if !matches!(policy, "PreemptLowerPriority" | "Never") {
        errors.not_supported(&root.field("preemptionPolicy"), policy, &["Never", "PreemptLowerPriority"]);
    }
}

fn validate_priority_update(old: &Value, new: &Value, errors: &mut Errors) {
    let root = Path::Root;
    if old.get("value") != new.get("value") {
        errors.forbidden(&root.field("value"), "may not be changed in an update.");
    }
    if old.text("/preemptionPolicy") != new.text("/preemptionPolicy") {
        errors.invalid(&root.field("preemptionPolicy"), new.text("/preemptionPolicy"), "field is immutable");
    }
}
