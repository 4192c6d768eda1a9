//! Roles and bindings: nobody grants what they do not have.
//!
//! Source: Kubernetes v1.36 `pkg/registry/rbac/{role,clusterrole,rolebinding,clusterrolebinding}/policybased`.

use serde_json::Value;

use super::super::auth::{Attributes, Identity, allowed, escalation, granted, rules};
use super::{Api, Target, forbidden};
use crate::schema::Json;
use crate::status::Status;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Checks a new or changed role or binding; `old` is what it was.
pub(super) fn check(api: &Api, target: &Target, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    let Some(who) = target.who.as_deref().filter(|who| !who.is_master()) else { return Ok(()) };
    if target.resource.group != GROUP || old.is_some_and(|old| only_for_the_collector(old, new)) {
        return Ok(());
    }
    let wanted = match target.resource.plural.as_str() {
        plural @ ("roles" | "clusterroles") => {
            if may(api, who, "escalate", plural, &target.namespace, &target.name) {
                return Ok(());
            }
            let gathers = |role: &Value| role.has("/aggregationRule");
            if gathers(new) || old.is_some_and(gathers) {
                let held = rules(&api.store, who, &target.namespace);
                if escalation::refusal(who, &held, &escalation::everything()).is_some() {
                    let why = "must have cluster-admin privileges to use the aggregationRule";
                    return Err(forbidden(target, new, why));
                }
            }
            new.list("/rules").to_vec()
        }
        _ => {
            let (kind, name) = (new.text("/roleRef/kind"), new.text("/roleRef/name"));
            let plural = if kind == "Role" { "roles" } else { "clusterroles" };
            if may(api, who, "bind", plural, &target.namespace, name) {
                return Ok(());
            }
            // A reference to something that is no role is for validation to refuse.
            if !matches!(kind, "Role" | "ClusterRole") {
                return Ok(());
            }
            granted(&api.store, new, &target.namespace)
                .ok_or_else(|| Status::not_found(GROUP, plural, name))?
        }
    };
    let held = rules(&api.store, who, &target.namespace);
    match escalation::refusal(who, &held, &wanted) {
        Some(why) => Err(forbidden(target, new, &why)),
        None => Ok(()),
    }
}

fn may(api: &Api, who: &Identity, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
    allowed(
        &api.store,
        who,
        Attributes::Resource { verb, group: GROUP, resource, namespace, name, fields: "" },
    )
}

/// Whether a change touches only what the garbage collector needs.
fn only_for_the_collector(old: &Value, new: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        for key in ["ownerReferences", "finalizers", "resourceVersion", "managedFields"] {
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.shift_remove(key);
            }
        }
        object
    };
    rest(old) == rest(new)
}
