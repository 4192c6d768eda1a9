//! Rules for containers: names, images, ports, environment, mounts, resources.

use std::collections::BTreeSet;

use serde_json::Value;

use super::handlers;
use crate::registry::names;
use crate::schema::quantity::{self, Quantity};
use crate::schema::{Errors, Json, Path};

const PULL: &[&str] = &["Always", "IfNotPresent", "Never"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
pub(super) const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

/// Rules for all containers of a pod spec. `volumes` are the names that mounts may refer to.
pub(super) fn validate(spec: &Value, path: &Path<'_>, volumes: &BTreeSet<&str>, errors: &mut Errors) {
    if spec.list("/containers").is_empty() {
        errors.required(&path.field("containers"), "");
    }
    let mut seen = BTreeSet::new();
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let lists = path.field(list);
        let items = spec.get(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (index, container) in items.iter().enumerate() {
            let here = lists.index(index);
            name(container, &here, &mut seen, errors);
            image(container, &here, errors);
            ports(container, &here, spec.flag("/hostNetwork"), errors);
            environment(container, &here, errors);
            mounts(container, &here, volumes, errors);
            resources(container, &here, errors);
            handlers::validate(container, &here, list == "containers", errors);
        }
    }
}

fn name<'a>(container: &'a Value, path: &Path<'_>, seen: &mut BTreeSet<&'a str>, errors: &mut Errors) {
    let name = container.text("/name");
    let path = path.field("name");
    if name.is_empty() {
        return errors.required(&path, "");
    }
    for wrong in names::dns_label(name) {
        errors.invalid(&path, name, &wrong);
    }
    if !seen.insert(name) {
        errors.duplicate(&path, name);
    }
}

fn image(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let image = container.text("/image");
    if image.is_empty() {
        errors.required(&path.field("image"), "");
    } else if image.trim() != image {
        errors.invalid(&path.field("image"), image, "must not have leading or trailing whitespace");
    }
    let policy = container.text("/imagePullPolicy");
    if !PULL.contains(&policy) {
        errors.not_supported(&path.field("imagePullPolicy"), policy, PULL);
    }
    let policy = container.text("/terminationMessagePolicy");
    if !matches!(policy, "File" | "FallbackToLogsOnError") {
        let supported = &["FallbackToLogsOnError", "File"];
        errors.not_supported(&path.field("terminationMessagePolicy"), policy, supported);
    }
}

fn ports(container: &Value, path: &Path<'_>, host_network: bool, errors: &mut Errors) {
    let ports = path.field("ports");
    let mut seen = BTreeSet::new();
    for (index, port) in container.list("/ports").iter().enumerate() {
        let here = ports.index(index);
        let name = port.text("/name");
        if !name.is_empty() {
            let wrong = names::port_name(name);
            for detail in &wrong {
                errors.invalid(&here.field("name"), name, detail);
            }
            if wrong.is_empty() && !seen.insert(name) {
                errors.duplicate(&here.field("name"), name);
            }
        }
        let number = port.int("/containerPort").unwrap_or_default();
        if number == 0 {
            errors.required(&here.field("containerPort"), "");
        } else if !(1..=65535).contains(&number) {
            errors.invalid(&here.field("containerPort"), number, PORT_RANGE);
        }
        let host = port.int("/hostPort").unwrap_or_default();
        if host != 0 && !(1..=65535).contains(&host) {
            errors.invalid(&here.field("hostPort"), host, PORT_RANGE);
        } else if host_network && host != 0 && host != number {
            let detail = "must match `containerPort` when `hostNetwork` is true";
            errors.invalid(&here.field("hostPort"), host, detail);
        }
        match port.text("/protocol") {
            "" => errors.required(&here.field("protocol"), ""),
            protocol if !PROTOCOLS.contains(&protocol) => {
                errors.not_supported(&here.field("protocol"), protocol, PROTOCOLS);
            }
            _ => {}
        }
    }
}

