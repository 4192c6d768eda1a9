//! What may change in a pod that exists: images, a few numbers, more tolerations and fewer scheduling gates. The rest is for its successor.

use serde_json::Value;

use crate::schema::{Errors, Json, Path};

const FIXED: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate(old: &Value, new: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let path = root.field("spec");
    let (Some(old), Some(new)) = (old.get("spec"), new.get("spec")) else { return };
    for list in ["containers", "initContainers"] {
        let count = |spec: &Value| spec.get(list).and_then(Value::as_array).map_or(0, Vec::len);
        if count(old) != count(new) {
            errors.forbidden(&path.field(list), "pod updates may not add or remove containers");
            return;
        }
    }
    deadline(old, new, &path, errors);
    tolerations(old, new, &path, errors);
    gates(old, new, &path, errors);
    if mutable_part_removed(old, new) != mutable_part_removed(new, new) {
        errors.forbidden(&path, FIXED);
    }
}

fn deadline(old: &Value, new: &Value, path: &Path<'_>, errors: &mut Errors) {
    let pointer = "/activeDeadlineSeconds";
    let Some(before) = old.int(pointer) else { return };
    let here = path.field("activeDeadlineSeconds");
    match new.int(pointer) {
        None => errors.invalid(&here, Value::Null, "must not update from a positive integer to nil value"),
        Some(after) if after > before => {
            errors.invalid(&here, after, "must be less than or equal to previous value");
        }
        Some(_) => {}
    }
}

fn tolerations(old: &Value, new: &Value, path: &Path<'_>, errors: &mut Errors) {
    let same = |a: &Value, b: &Value| {
        ["/key", "/operator", "/value", "/effect"].iter().all(|field| a.text(field) == b.text(field))
    };
    let after = new.list("/tolerations");
    if !old.list("/tolerations").iter().all(|one| after.iter().any(|other| same(one, other))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.forbidden(&path.field("tolerations"), detail);
    }
}

fn gates(old: &Value, new: &Value, path: &Path<'_>, errors: &mut Errors) {
    let before = old.list("/schedulingGates");
    for gate in new.list("/schedulingGates").iter().map(|gate| gate.text("/name")) {
        if !before.iter().any(|one| one.text("/name") == gate) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{gate}'");
            errors.forbidden(&path.field("schedulingGates"), &detail);
        }
    }
}

/// `spec` with everything that may change taken from `new`.
fn mutable_part_removed(spec: &Value, new: &Value) -> Value {
    let mut spec = spec.clone();
    for list in ["containers", "initContainers"] {
        for (index, container) in spec.list_mut(&format!("/{list}")).iter_mut().enumerate() {
            if let Some(image) = new.pointer(&format!("/{list}/{index}/image")) {
                container.put("image", image.clone());
            }
        }
    }
    if let Some(map) = spec.as_object_mut() {
        map.shift_remove("activeDeadlineSeconds");
        map.shift_remove("tolerations");
        map.shift_remove("schedulingGates");
        map.shift_remove("ephemeralContainers");
        if map.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0)
            && new.int("/terminationGracePeriodSeconds") == Some(1)
        {
            map.insert("terminationGracePeriodSeconds".to_owned(), Value::from(1));
        }
    }
    spec
}
