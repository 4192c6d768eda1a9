//! Rules that need to see other objects or the caller, in the order of Kubernetes' admission chain. One file per plugin.
//!
//! May call: `auth`, `store` (to read). Called by: `objects`, with every write before it is validated.

mod accounts;
mod certificates;
mod classes;
mod devices;
mod escalation;
mod limits;
mod nodes;
mod priority;
mod quota;
mod rules;
mod services;
mod tolerations;

pub(super) use certificates::decide;
pub(crate) use quota::usage;
pub(super) use quota::{check as count, holds as has_quota};
pub(crate) use services::API_SERVICE;

use serde_json::Value;

use super::objects::Part;
use super::{Api, Target, metadata};
use crate::status::Status;
use crate::store::{Collection, Key, ListQuery, ObjectId};

/// These may not be deleted.
const PROTECTED: &[&str] = &["default", "kube-system", "kube-public"];

/// A new object needs a namespace that is there to stay.
pub(super) fn namespace(api: &Api, target: &Target, object: &Value) -> Result<(), Status> {
    if !target.resource.namespaced {
        return Ok(());
    }
    let id = ObjectId::new(&Collection::new("", "namespaces"), "", &target.namespace);
    let Some(namespace) = api.store.get(&id) else {
        return Err(Status::not_found("", "namespaces", &target.namespace));
    };
    if !metadata::is_terminating(&namespace.value()) {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {} because it is being terminated",
        target.namespace
    );
    let message = format!("namespace {} is being terminated", target.namespace);
    let name = metadata::text(object, "name");
    Err(Status::forbidden(&target.resource.group, &target.resource.plural, name, &why).with_cause(
        "NamespaceTerminating",
        &message,
        "metadata.namespace",
    ))
}

/// Fills in what a new object takes from others. Addresses and ports of services come later: they are given away under a lock.
pub(super) fn fill(api: &Api, target: &Target, object: &mut Value) -> Result<(), Status> {
    limits::apply(api, target, object)?;
    certificates::create(target, object)?;
    if target.is_core("pods") {
        accounts::admit(api, target, object)?;
    }
    nodes::create(target, object)?;
    if target.is_core("nodes") {
        nodes::not_ready_yet(object);
    }
    if target.is_core("pods") {
        priority::admit(api, target, object)?;
        tolerations::admit(object);
        crate::registry::classify_pod(object);
    }
    classes::admit(api, target, object);
    Ok(())
}

/// Fills in and checks what a new object takes from others. What quotas allow is asked last, by [`count`].
pub(super) fn create(api: &Api, target: &Target, object: &mut Value) -> Result<(), Status> {
    fill(api, target, object)?;
    if target.is_core("services") {
        services::create(api, target, object)?;
    }
    priority::only_one_default(api, target, object)?;
    rules::check(api, target, None, object)?;
    devices::check(api, target, None, object)?;
    escalation::check(api, target, None, object)
}

/// The same for a changed object.
pub(super) fn update(api: &Api, target: &Target, old: &Value, new: &mut Value) -> Result<(), Status> {
    if target.is_core("services") {
        services::update(api, target, old, new)?;
    }
    limits::check_update(api, target, new)?;
    priority::only_one_default(api, target, new)?;
    rules::check(api, target, Some(old), new)?;
    devices::check(api, target, Some(old), new)?;
    escalation::check(api, target, Some(old), new)
}

/// What the caller may not change in an object that it may change.
pub(super) fn restrict(
    api: &Api,
    target: &Target,
    part: Part,
    old: &Value,
    new: &Value,
) -> Result<(), Status> {
    certificates::restrict(api, target, part, old, new)?;
    nodes::update(target, part, old, new)
}

/// What may not go.
pub(super) fn remove(target: &Target, object: &Value) -> Result<(), Status> {
    if target.is_core("namespaces") && PROTECTED.contains(&target.name.as_str()) {
        return Err(Status::forbidden("", "namespaces", &target.name, "this namespace may not be deleted"));
    }
    nodes::remove(target, object)
}

/// All objects of a kind, in one namespace or in all.
pub(super) fn all(api: &Api, group: &str, plural: &str, namespace: Option<&str>) -> Vec<(Key, Value)> {
    let collection = Collection::new(group, plural);
    let query = ListQuery { collection: &collection, namespace, at: None, after: None, limit: 0 };
    // The newest state is always there.
    let page = api.store.list(&query, |_| true).map(|page| page.objects).unwrap_or_default();
    page.into_iter().map(|(key, object)| (key, object.value())).collect()
}

/// One object of a kind.
pub(super) fn one(api: &Api, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Value> {
    Some(api.store.get(&ObjectId::new(&Collection::new(group, plural), namespace, name))?.value())
}

/// `pods "x" is forbidden: why`, with the name as far as it is known.
fn forbidden(target: &Target, object: &Value, why: &str) -> Status {
    let name = metadata::text(object, "name");
    let name = if name.is_empty() { metadata::text(object, "generateName") } else { name };
    Status::forbidden(&target.resource.group, &target.resource.plural, name, why)
}
