//! What becomes of each object: converted, passed on, or left out.

use std::collections::HashMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proto::devices::check::{self, Finding};
use proto::devices::{Device, DeviceModel, GROUP, VERSION};
use serde_json::{Map, Value, json};

use super::choices::Choices;
use super::fields::Fields;
use super::input::Document;
use super::told::Told;
use super::{Name, instance, model};
use crate::export;

/// An object of the output.
#[derive(Debug)]
pub(super) enum Piece {
    /// Passed on, with its text if it has one of its own.
    Kept {
        text: Option<String>,
        value: Value,
    },
    Model(Box<DeviceModel>),
    Device(Box<Device>),
}

impl Piece {
    /// As JSON. A status is the cloud's to write.
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Kept { value, .. } => value.clone(),
            Self::Model(model) => json!(model),
            Self::Device(device) => {
                let mut device = json!(device);
                device.as_object_mut().map(|fields| fields.remove("status"));
                device
            }
        }
    }
}

/// Converts what is of v1alpha2 and passes on what is not.
pub(super) fn convert(documents: Vec<Document>, choices: &Choices, told: &mut Told) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for Document { origin, text, value } in documents {
        if list_kind(&value).is_some() && items(&value).iter().any(|item| is_old(item) || is_old(&value)) {
            for (index, item) in unfold(value).into_iter().enumerate() {
                let origin = format!("{origin}, item {}", index + 1);
                pieces.extend(piece(&origin, None, item, choices, told));
            }
        } else {
            pieces.extend(piece(&origin, Some(text), value, choices, told));
        }
    }
    judge(&pieces, told);
    pieces
}

/// `Some`: a list, of objects of that kind if it says which.
fn list_kind(value: &Value) -> Option<&str> {
    value.get("items")?.as_array()?;
    value.get("kind")?.as_str()?.strip_suffix("List")
}

