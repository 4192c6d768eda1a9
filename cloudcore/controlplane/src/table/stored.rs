//! Rows of objects as they are stored: only what the cells show is parsed, and the metadata goes along as it is written.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{IncludeObject, cells, conditions};
use crate::registry::Resource;
use crate::selector::Skeleton;

#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

#[derive(Serialize)]
struct Partial<'a> {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    metadata: &'a RawValue,
}

#[derive(Serialize)]
struct Row<'a> {
    cells: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conditions: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Partial<'a>>,
}

impl<'a> Partial<'a> {
    fn of(document: &'a [u8]) -> Result<Self, serde_json::Error> {
        let Outline { metadata } = serde_json::from_slice(document)?;
        Ok(Self { kind: "PartialObjectMetadata", api_version: "meta.k8s.io/v1", metadata })
    }
}

/// The document reduced to a `PartialObjectMetadata`.
///
/// # Errors
/// When it is not the JSON of an object with metadata.
pub(crate) fn metadata_text(document: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Partial::of(document)?)
}

/// One row of a table, with the metadata of its object or without any object.
///
/// # Errors
/// As [`metadata_text`].
pub(crate) fn row_text(
    resource: &Resource,
    document: &[u8],
    include: IncludeObject,
    now: Timestamp,
) -> Result<Vec<u8>, serde_json::Error> {
    let parts = resource.printer().map_or(&[][..], |printer| printer.reads);
    let object: Value = if parts.is_empty() {
        serde_json::from_slice(document)?
    } else {
        Skeleton::of(parts.iter().copied()).read(document)?
    };
    let shown = if include == IncludeObject::None { None } else { Some(Partial::of(document)?) };
    let row = Row {
        cells: cells(resource, &object, now),
        conditions: conditions(resource, &object),
        object: shown,
    };
    serde_json::to_vec(&row)
}
