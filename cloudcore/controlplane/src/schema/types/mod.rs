//! The types of the built-in kinds: which fields a struct has, of which type, and how strategic merge treats its lists.
//!
//! Compiled once from the schemas of `k8s-openapi` and kept without their prose (about 100 kB for everything we serve).
//! `decode` uses them as Kubernetes' decoder does, `patch` as its strategic merge does.

mod compile;
mod decode;
mod merge_keys;
mod scalars;
mod topology;

use schemars::{Schema, SchemaGenerator};

pub use decode::{DecodeError, Decoded};
pub use merge_keys::Merge;
pub use topology::{ListKey, Topology};

/// Index of a struct in its `Types`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StructId(u32);

/// The type of a field, element or map value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Any JSON value.
    Any,
    /// Text.
    String,
    /// Text that is base64.
    Bytes,
    /// Text that is an RFC 3339 time.
    Time,
    /// `true` or `false`.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A number.
    Double,
    /// A resource quantity such as `100m`: text or number.
    Quantity,
    /// A port or percentage: text or number.
    IntOrString,
    /// A list.
    List(Box<Type>),
    /// A map with text keys.
    Map(Box<Type>),
    /// A struct.
    Struct(StructId),
}

/// One field of a struct.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in JSON.
    pub name: Box<str>,
    /// Its type.
    pub ty: Type,
    /// Whether it is written even when empty.
    pub required: bool,
    /// What strategic merge does with it.
    pub merge: Merge,
    /// How server-side apply owns its parts.
    pub topology: Topology,
}

/// One Go struct.
#[derive(Clone, Debug)]
pub struct Struct {
    /// Full definition name, `io.k8s.api.core.v1.PodSpec`.
    pub definition: Box<str>,
    /// Sorted by name.
    pub fields: Box<[Field]>,
    /// Whether server-side apply owns it whole.
    pub atomic: bool,
}

impl Struct {
    /// The Go name, `PodSpec`.
    pub fn name(&self) -> &str {
        self.definition.rsplit('.').next().unwrap_or(&self.definition)
    }

    /// The Go package and name, `v1.PodSpec`.
    fn qualified_name(&self) -> &str {
        let mut dots = self.definition.rmatch_indices('.').map(|(at, _)| at);
        dots.nth(1).and_then(|at| self.definition.get(at + 1..)).unwrap_or(&self.definition)
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok()?;
        self.fields.get(at)
    }
}

/// Produces the schema of a root type: `|generator| generator.subschema_for::<Pod>()`.
pub type RootSchema = fn(&mut SchemaGenerator) -> Schema;

/// Every struct that the roots reach.
#[derive(Clone, Debug, Default)]
pub struct Types {
    structs: Vec<Struct>,
}

impl Types {
    /// The struct behind an id.
    pub fn get(&self, id: StructId) -> Option<&Struct> {
        self.structs.get(id.0 as usize)
    }

    /// The struct of this full definition name.
    pub fn find(&self, definition: &str) -> Option<StructId> {
        let at = self.structs.iter().position(|one| &*one.definition == definition)?;
        u32::try_from(at).ok().map(StructId)
    }

    /// How Go names the type in its error messages.
    pub fn go_name(&self, ty: &Type) -> String {
        match ty {
            Type::Any => "runtime.RawExtension".to_owned(),
            Type::String => "string".to_owned(),
            Type::Bytes => "[]uint8".to_owned(),
            Type::Time => "v1.Time".to_owned(),
            Type::Bool => "bool".to_owned(),
            Type::Int32 => "int32".to_owned(),
            Type::Int64 => "int64".to_owned(),
            Type::Double => "float64".to_owned(),
            Type::Quantity => "resource.Quantity".to_owned(),
            Type::IntOrString => "intstr.IntOrString".to_owned(),
            Type::List(item) => format!("[]{}", self.go_name(item)),
            Type::Map(value) => format!("map[string]{}", self.go_name(value)),
            Type::Struct(id) => {
                self.get(*id).map_or_else(|| "struct".to_owned(), |one| one.qualified_name().to_owned())
            }
        }
    }
}
