//! Config maps and secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};

use super::super::descriptor::Descriptor;
use super::super::names;
use crate::schema::{Errors, Json, Path};
use crate::table;

/// Of all values together.
const DATA_MAX: usize = 1024 * 1024;

pub(super) const CONFIG_MAP: Descriptor = Descriptor {
    short_names: &["cm"],
    validate: validate_config_map,
    validate_update: validate_immutable,
    printer: table::CONFIG_MAP,
    ..Descriptor::of::<ConfigMap>()
};

pub(super) const SECRET: Descriptor = Descriptor {
    default: default_secret,
    validate: validate_secret,
    validate_update: validate_secret_update,
    printer: table::SECRET,
    ..Descriptor::of::<Secret>()
};

fn validate_config_map(map: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let mut size = 0;
    for list in ["data", "binaryData"] {
        let path = root.field(list);
        for (key, value) in map.get(list).and_then(Value::as_object).into_iter().flatten() {
            for wrong in names::config_key(key) {
                errors.invalid(&path.key(key), key.as_str(), &wrong);
            }
            if list == "data" && map.object("/binaryData").is_some_and(|other| other.contains_key(key)) {
                errors.invalid(&path.key(key), key.as_str(), "duplicate of key present in binaryData");
            }
            size += value.as_str().map_or(0, |text| if list == "data" { text.len() } else { decoded(text) });
        }
    }
    if size > DATA_MAX {
        // It is the sum of two fields; Kubernetes writes that so.
        errors.too_long(&root.field("[]"), DATA_MAX);
    }
}

/// How many bytes base64 stands for.
fn decoded(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

fn validate_immutable(old: &Value, new: &Value, errors: &mut Errors) {
    if !old.flag("/immutable") {
        return;
    }
    let detail = "field is immutable when `immutable` is set";
    let root = Path::Root;
    for field in ["immutable", "data", "binaryData"] {
        if old.get(field) != new.get(field) {
            errors.forbidden(&root.field(field), detail);
        }
    }
}

/// `stringData` is a convenience for writers: it ends up in `data`.
fn default_secret(secret: &mut Value) {
    if secret.text("/type").is_empty() {
        secret.put("type", json!("Opaque"));
    }
    let Some(Value::Object(plain)) = secret.as_object_mut().and_then(|map| map.shift_remove("stringData"))
    else {
        return;
    };
    let Some(data) = secret.child("data").and_then(Value::as_object_mut) else { return };
    for (key, value) in plain {
        data.insert(key, json!(STANDARD.encode(value.as_str().unwrap_or_default())));
    }
}

fn validate_secret(secret: &Value, errors: &mut Errors) {
    let root = Path::Root;
    let data = root.field("data");
    let mut size = 0;
    for (key, value) in secret.object("/data").into_iter().flatten() {
        for wrong in names::config_key(key) {
            errors.invalid(&data.key(key), key.as_str(), &wrong);
        }
        size += value.as_str().map_or(0, decoded);
    }
    if size > DATA_MAX {
        errors.too_long(&data, DATA_MAX);
    }
    let value = |key: &str| secret.object("/data").and_then(|data| data.get(key)).and_then(Value::as_str);
    let json_under = |key: &str, errors: &mut Errors| match value(key) {
        None => errors.required(&data.key(key), ""),
        Some(text) => {
            let bytes = STANDARD.decode(text).unwrap_or_default();
            if serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_err() {
                errors.invalid(&data.key(key), "<secret contents redacted>", "invalid character in JSON");
            }
        }
    };
    match secret.text("/type") {
        "kubernetes.io/dockercfg" => json_under(".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => json_under(".dockerconfigjson", errors),
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if value(key).is_none() {
                    errors.required(&data.key(key), "");
                }
            }
        }
        "kubernetes.io/basic-auth" if value("username").is_none() && value("password").is_none() => {
            errors.required(&data.key("username"), "");
            errors.required(&data.key("password"), "");
        }
        "kubernetes.io/ssh-auth" if value("ssh-privatekey").is_none() => {
            errors.required(&data.key("ssh-privatekey"), "");
        }
        "kubernetes.io/service-account-token" => {
            let annotation = "kubernetes.io/service-account.name";
            let named =
                secret.object("/metadata/annotations").is_some_and(|all| all.contains_key(annotation));
            if !named {
                let meta = root.field("metadata");
                errors.required(&meta.field("annotations").key(annotation), "");
            }
        }
        _ => {}
    }
}

fn validate_secret_update(old: &Value, new: &Value, errors: &mut Errors) {
    if old.text("/type") != new.text("/type") {
        errors.invalid(&Path::Root.field("type"), new.text("/type"), "field is immutable");
    }
    validate_immutable(old, new, errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(check: fn(&Value, &mut Errors), object: &Value) -> Vec<String> {
        let mut errors = Errors::default();
        check(object, &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn string_data_is_encoded_into_data() {
        let mut secret = json!({"data": {"a": "eA=="}, "stringData": {"b": "hello"}});
        default_secret(&mut secret);
        assert_eq!(secret, json!({"data": {"a": "eA==", "b": "aGVsbG8="}, "type": "Opaque"}));
    }

    #[test]
    fn a_docker_config_must_be_there_and_be_json() {
        let secret = json!({"type": "kubernetes.io/dockerconfigjson"});
        assert_eq!(wrong(validate_secret, &secret), ["data[.dockerconfigjson]: Required value"]);
        let secret = json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}});
        assert!(wrong(validate_secret, &secret).is_empty());
    }

    #[test]
    fn config_keys_are_file_names() {
        let map = json!({"data": {"a b": "x"}});
        assert!(
            wrong(validate_config_map, &map)[0]
                .starts_with("data[a b]: Invalid value: \"a b\": a valid config key must")
        );
    }

    #[test]
    fn what_is_immutable_stays() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        let mut errors = Errors::default();
        validate_immutable(&old, &json!({"immutable": true, "data": {"a": "2"}}), &mut errors);
        assert_eq!(
            errors.into_vec()[0].to_string(),
            "data: Forbidden: field is immutable when `immutable` is set"
        );
    }
}
