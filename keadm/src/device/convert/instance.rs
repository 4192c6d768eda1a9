//! A Device: where it is, how it is reached, and its properties.

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement};
use proto::devices::{Desired, Device, DeviceProperty, DeviceSpec, ModelRef, StateReportSpec, TwinText};
use proto::pki::NodeName;

use super::choices::{Choices, Unit};
use super::fields::Fields;
use super::told::Told;
use super::{Name, name_of, protocol};

/// Mappers for v1alpha2 report a device's state unasked; milliseconds between two reports.
const STATE_CYCLE: i64 = 10_000;

/// The spec of a device, with what users wrote into its status.
pub(super) fn convert(mut top: Fields, name: &Name, choices: &Choices, told: &mut Told) -> Device {
    let mut spec = top.object("spec", told).unwrap_or_else(|| Fields::none("spec"));
    let protocol = protocol::of_device(&mut spec, told);
    let protocol_name = protocol.as_ref().and_then(|protocol| protocol.protocol_name.as_deref());
    let spec_of_today = DeviceSpec {
        device_model_ref: model(&mut spec, told),
        node_name: node(&mut spec, name, choices, told),
        properties: visited(&mut spec, protocol_name, choices, told),
        state_report: protocol_name
            .map(|_| StateReportSpec { report_to_cloud: true, report_cycle: Some(STATE_CYCLE) }),
        protocol,
        ..DeviceSpec::default()
    };
    data(&mut spec, told);
    spec.end(told);
    let mut device = Device { spec: spec_of_today, ..Device::default() };
    if let Some(mut status) = top.object("status", told) {
        twins(&mut status, &mut device.spec.properties, told);
        // What devices say of themselves comes anew, and what cloudcore says of them.
        for key in ["state", "lastOnline", "health", "conditions", "lastReportTime"] {
            status.take(key);
        }
        status.end(told);
    }
    let silent: Vec<&str> = device
        .spec
        .properties
        .iter()
        .filter(|property| property.report_to_cloud.is_none())
        .map(|property| property.name.as_str())
        .collect();
    if !silent.is_empty() {
        told.note(format!(
            "not in status.twins, so not reported to the cloud: {}; reportToCloud: true changes that",
            silent.join(", ")
        ));
    }
    top.end(told);
    device
}

fn model(spec: &mut Fields, told: &mut Told) -> Option<ModelRef> {
    let mut reference = spec.object("deviceModelRef", told)?;
    let name = name_of(&mut reference, "name", told);
    reference.end(told);
    Some(ModelRef { name })
}

/// What was said of the node, or can be read from the selector.
fn node(spec: &mut Fields, name: &Name, choices: &Choices, told: &mut Told) -> Option<String> {
    let found = spec.take("nodeSelector");
    if let Some(node) = choices.node_of(name) {
        return Some(node.to_string());
    }
    let field = spec.at("nodeSelector");
    let next = |node: &str| format!("say which node has it: --node={name}={node}");
    let selector = found.map(serde_json::from_value::<NodeSelector>).transpose();
    let selector = match selector {
        Ok(selector) => selector.filter(|selector| !selector.node_selector_terms.is_empty()),
        Err(error) => {
            told.wrong(&field, "is no selector of nodes", &error.to_string(), next("NODE"));
            return None;
        }
    };
    let Some(selector) = selector else {
        let node = choices.node_of_others();
        if node.is_none() {
            told.note(format!("it is on no node, as before; --node={name}=NODE changes that"));
        }
        return node.map(ToString::to_string);
    };
    if let Some(node) = only(&selector) {
        if let Err(error) = node.parse::<NodeName>() {
            told.wrong(&field, "names no node", &error.to_string(), next("NODE"));
        }
        return Some(node.to_owned());
    }
    if let Some(node) = choices.node_of_others() {
        return Some(node.to_string());
    }
    let first = first(&selector);
    let cause = match first {
        Some(first) => format!("v1beta1 has one nodeName; KubeEdge took the first value, {first:?}"),
        None => "v1beta1 has one nodeName; KubeEdge sent such a device nowhere".to_owned(),
    };
    told.wrong(&field, "does not name one node", &cause, next(first.unwrap_or("NODE")));
    None
}

/// The node, if the selector names just one. KubeEdge's samples leave the label's key empty.
fn only(selector: &NodeSelector) -> Option<&str> {
    let [term] = selector.node_selector_terms.as_slice() else { return None };
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let (one, keys): (&NodeSelectorRequirement, &[&str]) = match (expressions, fields) {
        ([one], []) => (one, &["", "kubernetes.io/hostname"]),
        ([], [one]) => (one, &["metadata.name"]),
        _ => return None,
    };
    match one.values.as_deref() {
        Some([node]) if one.operator == "In" && keys.contains(&one.key.as_str()) => Some(node),
        _ => None,
    }
}

/// What KubeEdge takes, whatever else stands there.
fn first(selector: &NodeSelector) -> Option<&str> {
    let requirement = selector.node_selector_terms.first()?.match_expressions.as_ref()?.first()?;
    requirement.values.as_ref()?.first().map(String::as_str)
}