fn environment(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let env = path.field("env");
    for (index, variable) in container.list("/env").iter().enumerate() {
        let here = env.index(index);
        let name = variable.text("/name");
        if name.is_empty() {
            errors.required(&here.field("name"), "");
        } else {
            for wrong in names::env_name(name) {
                errors.invalid(&here.field("name"), name, &wrong);
            }
        }
        let Some(sources) = variable.object("/valueFrom") else { continue };
        let from = here.field("valueFrom");
        if sources.is_empty() {
            let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.invalid(&from, "", detail);
        } else if !variable.text("/value").is_empty() {
            errors.invalid(&from, "", "may not be specified when `value` is not empty");
        } else if sources.len() > 1 {
            errors.invalid(&from, "", "may not have more than one field specified at a time");
        }
        for source in ["configMapKeyRef", "secretKeyRef"] {
            let Some(reference) = sources.get(source) else { continue };
            let here = from.field(source);
            for field in ["name", "key"] {
                if reference.get(field).and_then(Value::as_str).unwrap_or_default().is_empty() {
                    errors.required(&here.field(field), "");
                }
            }
        }
    }
    for (index, from) in container.list("/envFrom").iter().enumerate() {
        let list = path.field("envFrom");
        let here = list.index(index);
        let sources: Vec<_> =
            ["configMapRef", "secretRef"].into_iter().filter(|key| from.get(key).is_some()).collect();
        match sources.as_slice() {
            [] => errors.invalid(&here, "", "must specify one of: `configMapRef` or `secretRef`"),
            [source] if from[*source].text("/name").is_empty() => {
                errors.required(&here.field(source).field("name"), "");
            }
            [_] => {}
            _ => errors.invalid(&here, "", "may not have more than one field specified at a time"),
        }
    }
}

fn mounts(container: &Value, path: &Path<'_>, volumes: &BTreeSet<&str>, errors: &mut Errors) {
    let mounts = path.field("volumeMounts");
    let mut seen = BTreeSet::new();
    for (index, mount) in container.list("/volumeMounts").iter().enumerate() {
        let here = mounts.index(index);
        let (name, at) = (mount.text("/name"), mount.text("/mountPath"));
        if name.is_empty() {
            errors.required(&here.field("name"), "");
        } else if !volumes.contains(name) {
            errors.not_found(&here.field("name"), name);
        }
        if at.is_empty() {
            errors.required(&here.field("mountPath"), "");
        } else if !seen.insert(at) {
            errors.invalid(&here.field("mountPath"), at, "must be unique");
        }
        let sub = mount.text("/subPath");
        if sub.starts_with('/') {
            errors.invalid(&here.field("subPath"), sub, "must be a relative path");
        }
        if sub.split('/').any(|part| part == "..") {
            errors.invalid(&here.field("subPath"), sub, "must not contain '..'");
        }
    }
}

fn resources(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    let resources = path.field("resources");
    let amount = |list: &str, name: &str| {
        let value = container.pointer("/resources")?.get(list)?.get(name)?;
        Quantity::parse(&quantity::text(value)).ok()
    };
    for list in ["limits", "requests"] {
        let here = resources.field(list);
        let Some(quantities) = container.pointer("/resources").and_then(|all| all.get(list)?.as_object())
        else {
            continue;
        };
        for (name, value) in quantities {
            let standard = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
                || name.starts_with("hugepages-");
            for wrong in names::qualified_name(name) {
                errors.invalid(&here, name.as_str(), &wrong);
            }
            if !standard && !name.contains('/') {
                errors.invalid(&here, name.as_str(), "must be a standard resource type or fully qualified");
                errors.invalid(&here, name.as_str(), "must be a standard resource for containers");
            }
            if amount(list, name).is_some_and(Quantity::is_negative) {
                errors.invalid(&here.key(name), value.clone(), "must be greater than or equal to 0");
            }
            if list == "requests"
                && let (Some(request), Some(limit)) = (amount("requests", name), amount("limits", name))
                && request > limit
            {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.invalid(&here, request.to_string(), &detail);
            }
        }
    }
}
