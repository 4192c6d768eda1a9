//! Structural schemas of custom resources: compiled once from a CRD, then used to prune, default and validate its objects.
//!
//! Semantics and messages are those of `apiextensions-apiserver`. What a change leaves as it was is not judged anew (`validate`).

mod cel;
mod compile;
mod defaults;
mod formats;
mod lists;
mod nested;
mod pattern;
mod prune;
mod rules;
mod structural;
mod topology;
mod validate;

use std::collections::BTreeMap;

use serde_json::Value;

pub(crate) use cel::{Answer, Condition, Documents};
pub use structural::check as check_structural;

use pattern::Pattern;

/// The JSON type that a schema asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Object => "object",
            Kind::Array => "array",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
        }
    }
}

/// What may stand under keys that are not listed.
#[derive(Clone, Debug)]
enum Additional {
    /// Nothing is said about it.
    Any,
    /// It must fit a schema.
    Schema(Schema),
}

/// How the items of a list are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum ListType {
    #[default]
    Atomic,
    Set,
    Map(Vec<Box<str>>),
}

/// One node of a structural schema.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    kind: Option<Kind>,
    nullable: bool,
    preserve_unknown: bool,
    embedded: bool,
    int_or_string: bool,
    properties: BTreeMap<Box<str>, Schema>,
    additional: Option<Box<Additional>>,
    items: Option<Box<Schema>>,
    required: Vec<Box<str>>,
    default: Option<Box<Value>>,
    list: ListType,
    atomic_map: bool,
    rules: Option<Box<Rules>>,
    validations: Vec<cel::Rule>,
    /// Whether there are `validations` here or below.
    has_rules: bool,
}

/// Rules about values, as opposed to structure.
#[derive(Clone, Debug, Default)]
struct Rules {
    allowed: Vec<Value>,
    pattern: Option<Pattern>,
    format: Option<Box<str>>,
    minimum: Option<f64>,
    exclusive_minimum: bool,
    maximum: Option<f64>,
    exclusive_maximum: bool,
    multiple_of: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    unique_items: bool,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    all_of: Vec<Schema>,
    any_of: Vec<Schema>,
    one_of: Vec<Schema>,
    not: Option<Box<Schema>>,
}

impl Schema {
    /// The schema of an object that has a value of this one under `v`.
    fn alone(&self) -> Self {
        let properties = BTreeMap::from([("v".into(), self.clone())]);
        Self { kind: Some(Kind::Object), properties, ..Self::default() }
    }

    /// A schema that keeps everything and refuses nothing.
    pub fn anything() -> Self {
        Self { kind: Some(Kind::Object), preserve_unknown: true, ..Self::default() }
    }

    fn property(&self, key: &str) -> Option<&Schema> {
        self.properties.get(key)
    }

    /// The schema of a key that is not listed.
    fn additional_schema(&self) -> Option<&Schema> {
        match self.additional.as_deref() {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
