//! Objects as the graph sees them.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use kube::core::{ApiResource, DynamicObject};
use serde::Deserialize;

/// What of an object's metadata says where it is, whose it is, and whether it is going. What managers own is often larger than all
/// the rest, and is not even read.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Told")]
pub(super) struct Lean {
    pub(super) metadata: ObjectMeta,
}

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    metadata: Metadata,
}

/// The fields that are read.
macro_rules! metadata {
    ($($field:ident: $kind:ty,)*) => {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Metadata {
            $($field: Option<$kind>,)*
        }

        impl From<Metadata> for ObjectMeta {
            fn from(read: Metadata) -> Self {
                Self { $($field: read.$field,)* ..Self::default() }
            }
        }
    };
}

metadata! {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    deletion_timestamp: Time,
    finalizers: Vec<String>,
    owner_references: Vec<OwnerReference>,
}

impl From<Told> for Lean {
    fn from(Told { metadata }: Told) -> Self {
        Self { metadata: metadata.into() }
    }
}

impl Resource for Lean {
    type DynamicType = ApiResource;
    type Scope = <DynamicObject as Resource>::Scope;

    fn metadata_api() -> bool {
        true
    }

    fn kind(kind: &ApiResource) -> Cow<'_, str> {
        DynamicObject::kind(kind)
    }

    fn group(kind: &ApiResource) -> Cow<'_, str> {
        DynamicObject::group(kind)
    }

    fn version(kind: &ApiResource) -> Cow<'_, str> {
        DynamicObject::version(kind)
    }

    fn plural(kind: &ApiResource) -> Cow<'_, str> {
        DynamicObject::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_an_object_only_what_the_graph_needs_is_kept() {
        let object: Lean = serde_json::from_value(json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {
                "name": "n", "namespace": "ns", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"},
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}],
                "deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["orphan"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "ou"}],
            },
        }))
        .unwrap();
        assert_eq!(
            serde_json::to_value(&object.metadata).unwrap(),
            json!({
                "name": "n", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                "deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["orphan"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "ou"}],
            })
        );
    }
}
