//! The group `storage.k8s.io`.

use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, StorageClass, VolumeAttachment};
use serde_json::Value;

use super::descriptor::{Descriptor, STATUS};
use crate::schema::{Errors, Json, Path};
use crate::table;

/// The kinds of `storage.k8s.io/v1`, by name.
pub(super) const KINDS: &[Descriptor] = &[
    Descriptor { unconditional_update: false, ..Descriptor::of::<CSIDriver>() },
    Descriptor { unconditional_update: false, ..Descriptor::of::<CSINode>() },
    Descriptor {
        short_names: &["sc"],
        default: |class| {
            class.default_to("reclaimPolicy", "Delete");
            class.default_to("volumeBindingMode", "Immediate");
        },
        validate: validate_class,
        validate_update: validate_class_update,
        printer: table::STORAGE_CLASS,
        ..Descriptor::of::<StorageClass>()
    },
    Descriptor {
        subresources: &[STATUS],
        unconditional_update: false,
        ..Descriptor::of::<VolumeAttachment>()
    },
];

fn validate_class(class: &Value, errors: &mut Errors) {
    let root = Path::Root;
    if class.text("/provisioner").is_empty() {
        errors.required(&root.field("provisioner"), "");
    }
    let policy = class.text("/reclaimPolicy");
    if !matches!(policy, "Delete" | "Retain") {
        errors.not_supported(&root.field("reclaimPolicy"), policy, &["Delete", "Retain"]);
    }
}

fn validate_class_update(old: &Value, new: &Value, errors: &mut Errors) {
    let root = Path::Root;
    for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
        if old.get(field) != new.get(field) {
            errors.forbidden(&root.field(field), &format!("updates to {field} are forbidden."));
        }
    }
}
