//! Custom kinds: resources that a CRD defines.

use std::sync::Arc;

use serde_json::{Value, json};

use super::descriptor::{ALL_VERBS, SCALE, STATUS};
use super::resource::{Behaviour, Resource};
use crate::schema::custom::Schema;
use crate::schema::types::{DecodeError, StructId, Types};
use crate::schema::{Errors, Json, Path, Shape};
use crate::table::CustomColumn;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Where the replicas of a custom resource stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// JSON path of the wanted number, `.spec.replicas`.
    pub spec_replicas: String,
    /// JSON path of the present number.
    pub status_replicas: String,
    /// JSON path of the selector in text form, if there is one.
    pub label_selector: Option<String>,
}

/// One served version of a CRD.
pub(crate) struct CustomKind {
    schema: Schema,
    /// The schema as it was written, for OpenAPI; as text, because it is seldom read.
    source: Box<str>,
    has_defaults: bool,
    /// What users of a deprecated version are told.
    deprecation: Option<Box<str>>,
    pub(crate) has_status: bool,
    pub(crate) scale: Option<ScalePaths>,
    pub(crate) columns: Vec<CustomColumn>,
    types: Arc<Types>,
    meta: StructId,
}

/// The resources of a CRD: one per served version.
pub(super) fn resources(crd: &Value, types: &Arc<Types>) -> Vec<Resource> {
    let Some(meta) = types.find(OBJECT_META) else { return Vec::new() };
    let versions = crd.list("/spec/versions").iter();
    versions
        .filter(|version| version.flag("/served"))
        .map(|version| resource(crd, version, types, meta))
        .collect()
}

fn resource(crd: &Value, version: &Value, types: &Arc<Types>, meta: StructId) -> Resource {
    let own = |pointer: &str| crd.text(pointer).to_owned();
    let list =
        |pointer: &str| crd.list(pointer).iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
    let kind = own("/spec/names/kind");
    let source = version.pointer("/schema/openAPIV3Schema");
    let text = source.map(Value::to_string).unwrap_or_default();
    let has_status = version.has("/subresources/status");
    let scale = version.pointer("/subresources/scale").map(|paths| ScalePaths {
        spec_replicas: paths.text("/specReplicasPath").to_owned(),
        status_replicas: paths.text("/statusReplicasPath").to_owned(),
        label_selector: Some(paths.text("/labelSelectorPath").to_owned()).filter(|path| !path.is_empty()),
    });
    let subresources =
        scale.is_some().then_some(SCALE).into_iter().chain(has_status.then_some(STATUS)).collect();
    let custom = CustomKind {
        schema: source.map_or_else(Schema::anything, Schema::compile),
        has_defaults: text.contains("\"default\":"),
        deprecation: version.flag("/deprecated").then(|| {
            let own = version.text("/deprecationWarning");
            if !own.is_empty() {
                return own.into();
            }
            format!("{}/{} {kind} is deprecated", crd.text("/spec/group"), version.text("/name")).into()
        }),
        source: text.into(),
        has_status,
        scale,
        columns: CustomColumn::of(version),
        types: Arc::clone(types),
        meta,
    };
    let or = |text: String, otherwise: String| if text.is_empty() { otherwise } else { text };
    Resource {
        group: own("/spec/group"),
        version: version.text("/name").to_owned(),
        list_kind: or(own("/spec/names/listKind"), format!("{kind}List")),
        plural: own("/spec/names/plural"),
        singular: or(own("/spec/names/singular"), kind.to_lowercase()),
        kind,
        short_names: list("/spec/names/shortNames"),
        categories: list("/spec/names/categories"),
        namespaced: crd.text("/spec/scope") == "Namespaced",
        // Nothing new while the definition goes.
        verbs: ALL_VERBS
            .iter()
            .filter(|verb| **verb != "create" || !crd.has("/metadata/deletionTimestamp"))
            .copied()
            .collect(),
        subresources,
        create_on_update: false,
        unconditional_update: false,
        own_fields: version
            .list("/selectableFields")
            .iter()
            .map(|field| field.text("/jsonPath").trim_start_matches('.').to_owned())
            .collect(),
        behaviour: Behaviour::Custom(Box::new(custom)),
    }
}

impl CustomKind {
    /// Checks the metadata like any kind's and drops what the schema does not know.
    pub(super) fn decode(&self, object: &mut Value) -> Result<Vec<String>, DecodeError> {
        let mut unknown = Vec::new();
        if let Some(meta) = object.get_mut("metadata") {
            unknown = self.types.decode_at(self.meta, meta, &Path::Root.field("metadata"))?.unknown;
        }
        unknown.extend(self.schema.prune(object));
        Ok(unknown)
    }

    pub(super) fn default(&self, object: &mut Value) {
        self.schema.apply_defaults(object);
    }

    /// Whether what was stored under an older definition may lack something.
    pub(super) fn has_defaults(&self) -> bool {
        self.has_defaults
    }

    /// What users of this version are told, if it is deprecated.
    pub(super) fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }

    /// The built-in types.
    pub(super) fn types(&self) -> &Types {
        &self.types
    }

    pub(super) fn shape(&self) -> Shape<'_> {
        Shape::CustomResource(&self.schema, &self.types, self.meta)
    }

    /// Everything that is wrong with a change. What the definition no longer knows of the old object is no change.
    pub(super) fn validate_update(&self, old: &Value, new: &Value, errors: &mut Errors) {
        let mut old = old.clone();
        self.schema.prune(&mut old);
        self.schema.validate(new, Some(&old), errors);
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The schema as it was written.
    pub(crate) fn source_text(&self) -> &str {
        &self.source
    }

    /// The same as a document.
    pub(crate) fn source(&self) -> Value {
        serde_json::from_str(&self.source).unwrap_or_else(|_| json!({"type": "object"}))
    }
}
