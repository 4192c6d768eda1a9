//! The custom resources that Skerry brings along, as the YAML in `deploy/crds`. The embedded control plane installs them
//! at its start, keadm applies them to other clusters; both take them from here, so they cannot differ.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// File name and text of every definition, in the order in which they are to be applied.
pub const MANIFESTS: &[(&str, &str)] = &[
    (
        "devices.kubeedge.io_devicemodels.yaml",
        include_str!("../../deploy/crds/devices.kubeedge.io_devicemodels.yaml"),
    ),
    ("devices.kubeedge.io_devices.yaml", include_str!("../../deploy/crds/devices.kubeedge.io_devices.yaml")),
    (
        "devices.kubeedge.io_devicestatuses.yaml",
        include_str!("../../deploy/crds/devices.kubeedge.io_devicestatuses.yaml"),
    ),
    (
        "operations.kubeedge.io_imageprepulljobs.yaml",
        include_str!("../../deploy/crds/operations.kubeedge.io_imageprepulljobs.yaml"),
    ),
    (
        "reliablesyncs.kubeedge.io_clusterobjectsyncs.yaml",
        include_str!("../../deploy/crds/reliablesyncs.kubeedge.io_clusterobjectsyncs.yaml"),
    ),
    (
        "reliablesyncs.kubeedge.io_objectsyncs.yaml",
        include_str!("../../deploy/crds/reliablesyncs.kubeedge.io_objectsyncs.yaml"),
    ),
    (
        "rules.kubeedge.io_ruleendpoints.yaml",
        include_str!("../../deploy/crds/rules.kubeedge.io_ruleendpoints.yaml"),
    ),
    ("rules.kubeedge.io_rules.yaml", include_str!("../../deploy/crds/rules.kubeedge.io_rules.yaml")),
];

/// A definition that came with the program is not one. A defect of ours that a test excludes.
#[derive(Debug, thiserror::Error)]
#[error("the definition {file} that comes with this program is broken: {reason}")]
pub struct BrokenManifest {
    /// The file.
    pub file: &'static str,
    /// What is wrong.
    pub reason: String,
}

/// The definitions, parsed.
pub fn all() -> Result<Vec<CustomResourceDefinition>, BrokenManifest> {
    let parse = |(file, text): &(&'static str, &str)| {
        serde_saphyr::from_str(text).map_err(|e| BrokenManifest { file, reason: e.to_string() })
    };
    MANIFESTS.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::Resource;

    #[test]
    fn every_definition_parses_and_is_named_as_kubernetes_wants() {
        for definition in all().unwrap() {
            let names = &definition.spec.names;
            assert_eq!(
                definition.metadata.name.unwrap(),
                format!("{}.{}", names.plural, definition.spec.group)
            );
            let versions = &definition.spec.versions;
            assert_eq!(versions.iter().filter(|version| version.storage).count(), 1);
            for version in versions {
                assert!(version.served);
                let schema = version.schema.as_ref().and_then(|s| s.open_api_v3_schema.as_ref()).unwrap();
                assert_eq!(schema.type_.as_deref(), Some("object"));
                assert!(schema.properties.as_ref().unwrap().contains_key("spec"));
            }
        }
    }

    #[test]
    fn types_and_definitions_agree_on_their_names() {
        use crate::devices::{Device, DeviceModel, DeviceStatus};
        let crds = all().unwrap();
        let known = |kind: &str, plural: &str, group: &str, version: &str| {
            crds.iter().any(|c| {
                let spec = &c.spec;
                spec.names.kind == kind
                    && spec.names.plural == plural
                    && spec.group == group
                    && spec.versions[0].name == version
            })
        };
        macro_rules! check {
            ($($kind:ty),*) => { $(assert!(known(&<$kind>::kind(&()), &<$kind>::plural(&()), &<$kind>::group(&()), &<$kind>::version(&())));)* };
        }
        check!(Device, DeviceModel, DeviceStatus);
    }
}
