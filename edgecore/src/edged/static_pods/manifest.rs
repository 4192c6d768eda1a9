//! A file to a pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Toleration};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{HASH, SOURCE};
use crate::metamanager::STATIC_UID;

/// Why a file is no pod.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ManifestError {
    #[error("it is neither YAML nor JSON: {0}")]
    Syntax(String),
    #[error("it holds {0}; a static pod is one object of kind Pod, apiVersion v1")]
    Kind(String),
    #[error("it is no Pod: {0}")]
    Shape(String),
    #[error("{field}: {reason}")]
    Field { field: String, reason: &'static str },
}

/// Reads a manifest as the kubelet does: the name gets the node's appended, the uid follows from the file's name and content.
pub(super) fn pod(file: &str, text: &str, node: &str) -> Result<Pod, ManifestError> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| {
        // The lines below the first one show the place in the file.
        let words = error.to_string();
        let first = words.lines().next().unwrap_or_default();
        ManifestError::Syntax(first.trim_start_matches("error: ").to_owned())
    })?;
    let (kind, version) =
        (value["kind"].as_str().unwrap_or("nothing"), value["apiVersion"].as_str().unwrap_or(""));
    if (kind, version) != ("Pod", "v1") {
        return Err(ManifestError::Kind(format!("{kind} {version}").trim().to_owned()));
    }
    let mut pod: Pod =
        serde_json::from_value(value).map_err(|error| ManifestError::Shape(error.to_string()))?;
    check(&pod)?;
    let hash = hex::encode(&Sha256::digest(format!("{node}\0{file}\0{text}"))[..16]);
    let meta = &mut pod.metadata;
    meta.name = meta.name.take().map(|name| format!("{name}-{}", node.to_lowercase()));
    meta.namespace.get_or_insert_with(|| "default".to_owned());
    meta.uid = Some(format!("{STATIC_UID}{hash}"));
    let annotations = meta.annotations.get_or_insert_with(BTreeMap::new);
    annotations.insert(HASH.to_owned(), hash);
    annotations.insert(SOURCE.to_owned(), "file".to_owned());
    if let Some(spec) = &mut pod.spec {
        spec.node_name = Some(node.to_owned());
        // Nobody but the file drives it off.
        spec.tolerations.get_or_insert_with(Vec::new).push(Toleration {
            operator: Some("Exists".to_owned()),
            effect: Some("NoExecute".to_owned()),
            ..Toleration::default()
        });
    }
    pod.status = None;
    Ok(pod)
}

fn check(pod: &Pod) -> Result<(), ManifestError> {
    let wrong = |field: &str, reason| Err(ManifestError::Field { field: field.to_owned(), reason });
    let is_label = |text: &str| {
        !text.is_empty()
            && text.len() <= 63
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-')
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        return wrong("metadata.name", "give the pod a name");
    }
    if name.len() > 200 || !name.split('.').all(is_label) {
        return wrong("metadata.name", "must be lower case letters, digits, '-' and '.'");
    }
    if pod.metadata.namespace.as_deref().is_some_and(|namespace| !is_label(namespace)) {
        return wrong("metadata.namespace", "must be lower case letters, digits and '-'");
    }
    let spec = pod.spec.as_ref().filter(|spec| !spec.containers.is_empty());
    let Some(spec) = spec else { return wrong("spec.containers", "at least one container is needed") };
    let mut names = Vec::new();
    for (index, container) in spec.init_containers.iter().flatten().chain(&spec.containers).enumerate() {
        let field = |name: &str| format!("container {index}: {name}");
        if !is_label(&container.name) {
            return wrong(&field("name"), "must be lower case letters, digits and '-'");
        }
        if names.contains(&&container.name) {
            return wrong(&field("name"), "another container has it already");
        }
        if container.image.as_deref().unwrap_or_default().is_empty() {
            return wrong(&field("image"), "is needed");
        }
        names.push(&container.name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WEB: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: i}]}\n";

    #[test]
    fn a_manifest_becomes_a_pod_of_this_node() {
        let made = pod("web.yaml", WEB, "Edge1").unwrap();
        assert_eq!(made.metadata.name.as_deref(), Some("web-edge1"));
        assert_eq!(made.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(made.spec.as_ref().and_then(|spec| spec.node_name.as_deref()), Some("Edge1"));
        let uid = |file, text| pod(file, text, "edge1").unwrap().metadata.uid;
        assert_eq!(uid("web.yaml", WEB), uid("web.yaml", WEB));
        assert_ne!(uid("web.yaml", WEB), uid("other.yaml", WEB));
        assert_ne!(uid("web.yaml", WEB), uid("web.yaml", &WEB.replace("image: i", "image: j")));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        let error = |text: &str| pod("f", text, "n").unwrap_err().to_string();
        assert!(error("a: [").starts_with("it is neither YAML nor JSON"));
        assert_eq!(
            error("kind: Deployment\napiVersion: apps/v1"),
            "it holds Deployment apps/v1; a static pod is one object of kind Pod, apiVersion v1"
        );
        assert_eq!(error(&WEB.replace("name: web", "name: ''")), "metadata.name: give the pod a name");
        assert!(error(&WEB.replace("name: web", "name: ../x")).starts_with("metadata.name: must be"));
        assert!(error(&WEB.replace("{containers: [{name: c, image: i}]}", "{}")).contains("containers"));
        assert_eq!(error(&WEB.replace(", image: i", "")), "container 0: image: is needed");
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(text in ".{0,300}") {
            pod("f", &text, "n").ok();
        }
    }
}
