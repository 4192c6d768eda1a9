//! One served resource, built-in or custom, and what the server does with its objects.
//!
//! The order in a create is `decode`, `prepare_create`, `default`, `validate_create`; in an update `decode`, `prepare_update`,
//! `default`, `validate_update`; in a status write `decode`, `prepare_status_update`, `validate_status_update`.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::custom::{CustomKind, ScalePaths};
use super::descriptor::{Dependents, Descriptor, Subresource};
use super::{meta, names};
use crate::fieldmanager::Set;
use crate::schema::protobuf::{self, ProtobufError};
use crate::schema::types::{DecodeError, StructId, Types};
use crate::schema::{Errors, Json, Path, Shape};
use crate::status::FieldError;
use crate::table::Printer;

/// A resource: all that discovery says about it, and the rules for its objects.
pub struct Resource {
    /// API group, empty for core.
    pub group: String,
    /// Version within the group.
    pub version: String,
    /// Kind, `Pod`.
    pub kind: String,
    /// Kind of a list of it, `PodList`.
    pub list_kind: String,
    /// Name in URLs, `pods`.
    pub plural: String,
    /// Name of one, `pod`.
    pub singular: String,
    /// What kubectl accepts instead of the plural.
    pub short_names: Vec<String>,
    /// Groups such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<&'static str>,
    /// Parts with URLs of their own.
    pub subresources: Vec<Subresource>,
    /// Whether PUT of a missing object creates it.
    pub create_on_update: bool,
    /// Whether PUT without a resource version is accepted.
    pub unconditional_update: bool,
    /// The fields that a CRD makes selectable, as dotted paths; those of built-in kinds are in the index.
    pub own_fields: Vec<String>,
    pub(crate) behaviour: Behaviour,
}

/// Where the rules come from.
pub(crate) enum Behaviour {
    /// From a descriptor and the types of `k8s-openapi`.
    BuiltIn {
        /// What is special about it.
        descriptor: &'static Descriptor,
        /// All built-in types.
        types: Arc<Types>,
        /// Its own type.
        root: StructId,
    },
    /// From a CRD.
    Custom(Box<CustomKind>),
}

