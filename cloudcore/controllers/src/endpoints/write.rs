//! Carries a plan for slices out.

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};

use super::TRIGGER;
use super::dress::{self, Texts};
use super::packing::{Group, Plan};
use crate::cache::Cached;
use crate::claim::reference;
use crate::error::Error;
use crate::pods::control::{is_namespace_going, this_one};
use crate::writes::Writes;

/// What all slices of an owner have in common.
pub(super) struct Dress {
    pub(super) labels: Texts,
    pub(super) annotations: Texts,
    /// When the change happened that led here.
    pub(super) trigger: Option<Timestamp>,
}

impl Dress {
    /// Whether a slice has these labels and annotations. The time of the last change does not count.
    pub(super) fn is_worn_by(&self, slice: &EndpointSlice) -> bool {
        slice.labels() == &self.labels
            && self.annotations.iter().all(|(key, value)| slice.annotations().get(key) == Some(value))
    }

    fn annotations(&self) -> Value {
        let mut annotations = json!(self.annotations);
        annotations[TRIGGER] = self.trigger.map_or(Value::Null, |at| json!(at.to_string()));
        annotations
    }
}

/// Does what the plan says, and notes in `writes` that it did so for `owner`.
///
/// # Errors
/// If the API refuses for another reason than that the namespace is going.
pub(super) async fn carry_out<O>(
    client: &Client,
    owner: &O,
    plan: Plan,
    dress: &Dress,
    writes: &Writes,
) -> Result<(), Error>
where
    O: Cached + Resource<Scope = NamespaceResourceScope>,
{
    let api = Api::<EndpointSlice>::namespaced(client.clone(), &owner.namespace().unwrap_or_default());
    for group in plan.create {
        match api.create(&PostParams::default(), &slice(owner, group, dress)).await {
            Ok(made) => writes.wrote(owner, &made),
            Err(error) if is_namespace_going(&error) => return Ok(()),
            Err(error) => return Err(Error::api("create an endpoint slice")(error)),
        }
    }
    for (slice, group) in plan.update {
        let patch = json!({
            "metadata": dress::change(&*slice, &dress.labels, &dress.annotations()),
            "endpoints": group.endpoints, "ports": group.ports,
        });
        let written = api.patch(&slice.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        writes.wrote(owner, &written.map_err(Error::api("update an endpoint slice"))?);
    }
    for slice in plan.delete {
        match api.delete(&slice.name_any(), &this_one(&*slice)).await {
            Ok(_) => writes.deleted(owner, &*slice),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(Error::api("delete an endpoint slice")(error)),
        }
    }
    Ok(())
}

fn slice<O: Resource<DynamicType = ()>>(owner: &O, group: Group, dress: &Dress) -> EndpointSlice {
    let mut annotations = dress.annotations.clone();
    annotations.extend(dress.trigger.map(|at| (TRIGGER.to_owned(), at.to_string())));
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", owner.name_any())),
            labels: Some(dress.labels.clone()),
            annotations: Some(annotations).filter(|all| !all.is_empty()),
            owner_references: Some(vec![reference(owner)]),
            ..ObjectMeta::default()
        },
        address_type: group.address_type,
        endpoints: Some(group.endpoints),
        ports: Some(group.ports),
    }
}
