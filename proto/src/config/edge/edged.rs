//! Pods.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{KubeletConfig, RuntimeType, Span, host_name};

/// Pods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edged {
    /// Whether it runs.
    pub enable: bool,
    /// Whether events are sent to the cloud. KubeEdge's default is not to: there `kubectl describe` stays silent.
    pub report_event: bool,
    /// The interface whose address is the node's.
    pub custom_interface_name: String,
    /// The node's name.
    pub hostname_override: String,
    /// The node's address; empty to find it.
    #[serde(rename = "nodeIP")]
    pub node_ip: String,
    /// Labels of the node.
    pub node_labels: BTreeMap<String, String>,
    /// `docker` or `remote` (CRI); empty to tell it from the socket. KubeEdge had it until v1.13.
    pub container_runtime: RuntimeType,
    /// The image of pod sandboxes; the engine's business where it is not Docker.
    pub pod_sandbox_image: String,
    /// Where pods' volumes live.
    pub root_directory: PathBuf,
    /// Dead containers kept per pod container.
    pub max_per_pod_container_count: i32,
    /// Dead containers kept in all; negative for no limit.
    pub max_container_count: i32,
    /// Age at which a dead container may be removed.
    #[serde(rename = "minimumGCAge")]
    pub minimum_gc_age: Span,
    /// Whether pods may be scheduled here from the start.
    pub register_schedulable: bool,
    /// The kubelet's own settings.
    pub tailored_kubelet_config: KubeletConfig,
}

impl Default for Edged {
    fn default() -> Self {
        Self {
            enable: true,
            report_event: true,
            custom_interface_name: String::new(),
            hostname_override: host_name(),
            node_ip: String::new(),
            node_labels: BTreeMap::new(),
            container_runtime: RuntimeType::default(),
            pod_sandbox_image: "kubeedge/pause:3.6".into(),
            root_directory: "/var/lib/kubelet".into(),
            max_per_pod_container_count: 1,
            max_container_count: -1,
            minimum_gc_age: Span::seconds(0),
            register_schedulable: true,
            tailored_kubelet_config: KubeletConfig::default(),
        }
    }
}
