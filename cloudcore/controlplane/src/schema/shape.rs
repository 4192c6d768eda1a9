//! How the parts of an object are owned: which are leaves, which lists are sets or maps in disguise. One view for built-in types, for
//! structural schemas, and for what has no schema at all.

use serde_json::Value;

use super::custom::Schema;
use super::types::{Field, StructId, Topology, Type, Types};

/// What is known about a value at some place of an object.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'a> {
    /// Nothing: maps by their entries, all else whole.
    Untyped,
    /// A plain value.
    Scalar,
    /// A struct of a built-in kind.
    Struct(&'a Types, StructId),
    /// A list of a built-in kind.
    List(&'a Types, &'a Type, Topology),
    /// A map of a built-in kind, owned whole or by its entries.
    Map(&'a Types, &'a Type, Topology),
    /// A node of a structural schema.
    Custom(&'a Schema),
    /// A whole custom resource: its schema, and the type of its metadata.
    CustomResource(&'a Schema, &'a Types, StructId),
}

/// How a value is owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole.
    Leaf,
    /// By its entries.
    Map,
    /// A list, by its values.
    Set,
    /// A list, by the keys of its items.
    Keyed,
}

/// What is known about an entry of a map.
#[derive(Clone, Copy, Debug)]
pub enum Child<'a> {
    /// A field of a struct.
    Named(Shape<'a>),
    /// An entry under a key of the user's choice.
    Free(Shape<'a>),
    /// The schema has no such field.
    Undeclared,
}

impl<'a> Child<'a> {
    /// Its shape; what is not declared has none.
    pub fn shape(self) -> Shape<'a> {
        match self {
            Self::Named(shape) | Self::Free(shape) => shape,
            Self::Undeclared => Shape::Untyped,
        }
    }
}

impl<'a> Shape<'a> {
    fn of_field(types: &'a Types, field: &'a Field) -> Self {
        Self::of_type(types, &field.ty, field.topology)
    }

    fn of_type(types: &'a Types, ty: &'a Type, topology: Topology) -> Self {
        match ty {
            Type::Any => Self::Untyped,
            Type::Struct(id) => Self::Struct(types, *id),
            Type::List(item) => Self::List(types, item, topology),
            Type::Map(value) => Self::Map(types, value, topology),
            _ => Self::Scalar,
        }
    }

    /// How a value of this shape is owned. What does not fit the shape is a leaf.
    pub fn kind(self, value: &Value) -> Kind {
        match (self, value) {
            (Self::Custom(schema) | Self::CustomResource(schema, ..), value) => schema.kind_of(value),
            (Self::Map(_, _, Topology::Atomic), _) => Kind::Leaf,
            (Self::Untyped | Self::Map(..), Value::Object(_)) => Kind::Map,
            (Self::Struct(types, id), Value::Object(_)) => {
                if types.get(id).is_some_and(|one| one.atomic) {
                    Kind::Leaf
                } else {
                    Kind::Map
                }
            }
            (Self::List(_, _, Topology::Set), Value::Array(_)) => Kind::Set,
            (Self::List(_, _, Topology::Keyed(..)), Value::Array(_)) => Kind::Keyed,
            _ => Kind::Leaf,
        }
    }

    /// What stands under `key`.
    pub fn child(self, key: &str) -> Child<'a> {
        match self {
            Self::Untyped => Child::Free(Self::Untyped),
            Self::Scalar | Self::List(..) => Child::Undeclared,
            Self::Struct(types, id) => match types.get(id).and_then(|one| one.field(key)) {
                Some(field) => Child::Named(Self::of_field(types, field)),
                None => Child::Undeclared,
            },
            Self::Map(types, value, _) => Child::Free(Self::of_type(types, value, Topology::Default)),
            Self::Custom(schema) => schema.child(key),
            Self::CustomResource(_, types, meta) if key == "metadata" => {
                Child::Named(Self::Struct(types, meta))
            }
            Self::CustomResource(..) if matches!(key, "apiVersion" | "kind") => Child::Named(Self::Scalar),
            Self::CustomResource(schema, ..) => schema.child(key),
        }
    }

    /// What the items of a list are.
    pub fn item(self) -> Self {
        match self {
            Self::List(types, item, _) => Self::of_type(types, item, Topology::Default),
            Self::Custom(schema) => schema.item(),
            _ => Self::Untyped,
        }
    }

    /// The fields that tell the items of a list apart, with what they are when left out.
    pub fn keys(self) -> Vec<(&'a str, Option<Value>)> {
        match self {
            Self::List(types, item, Topology::Keyed(first, second)) => {
                let number = |name: &str| match item {
                    Type::Struct(id) => {
                        let field = types.get(*id).and_then(|one| one.field(name));
                        field.is_some_and(|field| matches!(field.ty, Type::Int32 | Type::Int64))
                    }
                    _ => false,
                };
                let keys = [Some(first), second].into_iter().flatten();
                keys.map(|key| {
                    let zero = if number(key.name) { Value::from(0) } else { Value::from(key.default) };
                    (key.name, Some(zero))
                })
                .collect()
            }
            Self::Custom(schema) => schema.keys(),
            _ => Vec::new(),
        }
    }

    /// The object that an empty Go struct is written as: structs that are not pointers are there without fields, required lists are null.
    pub fn blank(self) -> Value {
        self.blank_to(4)
    }

    fn blank_to(self, depth: usize) -> Value {
        let Self::Struct(types, id) = self else { return Value::Object(serde_json::Map::new()) };
        let fields = types.get(id).filter(|one| depth > 0 && !one.atomic).map_or(&[][..], |one| &one.fields);
        let there = fields.iter().filter_map(|field| match field.ty {
            Type::Struct(id) if field.required || INLINE.contains(&&*field.name) => {
                Some((field.name.to_string(), Self::Struct(types, id).blank_to(depth - 1)))
            }
            Type::List(_) if field.required => Some((field.name.to_string(), Value::Null)),
            _ => None,
        });
        Value::Object(there.collect())
    }
}

/// Optional structs that are no pointers in Go.
const INLINE: &[&str] = &["metadata", "spec", "status", "strategy", "template", "updateStrategy"];
