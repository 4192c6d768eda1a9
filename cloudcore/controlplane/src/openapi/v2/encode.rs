//! From JSON to gnostic's messages. Parts of a document may be written one after the other: a message that stands twice is merged.

use prost::Message;
use serde_json::Value;

use super::wire::{
    AdditionalProperties, Any, Document, Info, Items, NamedAny, NamedPathItem, NamedResponseValue,
    NamedSchema, NamedSchemas, NonBodyParameter, Operation, Parameter, ParametersItem, PathItem,
    PathParameter, Paths, Place, QueryParameter, Response, ResponseValue, Responses, Schema, TypeItem,
};
use crate::schema::Json;

pub(super) fn head(title: &str, version: &str) -> Vec<u8> {
    let info = Info { title: title.to_owned(), version: version.to_owned() };
    Document { swagger: "2.0".to_owned(), info: Some(info), ..Document::default() }.encode_to_vec()
}

pub(super) fn path(name: &str, item: &Value, out: &mut Vec<u8>) {
    let named = NamedPathItem { name: name.to_owned(), value: Some(path_item(item)) };
    append(Document { paths: Some(Paths { path: vec![named] }), ..Document::default() }, out);
}

pub(super) fn definition(name: &str, value: &Value, out: &mut Vec<u8>) {
    let named = NamedSchema { name: name.to_owned(), value: Some(schema(value)) };
    let definitions = NamedSchemas { additional_properties: vec![named] };
    append(Document { definitions: Some(definitions), ..Document::default() }, out);
}

fn append(part: Document, out: &mut Vec<u8>) {
    out.extend_from_slice(&part.encode_to_vec());
}

fn path_item(item: &Value) -> PathItem {
    let at = |method: &str| item.get(method).map(operation);
    PathItem {
        get: at("get"),
        put: at("put"),
        post: at("post"),
        delete: at("delete"),
        patch: at("patch"),
        parameters: item.list("/parameters").iter().map(parameter).collect(),
    }
}

fn operation(value: &Value) -> Operation {
    let codes = value.object("/responses").into_iter().flatten().map(|(code, response)| NamedResponseValue {
        name: code.clone(),
        value: Some(ResponseValue {
            response: Some(Response { description: response.text("/description").to_owned() }),
        }),
    });
    Operation {
        parameters: value.list("/parameters").iter().map(parameter).collect(),
        responses: Some(Responses { response_code: codes.collect() }),
        vendor_extension: extensions(value),
    }
}

fn parameter(value: &Value) -> ParametersItem {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (location, name, kind) = (text("in"), text("name"), text("type"));
    let unique_items = value.flag("/uniqueItems");
    let place = if location == "path" {
        Place::Path(PathParameter { required: true, location, name, kind, unique_items })
    } else {
        Place::Query(QueryParameter { location, name, kind, unique_items })
    };
    let parameter = Parameter { non_body_parameter: Some(NonBodyParameter { place: Some(place) }) };
    ParametersItem { parameter: Some(parameter) }
}

fn schema(value: &Value) -> Schema {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |key: &str| value.get(key).and_then(Value::as_f64).unwrap_or_default();
    let count = |key: &str| value.get(key).and_then(Value::as_i64).unwrap_or_default();
    let kind = Some(text("type")).filter(|kind| !kind.is_empty());
    let named = |properties: &serde_json::Map<String, Value>| NamedSchemas {
        additional_properties: properties
            .iter()
            .map(|(name, one)| NamedSchema { name: name.clone(), value: Some(schema(one)) })
            .collect(),
    };
    Schema {
        reference: text("$ref"),
        format: text("format"),
        description: text("description"),
        maximum: number("maximum"),
        minimum: number("minimum"),
        max_length: count("maxLength"),
        min_length: count("minLength"),
        pattern: text("pattern"),
        max_items: count("maxItems"),
        min_items: count("minItems"),
        required: value.list("/required").iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
        allowed: value.list("/enum").iter().map(any).collect(),
        additional_properties: value
            .get("additionalProperties")
            .map(|below| Box::new(AdditionalProperties { schema: Some(Box::new(schema(below))) })),
        kind: kind.map(|kind| TypeItem { value: vec![kind] }),
        items: value.get("items").map(|items| Items { schema: vec![schema(items)] }),
        properties: value.object("/properties").map(named),
        vendor_extension: extensions(value),
    }
}

fn extensions(value: &Value) -> Vec<NamedAny> {
    let all = value.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with("x-"));
    all.map(|(name, one)| NamedAny { name: name.clone(), value: Some(any(one)) }).collect()
}

/// JSON is YAML too.
fn any(value: &Value) -> Any {
    Any { yaml: value.to_string() }
}
