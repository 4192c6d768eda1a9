//! A container's environment, command and arguments, with `$(VAR)` expanded as Kubernetes does.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod};

use crate::edged::downward::{self, DownwardError, Facts};
use crate::edged::objects::{Missing, Objects};

/// Why a container cannot be configured (yet); shown as `CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A config map or secret could not be had.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// It lacks the key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Namespace of the object.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// The downward API has no such thing.
    #[error(transparent)]
    Downward(#[from] DownwardError),
    /// Something else in the pod's specification cannot be done.
    #[error("{0}")]
    Refused(String),
}

/// The environment of a container, in the order in which it is declared.
pub fn of(
    pod: &Pod,
    container: &Container,
    objects: &Objects,
    facts: &Facts,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut env = Ordered::default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            let map = objects.needed_config_map(&reference.name, reference.optional)?;
            for (key, value) in map.and_then(|map| map.data.as_ref()).into_iter().flatten() {
                env.set(format!("{prefix}{key}"), value.clone());
            }
        }
        if let Some(reference) = &source.secret_ref {
            let secret = objects.needed_secret(&reference.name, reference.optional)?;
            for (key, value) in secret.and_then(|secret| secret.data.as_ref()).into_iter().flatten() {
                env.set(format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned());
            }
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value(pod, container, variable, objects, facts, &env.map)? {
            env.set(variable.name.clone(), value);
        }
    }
    Ok(env.finish())
}

/// Variables by name, remembering who came first.
#[derive(Default)]
struct Ordered {
    names: Vec<String>,
    map: BTreeMap<String, String>,
}

impl Ordered {
    fn set(&mut self, name: String, value: String) {
        if self.map.insert(name.clone(), value).is_none() {
            self.names.push(name);
        }
    }

    fn finish(mut self) -> Vec<(String, String)> {
        self.names.into_iter().filter_map(|name| self.map.remove(&name).map(|value| (name, value))).collect()
    }
}

fn value(
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    objects: &Objects,
    facts: &Facts,
    known: &BTreeMap<String, String>,
) -> Result<Option<String>, ConfigError> {
    match &variable.value_from {
        None => Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), known))),
        Some(source) => from(pod, container, source, objects, facts),
    }
}

fn from(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    objects: &Objects,
    facts: &Facts,
) -> Result<Option<String>, ConfigError> {
    let namespace = || pod.metadata.namespace.clone().unwrap_or_default();
    if let Some(reference) = &source.field_ref {
        return Ok(Some(downward::field(pod, &reference.field_path, facts)?));
    }
    if let Some(selector) = &source.resource_field_ref {
        return Ok(Some(downward::resource(pod, Some(container), selector, facts)?));
    }
    if let Some(key) = &source.config_map_key_ref {
        let optional = key.optional == Some(true);
        let Some(map) = objects.needed_config_map(&key.name, key.optional)? else { return Ok(None) };
        return match map.data.as_ref().and_then(|data| data.get(&key.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(ConfigError::NoKey {
                kind: "ConfigMap",
                namespace: namespace(),
                name: key.name.clone(),
                key: key.key.clone(),
            }),
        };
    }
    if let Some(key) = &source.secret_key_ref {
        let optional = key.optional == Some(true);
        let Some(secret) = objects.needed_secret(&key.name, key.optional)? else { return Ok(None) };
        return match secret.data.as_ref().and_then(|data| data.get(&key.key)) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if optional => Ok(None),
            None => Err(ConfigError::NoKey {
                kind: "Secret",
                namespace: namespace(),
                name: key.name.clone(),
                key: key.key.clone(),
            }),
        };
    }
    Ok(None)
}

/// Replaces `$(NAME)` by the variable, leaves unknown ones as they are; `$$` is a dollar.
pub fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match known.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_expand_as_in_kubernetes() {
        let known = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), String::new())]);
        for (text, expected) in [
            ("$(A)", "1"),
            ("x$(A)y$(B)z", "x1yz"),
            ("$$(A)", "$(A)"),
            ("$(MISSING)", "$(MISSING)"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
            ("$$$$(A)", "$$(A)"),
        ] {
            assert_eq!(expand(text, &known), expected, "{text}");
        }
    }
}
