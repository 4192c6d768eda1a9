//! Reading an object as Kubernetes' typed decoder does: wrong types are refused, unknown fields are dropped and named,
//! nulls mean "not set".

use serde_json::{Map, Value};

use super::scalars;
use super::{Struct, StructId, Type, Types};
use crate::schema::Path;
use crate::schema::quantity;

/// The object cannot be read. The text is what follows `cannot be handled as a Pod: ` in the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A field has the wrong JSON type.
    #[error("json: cannot unmarshal {found} into Go struct field {owner}.{field} of type {expected}")]
    WrongType {
        /// What stands there, in the decoder's words.
        found: String,
        /// The Go struct that has the field.
        owner: String,
        /// Dotted names from the root.
        field: String,
        /// The Go type that belongs there.
        expected: String,
    },
    /// A text is not in the form that its type asks for.
    #[error("{0}")]
    Malformed(String),
}

/// What decoding found besides the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Paths of fields that the kind does not have, already removed from the object.
    pub unknown: Vec<String>,
}

impl Types {
    /// Brings `object` into the form that a struct would have been read into and written from.
    pub fn decode(&self, root: StructId, object: &mut Value) -> Result<Decoded, DecodeError> {
        self.decode_at(root, object, &Path::Root)
    }

    /// The same for a part of an object, which stands at `path`.
    pub fn decode_at(&self, id: StructId, part: &mut Value, path: &Path<'_>) -> Result<Decoded, DecodeError> {
        let mut reader = Reader { types: self, decoded: Decoded::default() };
        let owner = self.get(id).map(Struct::name).unwrap_or_default();
        reader.value(&Type::Struct(id), part, path, owner)?;
        Ok(reader.decoded)
    }
}

struct Reader<'t> {
    types: &'t Types,
    decoded: Decoded,
}

impl Reader<'_> {
    fn value(
        &mut self,
        ty: &Type,
        value: &mut Value,
        path: &Path<'_>,
        owner: &str,
    ) -> Result<(), DecodeError> {
        match (ty, &mut *value) {
            (Type::Any, _) | (Type::String, Value::String(_)) | (Type::Bool, Value::Bool(_)) => Ok(()),
            (Type::Bytes, Value::String(text)) => scalars::base64(text).map_err(DecodeError::Malformed),
            (Type::Time, Value::String(text)) => scalars::time(text).map_err(DecodeError::Malformed),
            (Type::Int32, Value::Number(n)) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => Ok(()),
            (Type::Int64, Value::Number(n)) if n.as_i64().is_some() => Ok(()),
            (Type::Double, Value::Number(_)) => Ok(()),
            (Type::IntOrString, Value::String(_)) => Ok(()),
            (Type::IntOrString, Value::Number(n)) if n.as_i64().is_some() => Ok(()),
            (Type::Quantity, Value::String(_) | Value::Number(_)) => {
                let text = quantity::text(value);
                quantity::Quantity::parse(&text).map_err(DecodeError::Malformed)?;
                *value = Value::String(text);
                Ok(())
            }
            (Type::List(item), Value::Array(items)) => {
                for (index, one) in items.iter_mut().enumerate() {
                    if one.is_null() {
                        *one = zero(item);
                    }
                    self.value(item, one, &path.index(index), owner)?;
                }
                Ok(())
            }
            (Type::Map(item), Value::Object(map)) => self.map(item, map, path, owner),
            (Type::Struct(id), Value::Object(map)) => self.fields(*id, map, path),
            (ty, value) => Err(DecodeError::WrongType {
                found: scalars::json_kind(value),
                owner: owner.to_owned(),
                field: path.names(),
                expected: self.types.go_name(ty),
            }),
        }
    }

    fn map(
        &mut self,
        item: &Type,
        map: &mut Map<String, Value>,
        path: &Path<'_>,
        owner: &str,
    ) -> Result<(), DecodeError> {
        for (key, one) in map.iter_mut() {
            if one.is_null() {
                *one = zero(item);
            }
            self.value(item, one, &path.field(key), owner)?;
            // A list of resources is rounded to thousandths and written in canonical form.
            if *item == Type::Quantity
                && let Some(canonical) = one.as_str().and_then(|text| quantity::Quantity::parse(text).ok())
            {
                *one = Value::String(canonical.to_string());
            }
        }
        Ok(())
    }

    fn fields(
        &mut self,
        id: StructId,
        map: &mut Map<String, Value>,
        path: &Path<'_>,
    ) -> Result<(), DecodeError> {
        let types = self.types;
        let Some(fields) = types.get(id) else { return Ok(()) };
        let mut drop = Vec::new();
        for (name, value) in map.iter_mut() {
            let here = path.field(name);
            let Some(field) = fields.field(name) else {
                self.decoded.unknown.push(here.to_string());
                drop.push(name.clone());
                continue;
            };
            if value.is_null() {
                drop.push(name.clone());
                continue;
            }
            self.value(&field.ty, value, &here, fields.name())?;
            // An empty list of managers is an order to forget them.
            let meant = name == "managedFields";
            if !field.required && !meant && is_empty_collection(&field.ty, value) {
                drop.push(name.clone());
            }
        }
        for name in drop {
            map.shift_remove(&name);
        }
        Ok(())
    }
}

