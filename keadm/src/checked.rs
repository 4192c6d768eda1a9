//! The two configuration files as their readers will see them.
//!
//! Owns: reading a document with `proto::config`, so that keadm writes nothing that cloudcore or edgecore would
//! refuse. Called by: `init` and `join`, before anything is changed.

use std::path::Path;

use proto::config::{CloudCore, ConfigError, ConfigFile, EdgeCore, Warning};
use serde_json::Value;

use crate::problem::Problem;

/// What a reader would say about a document that it takes.
#[derive(Debug, Default)]
pub(crate) struct Remarks {
    /// Keys that do not exist.
    pub(crate) unknown: Vec<Problem>,
    pub(crate) warnings: Vec<String>,
}

/// Every key of cloudcore.yaml with its default.
pub(crate) fn cloud_defaults() -> Value {
    serde_json::to_value(CloudCore::default()).unwrap_or_default()
}

/// Every key of edgecore.yaml with its default.
pub(crate) fn edge_defaults() -> Value {
    serde_json::to_value(EdgeCore::default()).unwrap_or_default()
}

pub(crate) fn cloud(document: &Value, file: &Path) -> Result<(CloudCore, Remarks), Problem> {
    read(document, file, "CloudCore")
}

pub(crate) fn edge(document: &Value, file: &Path) -> Result<(EdgeCore, Remarks), Problem> {
    read(document, file, "EdgeCore")
}

fn read<C: ConfigFile>(document: &Value, file: &Path, kind: &str) -> Result<(C, Remarks), Problem> {
    let program = kind.to_lowercase();
    // A JSON document is a YAML document.
    let (config, warnings) = C::parse(&document.to_string(), file).map_err(|error| match error {
        ConfigError::Invalid { key, reason, .. } => Problem::new(format!("{key} cannot have this value"))
            .cause(reason)
            .next(format!("look it up with: {program} --defaultconfig")),
        other => Problem::new("the configuration cannot be used")
            .cause(other)
            .next(format!("compare it with: {program} --defaultconfig")),
    })?;
    let mut remarks = Remarks::default();
    for warning in warnings {
        match &warning {
            Warning::UnknownKey { key, .. } => {
                let (parent, name) = key.rsplit_once('.').unwrap_or(("", key));
                let next = format!("look it up with: {program} --defaultconfig");
                remarks.unknown.push(
                    Problem::new(format!("{key}: No such field: {name} in {kind}"))
                        .cause(if parent.is_empty() {
                            "there is no such key".to_owned()
                        } else {
                            warning.to_string()
                        })
                        .next(next),
                );
            }
            _ => remarks.warnings.push(warning.to_string()),
        }
    }
    Ok((config, remarks))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_that_does_not_exist_is_named_as_kubeedge_names_it() {
        let document = json!({"modules": {"edgeHub": {"heartbeet": 3}}});
        let (_, remarks) = edge(&document, Path::new("edgecore.yaml")).unwrap();
        let shown = remarks.unknown[0].to_string();
        assert!(shown.contains("modules.edgeHub.heartbeet: No such field: heartbeet in EdgeCore"), "{shown}");
        assert!(shown.contains("did you mean heartbeat?"), "{shown}");
    }

    #[test]
    fn a_value_of_the_wrong_type_names_its_key() {
        let document = json!({"modules": {"cloudHub": {"nodeLimit": "many"}}});
        let problem = cloud(&document, Path::new("cloudcore.yaml")).unwrap_err().to_string();
        assert!(problem.contains("modules.cloudHub.nodeLimit cannot have this value"), "{problem}");
    }

    #[test]
    fn the_defaults_are_a_document_that_the_reader_takes() {
        assert!(edge(&edge_defaults(), Path::new("x")).unwrap().1.unknown.is_empty());
        assert!(cloud(&cloud_defaults(), Path::new("x")).unwrap().1.unknown.is_empty());
    }
}