impl Resource {
    /// A built-in kind. `None` if its type is not among `types`.
    pub(super) fn built_in(descriptor: &'static Descriptor, types: &Arc<Types>) -> Option<Self> {
        let own = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let root = types.find(&(descriptor.definition)())?;
        Some(Self {
            group: descriptor.group.to_owned(),
            version: descriptor.version.to_owned(),
            kind: descriptor.kind.to_owned(),
            list_kind: format!("{}List", descriptor.kind),
            plural: descriptor.plural.to_owned(),
            singular: descriptor.kind.to_lowercase(),
            short_names: own(descriptor.short_names),
            categories: own(descriptor.categories),
            namespaced: descriptor.namespaced,
            verbs: descriptor.verbs.to_vec(),
            subresources: descriptor.subresources.to_vec(),
            create_on_update: descriptor.create_on_update,
            unconditional_update: descriptor.unconditional_update,
            own_fields: Vec::new(),
            behaviour: Behaviour::BuiltIn { descriptor, types: Arc::clone(types), root },
        })
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|one| one.name == name)
    }

    /// Group and plural under which objects are stored: one object may be served by two groups (events).
    pub fn stored_as(&self) -> (&str, &str) {
        match &self.behaviour {
            Behaviour::BuiltIn { descriptor, .. } => {
                descriptor.stored_as.unwrap_or((&self.group, &self.plural))
            }
            Behaviour::Custom(_) => (&self.group, &self.plural),
        }
    }

    /// From this resource's form to the stored form.
    pub fn to_stored(&self, object: &mut Value) {
        match &self.behaviour {
            Behaviour::BuiltIn { descriptor, .. } => (descriptor.to_stored)(object),
            Behaviour::Custom(_) => {}
        }
    }

    /// From the stored form to this resource's, with its `apiVersion` and `kind`.
    pub fn from_stored(&self, object: &mut Value) {
        match &self.behaviour {
            Behaviour::BuiltIn { descriptor, .. } => (descriptor.from_stored)(object),
            Behaviour::Custom(custom) => custom.default(object),
        }
        if let Some(map) = object.as_object_mut() {
            map.insert("apiVersion".to_owned(), json!(self.api_version()));
            map.insert("kind".to_owned(), json!(self.kind));
        }
    }

    /// Whether a stored document in this resource's form must still go through `from_stored`.
    pub(crate) fn completes_stored(&self) -> bool {
        self.custom().is_some_and(CustomKind::has_defaults)
    }

    /// What users of a deprecated kind or version are told with every answer.
    pub(crate) fn deprecation(&self) -> Option<&str> {
        match &self.behaviour {
            Behaviour::BuiltIn { descriptor, .. } => descriptor.deprecation,
            Behaviour::Custom(custom) => custom.deprecation(),
        }
    }

    /// Refuses wrong types, drops unknown fields and nulls; returns the paths of the unknown fields.
    /// The text of the error goes behind `Pod in version "v1" cannot be handled as a Pod: `.
    pub fn decode(&self, object: &mut Value) -> Result<Vec<String>, DecodeError> {
        match &self.behaviour {
            Behaviour::BuiltIn { types, root, .. } => Ok(types.decode(*root, object)?.unknown),
            Behaviour::Custom(custom) => custom.decode(object),
        }
    }

    /// Reads a body in Kubernetes' protobuf encoding. The object may be of another built-in kind: options, or a subresource's body.
    pub fn decode_protobuf(&self, body: &[u8]) -> Result<Value, ProtobufError> {
        match &self.behaviour {
            Behaviour::BuiltIn { types, .. } => protobuf::decode(types, body),
            Behaviour::Custom(custom) => protobuf::decode(custom.types(), body),
        }
    }

    /// Paths of the fields that this kind does not have.
    pub fn unknown_fields(&self, object: &Value) -> Vec<String> {
        self.decode(&mut object.clone()).unwrap_or_default()
    }

    /// Fills in what the user left out.
    pub fn default(&self, object: &mut Value) {
        match &self.behaviour {
            Behaviour::BuiltIn { descriptor, .. } => (descriptor.default)(object),
            Behaviour::Custom(custom) => custom.default(object),
        }
    }

    /// What the server sets on a new object.
    pub fn prepare_create(&self, object: &mut Value) {
        match &self.behaviour {
            Behaviour::BuiltIn { descriptor, .. } => {
                if descriptor.has_status() {
                    if !descriptor.keeps_status_on_create {
                        set(object, "status", Some(Value::Object(Map::new())));
                    }
                    object.default_to("status", Map::new());
                }
                set_generation(object, descriptor.generations.then_some(1));
                (descriptor.prepare_create)(object);
            }
            Behaviour::Custom(custom) => {
                if custom.has_status {
                    set(object, "status", None);
                }
                set_generation(object, Some(1));
            }
        }
    }

    /// Keeps the status and what else a plain update may not touch; counts up the generation if the rest changed.
    pub fn prepare_update(&self, old: &Value, new: &mut Value) {
        match &self.behaviour {
            Behaviour::BuiltIn { descriptor, .. } => {
                if descriptor.has_status() {
                    set(new, "status", old.get("status").cloned());
                }
                (descriptor.prepare_update)(old, new);
                // Defaults first, or a manifest that leaves them out would look like a change.
                (descriptor.default)(new);
                keep_generation(old, new, descriptor.generations && differs(old, new, &["status"]));
            }
            Behaviour::Custom(custom) => {
                if custom.has_status {
                    set(new, "status", old.get("status").cloned());
                }
                custom.default(new);
                keep_generation(old, new, differs(old, new, &[]));
            }
        }
    }

    /// Takes the status only. Labels and annotations of built-in kinds may change along with it.
    pub fn prepare_status_update(&self, old: &Value, new: &mut Value) {
        let status = new.get("status").cloned();
        match &self.behaviour {
            Behaviour::BuiltIn { .. } => {
                let mut meta = new.get("metadata").cloned().unwrap_or_default();
                for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences"] {
                    set(&mut meta, field, old.pointer(&format!("/metadata/{field}")).cloned());
                }
                *new = old.clone();
                set(new, "metadata", Some(meta));
            }
            Behaviour::Custom(_) => *new = old.clone(),
        }
        set(new, "status", status);
        self.default(new);
        keep_generation(old, new, false);
    }

    /// Everything that is wrong with a new object.
    pub fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        match &self.behaviour {
            Behaviour::BuiltIn { descriptor, .. } => {
                meta::validate(object, descriptor.name, &mut errors);
                (descriptor.validate)(object, &mut errors);
            }
            Behaviour::Custom(custom) => {
                meta::validate(object, names::dns_subdomain, &mut errors);
                custom.schema().validate(object, None, &mut errors);
            }
        }
        errors.into_vec()
    }

    /// Everything that is wrong with a change.
    pub fn validate_update(&self, old: &Value, new: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        self.check_version(new, &mut errors);
        meta::validate_update(old, new, &mut errors);
        match &self.behaviour {
            Behaviour::BuiltIn { descriptor, .. } => {
                meta::validate(new, descriptor.name, &mut errors);
                (descriptor.validate_update)(old, new, &mut errors);
                (descriptor.validate)(new, &mut errors);
            }
            Behaviour::Custom(custom) => {
                meta::validate(new, names::dns_subdomain, &mut errors);
                custom.validate_update(old, new, &mut errors);
            }
        }
        errors.into_vec()
    }

    /// Everything that is wrong with a new status.
    pub fn validate_status_update(&self, old: &Value, new: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        self.check_version(new, &mut errors);
        meta::validate_update(old, new, &mut errors);
        if let Behaviour::Custom(custom) = &self.behaviour {
            custom.validate_update(old, new, &mut errors);
        }
        errors.into_vec()
    }

    fn check_version(&self, new: &Value, errors: &mut Errors) {
        let version = new.text("/metadata/resourceVersion");
        if !self.unconditional_update && matches!(version, "" | "0") {
            let root = Path::Root;
            let meta = root.field("metadata");
            errors.invalid(&meta.field("resourceVersion"), 0, "must be specified for an update");
        }
    }

    /// The columns of a built-in kind; custom ones bring their own.
    pub(crate) fn printer(&self) -> Option<&'static Printer> {
        Some(&self.descriptor()?.printer)
    }

    /// All built-in types.
    pub(crate) fn types(&self) -> &Types {
        match &self.behaviour {
            Behaviour::BuiltIn { types, .. } => types,
            Behaviour::Custom(custom) => custom.types(),
        }
    }

    /// The type of a built-in kind, for strategic merge. Custom resources have none.
    pub(crate) fn built_in_type(&self) -> Option<(&Types, StructId)> {
        match &self.behaviour {
            Behaviour::BuiltIn { types, root, .. } => Some((types, *root)),
            Behaviour::Custom(_) => None,
        }
    }

    /// How the parts of its objects are owned.
    pub fn shape(&self) -> Shape<'_> {
        match &self.behaviour {
            Behaviour::BuiltIn { types, root, .. } => Shape::Struct(types, *root),
            Behaviour::Custom(custom) => custom.shape(),
        }
    }

    /// The fields of `object` that a write through `subresource`, or to the object itself, does not reach and so never owns.
    pub fn unreached(&self, subresource: &str, object: &Value) -> Set {
        let has_status = self.subresource("status").is_some();
        match (subresource, object) {
            ("status", Value::Object(map)) if self.is_custom() => {
                let others = map.keys().filter(|key| *key != "status");
                others.fold(Set::default(), |all, key| all.union(&Set::of_names(&[key])))
            }
            ("status", _) => Set::of_names(&["spec"]),
            _ if has_status => Set::of_names(&["status"]),
            _ => Set::default(),
        }
    }

    /// What is special about a built-in kind.
    pub(crate) fn descriptor(&self) -> Option<&'static Descriptor> {
        match &self.behaviour {
            Behaviour::BuiltIn { descriptor, .. } => Some(descriptor),
            Behaviour::Custom(_) => None,
        }
    }

    /// What becomes of what its objects own, when a request to delete one does not say.
    pub fn dependents(&self) -> Dependents {
        self.descriptor().map_or(Dependents::Delete, |descriptor| descriptor.dependents)
    }

    /// Whether a CRD defines it.
    pub fn is_custom(&self) -> bool {
        matches!(self.behaviour, Behaviour::Custom(_))
    }

    /// Where a custom resource keeps its replicas, if it can be scaled.
    pub fn scale_paths(&self) -> Option<&ScalePaths> {
        self.custom()?.scale.as_ref()
    }

    /// What only custom resources have.
    pub(crate) fn custom(&self) -> Option<&CustomKind> {
        match &self.behaviour {
            Behaviour::BuiltIn { .. } => None,
            Behaviour::Custom(custom) => Some(custom),
        }
    }
}

/// Sets or removes a key of an object.
fn set(object: &mut Value, key: &str, value: Option<Value>) {
    if let Some(map) = object.as_object_mut() {
        match value {
            Some(value) => {
                map.insert(key.to_owned(), value);
            }
            None => {
                map.shift_remove(key);
            }
        }
    }
}

fn set_generation(object: &mut Value, generation: Option<i64>) {
    if let Some(meta) = object.child("metadata") {
        set(meta, "generation", generation.map(Value::from));
    }
}

fn keep_generation(old: &Value, new: &mut Value, changed: bool) {
    let before = old.int("/metadata/generation");
    set_generation(new, before.map(|generation| generation + i64::from(changed)));
}

/// Whether anything but the metadata and `ignored` differs.
fn differs(old: &Value, new: &Value, ignored: &[&str]) -> bool {
    let skip = |key: &str| matches!(key, "metadata" | "apiVersion" | "kind") || ignored.contains(&key);
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return true };
    let one_way = |a: &Map<String, Value>, b: &Map<String, Value>| {
        a.iter().any(|(key, value)| !skip(key) && b.get(key) != Some(value))
    };
    one_way(old, new) || one_way(new, old)
}
