//! What is special about a built-in kind. One `Descriptor` per kind, in the file of its family; what it leaves out is what
//! every kind does.

use std::borrow::Cow;

use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope, SubResourceScope};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::names::{self, Check};
use crate::schema::Errors;
use crate::schema::types::RootSchema;
use crate::table::{self, Printer};

/// The verbs of a stored kind.
pub(super) const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The verbs of `status` and `scale`.
pub(super) const EDIT: &[&str] = &["get", "patch", "update"];

/// A part of an object with a URL of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Last segment of the URL.
    pub name: &'static str,
    /// Group, version and kind of its body, when they differ from the parent's.
    pub body: Option<(&'static str, &'static str, &'static str)>,
    /// What can be done with it.
    pub verbs: &'static [&'static str],
}

/// `status`: written by agents and controllers, never together with the rest.
pub(super) const STATUS: Subresource = Subresource { name: "status", body: None, verbs: EDIT };
/// `scale`: the replicas alone.
pub(super) const SCALE: Subresource =
    Subresource { name: "scale", body: Some(("autoscaling", "v1", "Scale")), verbs: EDIT };

/// What becomes of what an object owns, when a request to delete the object does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependents {
    /// It goes, too.
    Delete,
    /// It stays.
    Orphan,
    /// The kind owns nothing, whatever a request says.
    None,
}

/// What is special about a built-in kind.
#[derive(Clone, Copy)]
pub struct Descriptor {
    /// API group, empty for core.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// Kind, `Pod`.
    pub kind: &'static str,
    /// Name in URLs, `pods`.
    pub plural: &'static str,
    /// What kubectl accepts instead of the plural.
    pub short_names: &'static [&'static str],
    /// Groups such as `all` in `kubectl get all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: &'static [&'static str],
    /// Parts with URLs of their own.
    pub subresources: &'static [Subresource],
    /// Whether a change of the spec counts up `metadata.generation`.
    pub generations: bool,
    /// Whether the first write may come as a status write of the same request (nodes register with their status).
    pub keeps_status_on_create: bool,
    /// Whether PUT of a missing object creates it.
    pub create_on_update: bool,
    /// Whether PUT without a resource version is accepted.
    pub unconditional_update: bool,
    /// What its users are told, if it is deprecated.
    pub deprecation: Option<&'static str>,
    /// What becomes of what its objects own.
    pub dependents: Dependents,
    /// Where it is stored when that is not its own group and plural.
    pub stored_as: Option<(&'static str, &'static str)>,
    /// The form of its names.
    pub name: Check,
    /// The schema of its type.
    pub schema: RootSchema,
    /// The full definition name of its type.
    pub definition: fn() -> Cow<'static, str>,
    /// Fills in what the user left out.
    pub default: fn(&mut Value),
    /// What the server sets on a new object, after defaults.
    pub prepare_create: fn(&mut Value),
    /// What an update may not touch is put back from the old object.
    pub prepare_update: fn(&Value, &mut Value),
    /// Rules for new and changed objects, besides the metadata's.
    pub validate: fn(&Value, &mut Errors),
    /// Rules for changes.
    pub validate_update: fn(&Value, &Value, &mut Errors),
    /// From the form of the wire to the stored form, when they differ.
    pub to_stored: fn(&mut Value),
    /// And back.
    pub from_stored: fn(&mut Value),
    /// The columns of `kubectl get`.
    pub printer: Printer,
}

/// Whether a scope of `k8s-openapi` is inside a namespace.
pub(super) trait Scoped {
    const NAMESPACED: bool;
}

impl Scoped for NamespaceResourceScope {
    const NAMESPACED: bool = true;
}

impl Scoped for ClusterResourceScope {
    const NAMESPACED: bool = false;
}

impl Scoped for SubResourceScope {
    const NAMESPACED: bool = true;
}

impl Descriptor {
    /// A kind about which nothing is special.
    pub(super) const fn of<T>() -> Self
    where
        T: k8s_openapi::Resource + JsonSchema,
        T::Scope: Scoped,
    {
        Self {
            group: T::GROUP,
            version: T::VERSION,
            kind: T::KIND,
            plural: T::URL_PATH_SEGMENT,
            short_names: &[],
            categories: &[],
            namespaced: <T::Scope as Scoped>::NAMESPACED,
            verbs: ALL_VERBS,
            subresources: &[],
            generations: false,
            keeps_status_on_create: false,
            create_on_update: false,
            unconditional_update: true,
            deprecation: None,
            dependents: Dependents::Delete,
            stored_as: None,
            name: names::dns_subdomain,
            schema: schema_of::<T>,
            definition: T::schema_name,
            default: no_change,
            prepare_create: no_change,
            prepare_update: no_restore,
            validate: no_rule,
            validate_update: no_update_rule,
            to_stored: no_change,
            from_stored: no_change,
            printer: table::NAME_AND_AGE,
        }
    }

    /// A kind that is only answered, never stored: reviews.
    pub(super) const fn review<T>() -> Self
    where
        T: k8s_openapi::Resource + JsonSchema,
        T::Scope: Scoped,
    {
        Self { verbs: &["create"], ..Self::of::<T>() }
    }

    /// Whether it has a status that is written on its own.
    pub fn has_status(&self) -> bool {
        self.subresources.contains(&STATUS)
    }
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn no_change(_: &mut Value) {}

fn no_restore(_: &Value, _: &mut Value) {}

fn no_rule(_: &Value, _: &mut Errors) {}

fn no_update_rule(_: &Value, _: &Value, _: &mut Errors) {}
