//! A container's environment, command and arguments, with `$(VAR)` expanded as Kubernetes does.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod};

use crate::edged::downward::{self, DownwardError, Facts};
use crate::edged::objects::{Absent, Objects};

/// Why a container cannot be configured (yet); shown as `CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A config map or secret does not exist.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It could not be fetched.
    #[error("{kind} {name:?} is not on this node and could not be fetched: {why}")]
    Unavailable {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What stood in the way.
        why: String,
    },
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

impl ConfigError {
    fn absent(kind: &'static str, name: &str, absent: Absent) -> Self {
        match absent {
            Absent::NotFound => Self::NotFound { kind, name: name.to_owned() },
            other => Self::Unavailable { kind, name: name.to_owned(), why: other.words() },
        }
    }
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
            match objects.config_map(&reference.name) {
                Ok(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        env.set(format!("{prefix}{key}"), value.clone());
                    }
                }
                Err(absent) if absent.is_optional() && reference.optional == Some(true) => {}
                Err(absent) => return Err(ConfigError::absent("configmap", &reference.name, absent)),
            }
        }
        if let Some(reference) = &source.secret_ref {
            match objects.secret(&reference.name) {
                Ok(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        env.set(format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned());
                    }
                }
                Err(absent) if absent.is_optional() && reference.optional == Some(true) => {}
                Err(absent) => return Err(ConfigError::absent("secret", &reference.name, absent)),
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
        let map = match objects.config_map(&key.name) {
            Ok(map) => map,
            Err(absent) if absent.is_optional() && optional => return Ok(None),
            Err(absent) => return Err(ConfigError::absent("configmap", &key.name, absent)),
        };
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
        let secret = match objects.secret(&key.name) {
            Ok(secret) => secret,
            Err(absent) if absent.is_optional() && optional => return Ok(None),
            Err(absent) => return Err(ConfigError::absent("secret", &key.name, absent)),
        };
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
