//! Rules for volumes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::registry::names;
use crate::schema::{Errors, Json, Path};

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Checks all volumes and returns the names that mounts may use.
pub(super) fn validate<'a>(volumes: &'a [Value], path: &Path<'_>, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let here = path.index(index);
        source(volume, &here, errors);
        let name = volume.text("/name");
        if name.is_empty() {
            errors.required(&here.field("name"), "");
            continue;
        }
        for wrong in names::dns_label(name) {
            errors.invalid(&here.field("name"), name, &wrong);
        }
        if !seen.insert(name) {
            errors.duplicate(&here.field("name"), name);
        }
    }
    seen
}

fn source(volume: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut sources = volume.as_object().into_iter().flatten().filter(|(key, _)| *key != "name");
    let Some((kind, source)) = sources.next() else {
        return errors.required(path, "must specify a volume type");
    };
    let here = path.field(kind);
    for (other, _) in sources {
        errors.forbidden(&path.field(other), "may not specify more than 1 volume type");
    }
    let required = |field: &str, errors: &mut Errors| {
        if source.get(field).and_then(Value::as_str).unwrap_or_default().is_empty() {
            errors.required(&here.field(field), "");
        }
    };
    match kind.as_str() {
        "hostPath" => {
            required("path", errors);
            let path = source.text("/path");
            if path.split('/').any(|part| part == "..") {
                errors.invalid(&here.field("path"), path, "must not contain '..'");
            }
            let kind = source.text("/type");
            if !HOST_PATH_TYPES.contains(&kind) {
                errors.not_supported(&here.field("type"), kind, HOST_PATH_TYPES);
            }
        }
        "configMap" => required("name", errors),
        "secret" => required("secretName", errors),
        "persistentVolumeClaim" => required("claimName", errors),
        "nfs" => {
            required("server", errors);
            required("path", errors);
        }
        _ => {}
    }
    mode(source.get("defaultMode"), &here.field("defaultMode"), errors);
    let items = here.field("items");
    for (index, item) in source.list("/items").iter().enumerate() {
        let item_path = items.index(index);
        if matches!(kind.as_str(), "configMap" | "secret") && item.text("/key").is_empty() {
            errors.required(&item_path.field("key"), "");
        }
        let file = item.text("/path");
        if file.is_empty() {
            errors.required(&item_path.field("path"), "");
        } else if file.starts_with('/') {
            errors.invalid(&item_path.field("path"), file, "must be a relative path");
        } else if file.split('/').any(|part| part == "..") {
            errors.invalid(&item_path.field("path"), file, "must not contain '..'");
        }
        mode(item.get("mode"), &item_path.field("mode"), errors);
    }
}

fn mode(mode: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    if let Some(mode) = mode.and_then(Value::as_i64)
        && !(0..=0o777).contains(&mode)
    {
        errors.invalid(path, mode, MODE);
    }
}