/// Properties with a way to read them.
fn visited(
    spec: &mut Fields,
    protocol: Option<&str>,
    choices: &Choices,
    told: &mut Told,
) -> Vec<DeviceProperty> {
    let mut properties = Vec::new();
    for mut visitor in spec.objects("propertyVisitors", told) {
        properties.push(DeviceProperty {
            name: name_of(&mut visitor, "propertyName", told),
            visitors: protocol::of_property(&mut visitor, protocol, told),
            report_cycle: cycle(&mut visitor, "reportCycle", choices.cycles, told),
            collect_cycle: cycle(&mut visitor, "collectCycle", choices.cycles, told),
            ..DeviceProperty::default()
        });
        visitor.end(told);
    }
    properties
}

const NANOS: i64 = 1_000_000;
/// Below this, nanoseconds would be less than a millisecond.
const SURELY_MILLIS: i64 = NANOS;
/// From this on, milliseconds would be more than a day, and nanoseconds are a tenth of a second.
const SURELY_NANOS: i64 = 100 * NANOS;

/// v1alpha2 leaves the unit to the mapper: Go's durations are nanoseconds, others took milliseconds.
fn cycle(fields: &mut Fields, key: &str, unit: Option<Unit>, told: &mut Told) -> Option<i64> {
    let cycle = fields.integer(key, told).filter(|cycle| *cycle != 0)?;
    let at = fields.at(key);
    if cycle < 0 {
        told.wrong(&at, "is negative", &format!("it is {cycle}"), "write how long a cycle is, or remove it");
        return None;
    }
    let (word, other, millis) = match unit {
        Some(Unit::Ms) => return Some(cycle),
        Some(Unit::Ns) => return Some((cycle / NANOS).max(1)),
        None if cycle < SURELY_MILLIS => ("milliseconds", "ns", cycle),
        None if cycle >= SURELY_NANOS => ("nanoseconds", "ms", cycle / NANOS),
        None => {
            let (millis, minutes) = (cycle / NANOS, cycle / 60_000);
            let cause = format!("{cycle} may be nanoseconds ({millis} ms) or milliseconds ({minutes} min)");
            told.wrong(&at, "is of an unknown unit", &cause, "say which: --cycles=ns or --cycles=ms");
            return None;
        }
    };
    told.note(format!("{at} {cycle} is taken for {word}: {millis} ms; --cycles={other} if it is not"));
    Some(millis)
}

/// What was to be published beside the twins.
fn data(spec: &mut Fields, told: &mut Told) {
    let Some(mut data) = spec.object("data", told) else { return };
    let names: Vec<String> = data
        .objects("dataProperties", told)
        .into_iter()
        .map(|mut property| {
            // Words about the property go where it goes.
            property.take("metadata");
            let name = name_of(&mut property, "propertyName", told);
            property.end(told);
            name
        })
        .collect();
    let topic = data.text("dataTopic", told).filter(|topic| !topic.is_empty());
    if !names.is_empty() {
        told.lost(
            &data.at("dataProperties"),
            "v1beta1 has none; mappers push each property by itself",
            format!(
                "give {} of the written Device a pushMethod: {{mqtt: {{address: tcp://127.0.0.1:1883, topic: {}}}}}, and a reportCycle; what \
                 is published is not JSON but `time is TIME  TOPIC: VALUE`",
                names.join(", "),
                topic.as_deref().unwrap_or("TOPIC")
            ),
        );
    } else if topic.is_some() {
        told.note(format!(
            "{} is left out: without dataProperties nothing was published there",
            data.at("dataTopic")
        ));
    }
    data.end(told);
}

/// Users write what they want into the twins, and devices what they are; what is a twin, is reported.
fn twins(status: &mut Fields, properties: &mut Vec<DeviceProperty>, told: &mut Told) {
    for mut twin in status.objects("twins", told) {
        let name = name_of(&mut twin, "propertyName", told);
        let desired = desired(&mut twin, told);
        // It comes anew.
        twin.take("reported");
        let path = twin.path().to_owned();
        twin.end(told);
        let known = properties.iter_mut().find(|property| property.name == name);
        let property = match known {
            Some(property) if property.report_to_cloud.is_some() => {
                let cause = format!("there is another twin of {name:?}");
                told.wrong(&path, "is not the only one", &cause, "leave one of them");
                continue;
            }
            Some(property) => property,
            None => {
                properties.push(DeviceProperty { name, ..DeviceProperty::default() });
                let Some(property) = properties.last_mut() else { continue };
                property
            }
        };
        property.report_to_cloud = Some(true);
        property.desired = desired;
    }
}

/// A wanted value. An empty one is none: mappers would write it.
fn desired(twin: &mut Fields, told: &mut Told) -> Option<Desired> {
    let mut desired = twin.object("desired", told)?;
    let value = desired.text("value", told);
    let mut found = TwinText { value: value?, ..TwinText::default() };
    if let Some(metadata) = desired.object("metadata", told) {
        let path = metadata.path().to_owned();
        for (key, value) in metadata.rest() {
            match value {
                serde_json::Value::String(text) => drop(found.metadata.insert(key, text)),
                serde_json::Value::Null => {}
                other => {
                    let cause = format!("it is {other}");
                    told.wrong(&format!("{path}.{key}"), "is no text", &cause, "put it between quotes");
                }
            }
        }
    }
    desired.end(told);
    Some(found).filter(|found| !found.value.is_empty())
}
