//! What `kubectl get` shows: server-side tables with the columns and cells of Kubernetes' own printers.
//!
//! One `Printer` per kind, in the file of its family; custom resources bring their columns in their CRD. Pure: objects and the
//! time of day in, a `meta.k8s.io/v1 Table` out. Called by the API server for every request that accepts a table.

mod admission;
mod age;
mod apps;
mod batch;
mod core;
mod custom;
mod event;
mod format;
mod jsonpath;
mod network;
mod node;
mod pod;
mod policy;
mod storage;
mod stored;
mod told;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

pub(crate) use self::admission::{ADMISSION_BINDING, ADMISSION_POLICY, WEBHOOKS};
pub use self::age::human_duration;
pub(crate) use self::told::{API_SERVICE, COMPONENT_STATUS};
pub(crate) use apps::{CONTROLLER_REVISION, DAEMON_SET, DEPLOYMENT, REPLICA_SET, STATEFUL_SET};
pub(crate) use batch::{CRON_JOB, JOB};
pub(crate) use core::{
    CONFIG_MAP, ENDPOINTS, NAME_AND_AGE, NAME_AND_CREATED_AT, NAMESPACE, RESOURCE_QUOTA, SECRET, SERVICE,
};
pub(crate) use custom::CustomColumn;
pub(crate) use event::EVENT;
pub use jsonpath::{JsonPath, JsonPathError};
pub(crate) use network::{ENDPOINT_SLICE, INGRESS, INGRESS_CLASS, NETWORK_POLICY};
pub(crate) use node::NODE;
pub(crate) use pod::POD;
pub(crate) use policy::{
    AUTOSCALER, AUTOSCALER_V1, CERTIFICATE_REQUEST, DISRUPTION_BUDGET, LEASE, PRIORITY_CLASS, ROLE_BINDING,
    RUNTIME_CLASS, SCALE, STORAGE_CLASS,
};
pub(crate) use storage::{CLAIM, VOLUME};
pub(crate) use stored::{metadata_text, row_text};

use crate::registry::Resource;
use crate::schema::Json;

/// How much of each object goes along with its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// The metadata: what kubectl asks for.
    #[default]
    Metadata,
    /// All of it: what kubectl asks for when it sorts.
    Object,
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    name: &'static str,
    kind: &'static str,
    format: &'static str,
    priority: u8,
}

impl Column {
    fn definition(&self) -> Value {
        json!({
            "name": self.name, "type": self.kind, "format": self.format, "description": "", "priority": self.priority,
        })
    }
}

/// A column of text.
const fn text(name: &'static str) -> Column {
    Column { name, kind: "string", format: "", priority: 0 }
}

/// A column of whole numbers.
const fn int(name: &'static str) -> Column {
    Column { name, kind: "integer", format: "", priority: 0 }
}

/// A column that is shown with `-o wide` only.
const fn wide(name: &'static str) -> Column {
    Column { name, kind: "string", format: "", priority: 1 }
}

const NAME: Column = Column { name: "Name", kind: "string", format: "name", priority: 0 };
const AGE: Column = text("Age");

/// The columns of a kind and how they are filled.
#[derive(Clone, Copy)]
pub struct Printer {
    columns: &'static [Column],
    cells: fn(&Value, Timestamp) -> Vec<Value>,
    conditions: fn(&Value) -> Option<Value>,
    /// Paths of all that the cells and conditions are made of, where most of an object is something else; empty: the whole object.
    reads: &'static [&'static str],
}

impl Printer {
    const fn new(columns: &'static [Column], cells: fn(&Value, Timestamp) -> Vec<Value>) -> Self {
        Self { columns, cells, conditions: no_conditions, reads: &[] }
    }
}

fn no_conditions(_: &Value) -> Option<Value> {
    None
}

/// A table of `objects`. `metadata` is the list's. A watch sends the column definitions with its first event only.
pub fn render<'a>(
    resource: &Resource,
    objects: impl IntoIterator<Item = &'a Value>,
    metadata: Value,
    include: IncludeObject,
    with_columns: bool,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> = objects.into_iter().map(|object| row(resource, object, include, now)).collect();
    let columns = if with_columns { Value::Array(columns(resource)) } else { Value::Null };
    table(metadata, columns, rows)
}

fn table(metadata: Value, columns: Value, rows: Vec<Value>) -> Value {
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

/// A table of one `Scale`, whose columns are not its resource's.
pub(crate) fn of_scale(scale: &Value, include: IncludeObject, now: Timestamp) -> Value {
    let metadata = json!({"resourceVersion": scale["metadata"]["resourceVersion"]});
    let mut row = json!({"cells": (SCALE.cells)(scale, now)});
    if let Some(object) = included(scale, include) {
        row.put("object", object);
    }
    table(metadata, SCALE.columns.iter().map(Column::definition).collect(), vec![row])
}

/// One row of a table.
pub(crate) fn row(resource: &Resource, object: &Value, include: IncludeObject, now: Timestamp) -> Value {
    let mut row = Map::new();
    row.insert("cells".to_owned(), Value::Array(cells(resource, object, now)));
    if let Some(conditions) = conditions(resource, object) {
        row.insert("conditions".to_owned(), conditions);
    }
    if let Some(object) = included(object, include) {
        row.insert("object".to_owned(), object);
    }
    Value::Object(row)
}

fn included(object: &Value, include: IncludeObject) -> Option<Value> {
    match include {
        IncludeObject::None => None,
        IncludeObject::Metadata => Some(partial_metadata(object)),
        IncludeObject::Object => Some(object.clone()),
    }
}

/// The object reduced to a `PartialObjectMetadata`.
pub fn partial_metadata(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

fn columns(resource: &Resource) -> Vec<Value> {
    match resource.custom() {
        Some(kind) => custom::columns(&kind.columns),
        None => {
            let printer = resource.printer().unwrap_or(&NAME_AND_AGE);
            printer.columns.iter().map(|one| one.definition()).collect()
        }
    }
}

fn cells(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    match resource.custom() {
        Some(kind) => custom::cells(&kind.columns, object, now),
        None => (resource.printer().unwrap_or(&NAME_AND_AGE).cells)(object, now),
    }
}

fn conditions(resource: &Resource, object: &Value) -> Option<Value> {
    resource.printer().and_then(|printer| (printer.conditions)(object))
}

#[cfg(test)]
mod tests;
