//! From `JSONSchemaProps` to `Schema`.

use serde_json::Value;

use super::cel::Rule;
use super::pattern::Pattern;
use super::{Additional, Kind, ListType, Rules, Schema};
use crate::schema::Json;

impl Schema {
    /// Compiles `openAPIV3Schema`. What it does not understand it leaves out: `check_structural` has refused it before.
    pub fn compile(props: &Value) -> Self {
        let extension = |name: &str| props.get(name).and_then(Value::as_bool).unwrap_or_default();
        let mut schema = Self {
            kind: kind(props.text("/type")),
            nullable: props.flag("/nullable"),
            preserve_unknown: extension("x-kubernetes-preserve-unknown-fields"),
            embedded: extension("x-kubernetes-embedded-resource"),
            int_or_string: extension("x-kubernetes-int-or-string"),
            properties: props
                .object("/properties")
                .into_iter()
                .flatten()
                .map(|(name, schema)| (name.as_str().into(), Schema::compile(schema)))
                .collect(),
            additional: additional(props.get("additionalProperties")).map(Box::new),
            items: props
                .get("items")
                .filter(|items| items.is_object())
                .map(|items| Box::new(Schema::compile(items))),
            required: names(props.list("/required")),
            default: props.get("default").cloned().map(Box::new),
            list: list_type(props),
            atomic_map: props.get("x-kubernetes-map-type").is_some_and(|kind| kind == "atomic"),
            rules: rules(props).map(Box::new),
            validations: props
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(Rule::new)
                .collect(),
            has_rules: false,
        };
        schema.has_rules = schema.validations_here_or_below();
        schema
    }

    fn validations_here_or_below(&self) -> bool {
        let more = self.rules.iter().flat_map(|rules| &rules.all_of);
        !self.validations.is_empty()
            || self.properties.values().chain(more).any(|below| below.has_rules)
            || self.items.iter().any(|below| below.has_rules)
            || self.additional_schema().is_some_and(|below| below.has_rules)
    }
}

fn kind(name: &str) -> Option<Kind> {
    Some(match name {
        "object" => Kind::Object,
        "array" => Kind::Array,
        "string" => Kind::String,
        "integer" => Kind::Integer,
        "number" => Kind::Number,
        "boolean" => Kind::Boolean,
        _ => return None,
    })
}

fn names(list: &[Value]) -> Vec<Box<str>> {
    list.iter().filter_map(Value::as_str).map(Into::into).collect()
}

fn additional(value: Option<&Value>) -> Option<Additional> {
    match value? {
        Value::Bool(true) => Some(Additional::Any),
        schema @ Value::Object(_) => Some(Additional::Schema(Schema::compile(schema))),
        _ => None,
    }
}

fn list_type(props: &Value) -> ListType {
    match props.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListType::Set,
        Some("map") => {
            let keys = props.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            ListType::Map(names(keys.map_or(&[], Vec::as_slice)))
        }
        _ => ListType::Atomic,
    }
}

fn rules(props: &Value) -> Option<Rules> {
    const KEYS: &[&str] = &[
        "enum",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
    ];
    if !KEYS.iter().any(|key| props.get(key).is_some()) {
        return None;
    }
    let number = |key: &str| props.get(key).and_then(Value::as_f64);
    let count = |key: &str| props.get(key).and_then(Value::as_u64);
    let schemas = |key: &str| {
        let list = props.get(key).and_then(Value::as_array);
        list.into_iter().flatten().map(Schema::compile).collect()
    };
    Some(Rules {
        allowed: props.list("/enum").to_vec(),
        pattern: props.get("pattern").and_then(Value::as_str).map(Pattern::new),
        format: props.get("format").and_then(Value::as_str).map(Into::into),
        minimum: number("minimum"),
        exclusive_minimum: props.flag("/exclusiveMinimum"),
        maximum: number("maximum"),
        exclusive_maximum: props.flag("/exclusiveMaximum"),
        multiple_of: number("multipleOf"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        unique_items: props.flag("/uniqueItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        all_of: schemas("allOf"),
        any_of: schemas("anyOf"),
        one_of: schemas("oneOf"),
        not: props.get("not").map(|not| Box::new(Schema::compile(not))),
    })
}
