//! One document of version 3: schemas and paths of a group and version.

use serde_json::{Map, Value, json};

use super::{paths, schemas};
use crate::registry::Snapshot;

/// `/openapi/v3/apis/GROUP/VERSION`, or nothing if it is not served.
pub fn document(snapshot: &Snapshot, group: &str, version: &str) -> Option<Value> {
    let mut generator = schemas::generator();
    let mut custom = Map::new();
    let mut paths = Map::new();
    let mut types = None;
    for resource in snapshot.resources.iter().filter(|one| one.group == group && one.version == version) {
        paths::add(resource, &mut paths);
        schemas::add_built_in(resource, &mut generator);
        types = types.or_else(|| Some(resource.types()));
        if let Some(kind) = resource.custom() {
            custom.insert(schemas::custom_name(resource), schemas::custom(resource, kind.source()));
        }
    }
    if paths.is_empty() {
        return None;
    }
    let mut all = schemas::finish(generator, types, &schemas::kinds(snapshot));
    all.extend(custom);
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths,
        "components": {"schemas": all},
    }))
}
