//! From JSON schemas to `Types`.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::merge_keys::merge_of;
use super::topology::{is_atomic, topology_of};
use super::{Field, RootSchema, Struct, StructId, Type, Types};

/// Where `$ref`s point to.
const DEFINITIONS: &str = "#/components/schemas/";

/// Definitions that are not structs, although some of their schemas look like it.
const SCALARS: &[(&str, Type)] = &[
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", Type::Time),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", Type::Time),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", Type::Any),
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", Type::Quantity),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", Type::IntOrString),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", Type::Any),
];

impl Types {
    /// Compiles what `roots` reach. One generator per root keeps the peak small: the schemas carry megabytes of prose.
    pub fn compile(roots: impl IntoIterator<Item = RootSchema>) -> Self {
        let mut ids = BTreeMap::new();
        let mut types = Types::default();
        for root in roots {
            let mut generator = SchemaSettings::openapi3().into_generator();
            root(&mut generator);
            types.add(&generator.take_definitions(false), &mut ids);
        }
        types
    }

    fn add(&mut self, definitions: &Map<String, Value>, ids: &mut BTreeMap<String, StructId>) {
        let mut fresh = Vec::new();
        for (name, schema) in definitions {
            let is_struct = scalar(name).is_none() && schema.get("properties").is_some();
            if is_struct && !ids.contains_key(name) {
                let id = StructId(u32::try_from(self.structs.len() + fresh.len()).unwrap_or(u32::MAX));
                ids.insert(name.clone(), id);
                fresh.push((name, schema));
            }
        }
        for (name, schema) in fresh {
            self.structs.push(compile_struct(name, schema, definitions, ids));
        }
    }
}

fn scalar(definition: &str) -> Option<Type> {
    SCALARS.iter().find(|(name, _)| *name == definition).map(|(_, ty)| ty.clone())
}

fn compile_struct(
    name: &str,
    schema: &Value,
    definitions: &Map<String, Value>,
    ids: &BTreeMap<String, StructId>,
) -> Struct {
    let go_name = name.rsplit('.').next().unwrap_or(name);
    let required = |field: &str| {
        let list = schema.get("required").and_then(Value::as_array);
        list.is_some_and(|names| names.iter().any(|name| name == field))
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let mut fields: Vec<Field> = properties
        .into_iter()
        .flatten()
        .map(|(field, schema)| Field {
            name: field.as_str().into(),
            ty: compile_type(schema, definitions, ids),
            required: required(field),
            merge: merge_of(go_name, field),
            topology: topology_of(go_name, field),
        })
        .collect();
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    Struct { definition: name.into(), fields: fields.into(), atomic: is_atomic(name) }
}

fn compile_type(schema: &Value, definitions: &Map<String, Value>, ids: &BTreeMap<String, StructId>) -> Type {
    if let Some(definition) = reference(schema) {
        if let Some(ty) = scalar(definition) {
            return ty;
        }
        if let Some(id) = ids.get(definition) {
            return Type::Struct(*id);
        }
        return definitions.get(definition).map_or(Type::Any, |inner| compile_type(inner, definitions, ids));
    }
    let format = schema.get("format").and_then(Value::as_str);
    match (schema.get("type").and_then(Value::as_str), format) {
        (Some("string"), Some("byte")) => Type::Bytes,
        (Some("string"), Some("date-time")) => Type::Time,
        (Some("string"), _) => Type::String,
        (Some("boolean"), _) => Type::Bool,
        (Some("integer"), Some("int32")) => Type::Int32,
        (Some("integer"), _) => Type::Int64,
        (Some("number"), _) => Type::Double,
        (Some("array"), _) => {
            let item = schema.get("items").map_or(Type::Any, |item| compile_type(item, definitions, ids));
            Type::List(Box::new(item))
        }
        (Some("object"), _) => match schema.get("additionalProperties") {
            Some(value) => Type::Map(Box::new(compile_type(value, definitions, ids))),
            None => Type::Any,
        },
        _ => Type::Any,
    }
}

/// The definition that a schema refers to, directly or through the `allOf` that carries a description beside it.
fn reference(schema: &Value) -> Option<&str> {
    let direct = schema.get("$ref").and_then(Value::as_str);
    let wrapped = || schema.get("allOf")?.get(0)?.get("$ref")?.as_str();
    direct.or_else(wrapped)?.strip_prefix(DEFINITIONS)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::Pod;

    use super::super::Merge;
    use super::*;

    fn types() -> Types {
        let pod: RootSchema = |generator| generator.subschema_for::<Pod>();
        let deployment: RootSchema = |generator| generator.subschema_for::<Deployment>();
        Types::compile([pod, deployment])
    }

    #[test]
    fn a_pod_spec_knows_its_fields_and_merge_keys() {
        let types = types();
        let spec = types.get(types.find("io.k8s.api.core.v1.PodSpec").unwrap()).unwrap();
        assert_eq!(spec.field("terminationGracePeriodSeconds").unwrap().ty, Type::Int64);
        assert_eq!(spec.field("containers").unwrap().merge, Merge::Key("name"));
        assert!(spec.field("containers").unwrap().required);
        assert_eq!(spec.field("tolerations").unwrap().merge, Merge::Default);
        assert!(spec.field("container").is_none());
        let Type::List(item) = &spec.field("containers").unwrap().ty else { panic!("a list") };
        assert_eq!(types.go_name(item), "v1.Container");
    }

    #[test]
    fn a_struct_that_two_roots_share_is_kept_once() {
        let types = types();
        let named = |name: &str| types.structs.iter().filter(|one| one.name() == name).count();
        assert_eq!(named("PodSpec"), 1);
        assert_eq!(named("ObjectMeta"), 1);
        assert_eq!(named("Quantity"), 0);
        assert_eq!(named("Deployment"), 1);
    }
}