/// `omitempty`: an empty list or map of an optional field is not written.
fn is_empty_collection(ty: &Type, value: &Value) -> bool {
    match (ty, value) {
        (Type::List(_), Value::Array(items)) => items.is_empty(),
        (Type::Map(_), Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

fn zero(ty: &Type) -> Value {
    match ty {
        Type::String | Type::Bytes => Value::String(String::new()),
        Type::Bool => Value::Bool(false),
        Type::Int32 | Type::Int64 | Type::IntOrString | Type::Double => Value::from(0),
        Type::Quantity => Value::String("0".to_owned()),
        Type::List(_) => Value::Array(Vec::new()),
        Type::Map(_) | Type::Struct(_) => Value::Object(Map::new()),
        Type::Any | Type::Time => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Pod, Secret};
    use serde_json::json;

    use super::super::RootSchema;
    use super::*;

    fn decode(definition: &str, mut object: Value) -> Result<(Value, Vec<String>), String> {
        let roots: [RootSchema; 2] = [|g| g.subschema_for::<Pod>(), |g| g.subschema_for::<Secret>()];
        let types = Types::compile(roots);
        let root = types.find(definition).unwrap();
        let decoded = types.decode(root, &mut object).map_err(|e| e.to_string())?;
        Ok((object, decoded.unknown))
    }

    const POD: &str = "io.k8s.api.core.v1.Pod";

    #[test]
    fn an_unknown_field_is_named_with_its_path_and_dropped() {
        let pod = json!({"spec": {"nodename": "n", "containers": [{"name": "c", "imagee": "x"}]}});
        let (pod, unknown) = decode(POD, pod).unwrap();
        assert_eq!(unknown, ["spec.nodename", "spec.containers[0].imagee"]);
        assert_eq!(pod, json!({"spec": {"containers": [{"name": "c"}]}}));
    }

    #[test]
    fn a_wrong_type_is_refused_in_the_words_of_the_go_decoder() {
        let pod = json!({"spec": {"containers": [{"name": 3}]}});
        assert_eq!(
            decode(POD, pod).unwrap_err(),
            "json: cannot unmarshal number into Go struct field Container.spec.containers.name of type string"
        );
        let pod = json!({"spec": {"containers": {}}});
        assert_eq!(
            decode(POD, pod).unwrap_err(),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"
        );
        let pod = json!({"spec": {"terminationGracePeriodSeconds": 1.5}});
        assert_eq!(
            decode(POD, pod).unwrap_err(),
            "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64"
        );
    }

    #[test]
    fn nulls_and_empty_optional_collections_are_as_good_as_absent() {
        let pod = json!({"metadata": {"name": "p", "creationTimestamp": null, "labels": {}, "finalizers": []},
            "spec": {"containers": [], "nodeSelector": null, "volumes": [{"name": "v", "emptyDir": {}}]}});
        let (pod, _) = decode(POD, pod).unwrap();
        assert_eq!(
            pod,
            json!({"metadata": {"name": "p"}, "spec": {"containers": [], "volumes": [{"name": "v", "emptyDir": {}}]}})
        );
    }

    #[test]
    fn quantities_become_canonical_text() {
        let pod =
            json!({"spec": {"containers": [{"resources": {"limits": {"cpu": 0.5, "memory": "1.5Gi"}}}]}});
        let (pod, _) = decode(POD, pod).unwrap();
        assert_eq!(
            pod["spec"]["containers"][0]["resources"]["limits"],
            json!({"cpu": "500m", "memory": "1536Mi"})
        );
        let pod = json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}});
        assert!(decode(POD, pod).unwrap_err().starts_with("quantities must match the regular expression"));
    }

    #[test]
    fn secret_data_must_be_base64() {
        let secret = json!({"data": {"k": "a*b="}});
        assert_eq!(
            decode("io.k8s.api.core.v1.Secret", secret).unwrap_err(),
            "illegal base64 data at input byte 1"
        );
    }
}
