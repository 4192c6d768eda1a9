//! OpenAPI: what `kubectl explain` shows and what `kubectl apply` looks at before it sends. Version 3 is one document per group and
//! version, version 2 (`v2`) one for all, for kubectl before 1.27.
//!
//! Schemas are those of `k8s-openapi` and of the CRDs. Documents are built when they are asked for and not kept: they are large,
//! and clients cache them by their tag. Version 3 does not advertise strategic merge, so kubectl uses its compiled-in merge keys.

mod document;
mod paths;
mod schemas;
pub mod v2;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub use document::document;

use crate::discovery;
use crate::registry::{Resource, Snapshot};

/// `/openapi/v3`: where each document is.
pub fn index(snapshot: &Snapshot) -> Value {
    let mut paths = Map::new();
    let mut add = |path: String, group: &str, version: &str| {
        let url = format!("/openapi/v3/{path}?hash={}", hash(snapshot, group, version));
        paths.insert(path, json!({"serverRelativeURL": url}));
    };
    add("api/v1".to_owned(), "", "v1");
    for (group, versions) in discovery::groups(snapshot) {
        for version in versions {
            add(format!("apis/{group}/{version}"), group, version);
        }
    }
    json!({"paths": paths})
}

/// Changes when the document of version 3 would.
pub fn hash(snapshot: &Snapshot, group: &str, version: &str) -> String {
    hash_of(snapshot.resources.iter().filter(|one| one.group == group && one.version == version))
}

/// Changes when the document of version 2 would.
pub fn hash_v2(snapshot: &Snapshot) -> String {
    hash_of(snapshot.resources.iter())
}

fn hash_of<'a>(resources: impl Iterator<Item = &'a Arc<Resource>>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(env!("CARGO_PKG_VERSION"));
    for resource in resources {
        hasher.update(resource.group.as_bytes());
        hasher.update(resource.version.as_bytes());
        hasher.update(resource.plural.as_bytes());
        hasher.update(resource.kind.as_bytes());
        for sub in &resource.subresources {
            hasher.update(sub.name.as_bytes());
        }
        if let Some(custom) = resource.custom() {
            hasher.update(custom.source_text());
        }
    }
    hex::encode_upper(hasher.finalize())
}

#[cfg(test)]
mod tests;
