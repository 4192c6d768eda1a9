//! The group `rbac.authorization.k8s.io`.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde_json::{Value, json};

use super::descriptor::Descriptor;
use super::names;
use crate::schema::{Errors, Json, Path};
use crate::table;

const GROUP: &str = "rbac.authorization.k8s.io";

/// The kinds, by name.
pub(super) const KINDS: &[Descriptor] = &[
    Descriptor {
        default: default_binding,
        validate: validate_binding,
        validate_update: validate_binding_update,
        printer: table::ROLE_BINDING,
        ..rbac(Descriptor::of::<ClusterRoleBinding>())
    },
    Descriptor {
        validate: validate_cluster_role,
        printer: table::NAME_AND_CREATED_AT,
        ..rbac(Descriptor::of::<ClusterRole>())
    },
    Descriptor {
        default: default_binding,
        validate: validate_binding,
        validate_update: validate_binding_update,
        printer: table::ROLE_BINDING,
        ..rbac(Descriptor::of::<RoleBinding>())
    },
    Descriptor {
        validate: validate_role,
        printer: table::NAME_AND_CREATED_AT,
        ..rbac(Descriptor::of::<Role>())
    },
];

const fn rbac(descriptor: Descriptor) -> Descriptor {
    Descriptor { create_on_update: true, name: names::path_segment, ..descriptor }
}

fn validate_role(role: &Value, errors: &mut Errors) {
    let cluster = role.text("/kind") == "ClusterRole";
    let root = Path::Root;
    let rules = root.field("rules");
    for (index, rule) in role.list("/rules").iter().enumerate() {
        let here = rules.index(index);
        if rule.list("/verbs").is_empty() {
            errors.required(&here.field("verbs"), "verbs must contain at least one value");
        }
        if !rule.list("/nonResourceURLs").is_empty() {
            if !cluster {
                let urls = rule.get("nonResourceURLs").cloned().unwrap_or_default();
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.invalid(&here.field("nonResourceURLs"), urls, detail);
            }
            let mixed = ["apiGroups", "resources", "resourceNames"].iter();
            if mixed.into_iter().any(|key| !rule.list(&format!("/{key}")).is_empty()) {
                let urls = rule.get("nonResourceURLs").cloned().unwrap_or_default();
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.invalid(&here.field("nonResourceURLs"), urls, detail);
            }
            continue;
        }
        if rule.list("/apiGroups").is_empty() {
            errors.required(&here.field("apiGroups"), "resource rules must supply at least one api group");
        }
        if rule.list("/resources").is_empty() {
            errors.required(&here.field("resources"), "resource rules must supply at least one resource");
        }
    }
}

fn validate_cluster_role(role: &Value, errors: &mut Errors) {
    validate_role(role, errors);
    let path = Path::Root.field("aggregationRule");
    if role.has("/aggregationRule") && role.list("/aggregationRule/clusterRoleSelectors").is_empty() {
        let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.required(&path.field("clusterRoleSelectors"), detail);
    }
}

fn default_binding(binding: &mut Value) {
    if let Some(role) = binding.get_mut("roleRef") {
        role.default_to("apiGroup", GROUP);
        if role.text("/apiGroup").is_empty() {
            role.put("apiGroup", json!(GROUP));
        }
    }
    for subject in binding.list_mut("/subjects") {
        if matches!(subject.text("/kind"), "User" | "Group") && subject.text("/apiGroup").is_empty() {
            subject.put("apiGroup", json!(GROUP));
        }
    }
}

fn validate_binding(binding: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let role = root.field("roleRef");
    let group = binding.text("/roleRef/apiGroup");
    if group != GROUP {
        errors.not_supported(&role.field("apiGroup"), group, &[GROUP]);
    }
    let kinds: &[&str] = if binding.text("/kind") == "ClusterRoleBinding" {
        &["ClusterRole"]
    } else {
        &["ClusterRole", "Role"]
    };
    let kind = binding.text("/roleRef/kind");
    if !kinds.contains(&kind) {
        errors.not_supported(&role.field("kind"), kind, kinds);
    }
    if binding.text("/roleRef/name").is_empty() {
        errors.required(&role.field("name"), "");
    }
    let subjects = root.field("subjects");
    for (index, subject) in binding.list("/subjects").iter().enumerate() {
        let here = subjects.index(index);
        if subject.text("/name").is_empty() {
            errors.required(&here.field("name"), "");
        }
        let group = subject.text("/apiGroup");
        match subject.text("/kind") {
            "ServiceAccount" => {
                let wrong = if subject.text("/name").is_empty() {
                    Vec::new()
                } else {
                    names::dns_subdomain(subject.text("/name"))
                };
                for wrong in wrong {
                    errors.invalid(&here.field("name"), subject.text("/name"), &wrong);
                }
                if !group.is_empty() {
                    errors.not_supported(&here.field("apiGroup"), group, &[""]);
                }
                if binding.text("/kind") == "ClusterRoleBinding" && subject.text("/namespace").is_empty() {
                    errors.required(&here.field("namespace"), "");
                }
            }
            "User" | "Group" if group != GROUP => {
                errors.not_supported(&here.field("apiGroup"), group, &[GROUP]);
            }
            "User" | "Group" => {}
            other => errors.not_supported(&here.field("kind"), other, &["ServiceAccount", "User", "Group"]),
        }
    }
}

fn validate_binding_update(old: &Value, new: &Value, errors: &mut Errors) {
    let role = new.get("roleRef").cloned().unwrap_or_default();
    if old.get("roleRef") != Some(&role) {
        errors.invalid(&Path::Root.field("roleRef"), role, "cannot change roleRef");
    }
}
