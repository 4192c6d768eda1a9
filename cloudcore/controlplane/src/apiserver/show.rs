//! Objects as clients asked to see them.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::auth::Identity;
use super::call::Call;
use super::http::{Accept, Representation, json_bytes, json_value};
use crate::registry::Resource;
use crate::store::Object;
use crate::table::{self, IncludeObject, partial_metadata};

/// An object on its way out.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    /// As it is stored.
    Stored(Arc<Object>),
    /// In the form of its resource, not stored: dry runs and last states.
    Loose(Value),
}

/// The document in the form of `resource`, not parsed where it is stored in that form.
pub(super) fn json(resource: &Resource, object: &Object) -> Bytes {
    if let Some(text) = stored_text(resource, object) {
        return text;
    }
    // Serialising a `Value` into memory cannot fail; an empty document keeps this total.
    serde_json::to_vec(&value(resource, object)).unwrap_or_default().into()
}

/// The metadata of the object alone.
pub(super) fn metadata(resource: &Resource, object: &Object) -> Bytes {
    let text = stored_text(resource, object).and_then(|text| table::metadata_text(&text).ok());
    text.unwrap_or_else(|| partial_metadata(&value(resource, object)).to_string().into_bytes()).into()
}

/// The object's row in a table.
pub(super) fn table_row(
    resource: &Resource,
    object: &Object,
    include: IncludeObject,
    now: Timestamp,
) -> Bytes {
    let text = stored_text(resource, object).filter(|_| include != IncludeObject::Object);
    let row = text.and_then(|text| table::row_text(resource, &text, include, now).ok());
    let parsed = || table::row(resource, &value(resource, object), include, now).to_string().into_bytes();
    row.unwrap_or_else(parsed).into()
}

/// The document, if clients see it as it is stored.
fn stored_text(resource: &Resource, object: &Object) -> Option<Bytes> {
    is_as_stored(resource, object).then(|| object.json())
}

/// The document in the form of `resource`, parsed.
pub(crate) fn value(resource: &Resource, object: &Object) -> Value {
    let mut value = object.value();
    if !is_as_stored(resource, object) {
        resource.from_stored(&mut value);
    }
    value
}

fn is_as_stored(resource: &Resource, object: &Object) -> bool {
    *object.index.api_version == resource.api_version() && !resource.completes_stored()
}

impl Shown {
    pub(crate) fn into_value(self, resource: &Resource) -> Value {
        match self {
            Self::Stored(object) => value(resource, &object),
            Self::Loose(value) => value,
        }
    }
}

/// A caller, as reviews and audit events show it.
pub(super) fn user_info(who: &Identity) -> Value {
    let mut user = json!({"username": who.user, "groups": who.groups});
    if !who.uid.is_empty() {
        user["uid"] = json!(who.uid);
    }
    if !who.extra.is_empty() {
        user["extra"] = json!(who.extra);
    }
    user
}

/// Which part of the objects goes into the rows of a table.
pub(super) fn include(call: &Call) -> IncludeObject {
    match call.query.get("includeObject") {
        Some("None") => IncludeObject::None,
        Some("Object") => IncludeObject::Object,
        _ => IncludeObject::Metadata,
    }
}

/// A table with one row.
pub(super) fn row(call: &Call, object: &Value, with_columns: bool) -> Value {
    let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
    table::render(&call.target.resource, [object], metadata, include(call), with_columns, Timestamp::now())
}

/// An answer with all of a few objects.
pub(super) fn all(call: &Call, objects: &[Value], revision: u64) -> Response {
    let resource = &call.target.resource;
    let metadata = json!({"resourceVersion": revision.to_string()});
    let list = match call.accept.representation {
        Representation::Table => {
            table::render(resource, objects, metadata, include(call), true, Timestamp::now())
        }
        Representation::Metadata => {
            let items: Vec<Value> = objects.iter().map(partial_metadata).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items})
        }
        Representation::Object | Representation::Discovery(_) => json!({
            "kind": resource.list_kind, "apiVersion": resource.api_version(), "metadata": metadata, "items": objects,
        }),
    };
    json_value(StatusCode::OK, &list, call.accept)
}

/// An answer with one object.
pub(super) fn one(call: &Call, code: StatusCode, shown: Shown) -> Response {
    let resource = &call.target.resource;
    let plain = Accept { yaml: false, pretty: false, ..call.accept };
    match (call.accept.representation, shown) {
        (Representation::Object | Representation::Discovery(_), Shown::Stored(object))
            if plain == call.accept =>
        {
            let mut body = json(resource, &object).to_vec();
            body.push(b'\n');
            json_bytes(code, body)
        }
        (Representation::Object | Representation::Discovery(_), shown) => {
            json_value(code, &shown.into_value(resource), call.accept)
        }
        (Representation::Metadata, shown) => {
            json_value(code, &partial_metadata(&shown.into_value(resource)), call.accept)
        }
        (Representation::Table, shown) => {
            let value = shown.into_value(resource);
            let table = row(call, &value, true);
            json_value(code, &table, call.accept)
        }
    }
}