fn items(value: &Value) -> &[Value] {
    value.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The objects of a list. Those of a DeviceList need not say what they are.
pub(super) fn unfold(list: Value) -> Vec<Value> {
    let version = list.get("apiVersion").cloned().unwrap_or_default();
    let kind = list_kind(&list).unwrap_or_default().to_owned();
    let Value::Object(mut list) = list else { return Vec::new() };
    let Some(Value::Array(mut items)) = list.remove("items") else { return Vec::new() };
    if !kind.is_empty() {
        for fields in items.iter_mut().filter_map(Value::as_object_mut) {
            fields.entry("apiVersion").or_insert_with(|| version.clone());
            fields.entry("kind").or_insert_with(|| kind.clone().into());
        }
    }
    items
}

/// The version, if it is one from before v1beta1.
fn old_version(value: &Value) -> Option<&str> {
    let (group, version) = value.get("apiVersion")?.as_str()?.split_once('/')?;
    (group == GROUP && version.starts_with("v1alpha")).then_some(version)
}

fn is_old(value: &Value) -> bool {
    old_version(value).is_some()
}

fn piece(
    origin: &str,
    text: Option<String>,
    value: Value,
    choices: &Choices,
    told: &mut Told,
) -> Option<Piece> {
    told.about(origin);
    let version = old_version(&value).map(str::to_owned);
    let map = match value {
        Value::Object(map) => map,
        _ => {
            told.wrong("it", "is no object", "a manifest is a mapping with apiVersion and kind", "remove it");
            return None;
        }
    };
    let kind = map.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(version) = version else {
        let value = Value::Object(map);
        mixed(&value, &kind, told);
        return Some(Piece::Kept { text, value });
    };
    if version != "v1alpha2" || !["Device", "DeviceModel", "DeviceStatus"].contains(&kind.as_str()) {
        told.wrong(
            "it",
            &format!("is {kind:?} of {GROUP}/{version}"),
            "only Device and DeviceModel of v1alpha2 (KubeEdge v1.4 to v1.14) can be converted",
            "write it anew, for example with keadm device new",
        );
        return None;
    }
    old(&kind, map, choices, told)
}

/// A Device or a DeviceModel of v1alpha2.
fn old(kind: &str, map: Map<String, Value>, choices: &Choices, told: &mut Told) -> Option<Piece> {
    let name = Name::of(&map);
    if name.name.is_empty() {
        let next = "name it; what is made by generateName cannot be applied";
        told.wrong("metadata.name", "is missing", "an object is known by its name", next);
    } else {
        told.about(format!("{kind} {name}"));
    }
    if is_shown_as_old(&map) {
        told.note(format!(
            "is left out: it is of {VERSION} already, and only shown as v1alpha2, without most of its fields"
        ));
        return None;
    }
    if kind == "DeviceStatus" {
        told.note("is left out: cloudcore makes it");
        return None;
    }
    let mut fields = Fields::top(map);
    for key in ["apiVersion", "kind"] {
        fields.take(key);
    }
    let metadata = metadata(&mut fields, told);
    Some(if kind == "Device" {
        Piece::Device(Box::new(Device { metadata, ..instance::convert(fields, &name, choices, told) }))
    } else {
        Piece::Model(Box::new(DeviceModel { metadata, ..model::convert(fields, told) }))
    })
}

/// An API that serves both versions shows any object as either, less what that version has no field for. Such an object has nothing to be
/// converted, and applied it would overwrite the whole one.
fn is_shown_as_old(map: &Map<String, Value>) -> bool {
    let metadata = map.get("metadata");
    if metadata.and_then(|metadata| metadata.get("uid")).is_none() {
        return false;
    }
    let applied = metadata.and_then(|metadata| {
        metadata.get("annotations")?.get("kubectl.kubernetes.io/last-applied-configuration")?.as_str()
    });
    let applied = applied.and_then(|text| serde_json::from_str::<Value>(text).ok());
    if applied.as_ref().and_then(|applied| applied.get("apiVersion"))
        == Some(&json!(format!("{GROUP}/{VERSION}")))
    {
        return true;
    }
    let spec = map.get("spec");
    let has = |key: &str| spec.and_then(|spec| spec.get(key)).is_some_and(|value| *value != json!({}));
    let has_twins = map.get("status").and_then(|status| status.get("twins")).is_some();
    match map.get("kind").and_then(Value::as_str) {
        Some("Device") => {
            !has_twins && !["protocol", "propertyVisitors", "nodeSelector", "data"].into_iter().any(has)
        }
        Some("DeviceModel") => {
            let properties = spec.and_then(|spec| spec.get("properties")?.as_array());
            properties
                .into_iter()
                .flatten()
                .any(|property| property.get("type").is_some_and(Value::is_string))
        }
        _ => false,
    }
}

/// What users write of it.
fn metadata(fields: &mut Fields, told: &mut Told) -> ObjectMeta {
    let mut object = json!({"metadata": fields.take("metadata")});
    if object.pointer("/metadata/ownerReferences").is_some() {
        told.lost(
            "metadata.ownerReferences",
            "they name an object of one cluster by its uid",
            "add them where the device is applied",
        );
    }
    export::strip_metadata(&mut object);
    match serde_json::from_value(object["metadata"].take()) {
        Ok(metadata) => metadata,
        Err(error) => {
            told.wrong("metadata", "cannot be read", &error.to_string(), "correct it");
            ObjectMeta::default()
        }
    }
}

/// An object that says v1beta1 and is written as v1alpha2 would be stored without most of it.
fn mixed(value: &Value, kind: &str, told: &mut Told) {
    let version = value.get("apiVersion").and_then(Value::as_str);
    let is_new = version.is_some_and(|version| version == format!("{GROUP}/{VERSION}"));
    if !is_new || kind != "Device" {
        return;
    }
    let spec = value.get("spec");
    let old = ["nodeSelector", "propertyVisitors"];
    for key in old.into_iter().filter(|key| spec.and_then(|spec| spec.get(key)).is_some()) {
        told.note(format!(
            "{} says {VERSION}, which has no spec.{key}: write apiVersion: {GROUP}/v1alpha2 to have it converted",
            name_in(value)
        ));
    }
}

fn name_in(value: &Value) -> String {
    value.as_object().map(Name::of).map(|name| name.to_string()).unwrap_or_default()
}

/// The checks of the API and of devicecontroller, on what was converted.
fn judge(pieces: &[Piece], told: &mut Told) {
    let mut models: HashMap<Name, DeviceModel> = HashMap::new();
    for piece in pieces {
        let value = piece.value();
        let is_model = value.get("kind").and_then(Value::as_str) == Some("DeviceModel");
        if is_model
            && !is_old(&value)
            && let Some(name) = value.as_object().map(Name::of)
            && let Ok(model) = serde_json::from_value(value)
        {
            models.insert(name, model);
        }
    }
    for piece in pieces {
        let (kind, metadata, findings) = match piece {
            Piece::Kept { .. } => continue,
            Piece::Model(model) => ("DeviceModel", &model.metadata, check::model(model)),
            Piece::Device(device) => {
                let model = device.spec.device_model_ref.as_ref().and_then(|reference| {
                    let namespace = Name::of_metadata(&device.metadata).namespace;
                    models.get(&Name { namespace, name: reference.name.clone() })
                });
                ("Device", &device.metadata, check::device(device, model))
            }
        };
        told.about(format!("{kind} {}", Name::of_metadata(metadata)));
        for Finding { field, wrong, message } in findings {
            let field = format!("{field} (of v1beta1)");
            let what = format!("makes no sense: {message}");
            let next = "correct it where it comes from in v1alpha2";
            if wrong.is_refused() {
                told.wrong(&field, &what, wrong.reason(), next);
            } else {
                told.doubtful(&field, &what, wrong.reason(), next);
            }
        }
    }
}
