//! `cloudcore.yaml`: `cloudcore.config.kubeedge.io/v1alpha1`, kind CloudCore.

mod file;
mod hub;
mod modules;
mod plane;
mod router;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Seconds, Toggle};

pub use hub::{Authorization, AuthorizationMode, CloudHub, NodeMode, Quic, UnixSocket};
pub use modules::{
    CloudStream, DeviceController, DynamicController, EdgeController, IptablesManager, SyncController,
};
pub use plane::ControlPlane;
pub use router::{Router, RouterMode};

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudCore {
    /// Not checked: charts in the field ship others.
    pub api_version: String,
    /// Not checked.
    pub kind: String,
    /// What no module owns.
    pub common_config: CommonConfig,
    /// The Kubernetes API to use; both `master` and `kubeConfig` empty selects the embedded control plane.
    #[serde(rename = "kubeAPIConfig")]
    pub kube_api_config: KubeApi,
    /// KubeEdge's feature gates.
    pub feature_gates: BTreeMap<String, bool>,
    /// The modules.
    pub modules: CloudModules,
}

/// What no module owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommonConfig {
    /// Where metrics are served.
    pub monitor_server: MonitorServer,
}

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MonitorServer {
    /// Address and port.
    pub bind_address: SocketAddr,
}

/// The Kubernetes API to use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeApi {
    /// The API server's URL; empty for none.
    pub master: String,
    /// A kubeconfig file; empty for none.
    pub kube_config: String,
}

/// The modules of cloudcore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudModules {
    /// Our addition: the embedded Kubernetes API.
    pub control_plane: ControlPlane,
    /// The link to the edges.
    pub cloud_hub: CloudHub,
    /// Pods, config maps, secrets, nodes, leases.
    pub edge_controller: EdgeController,
    /// Devices.
    pub device_controller: DeviceController,
    /// What each node has, against what it should have.
    pub sync_controller: SyncController,
    /// Node jobs.
    pub task_manager: Toggle,
    /// What MetaServer asks for.
    pub dynamic_controller: DynamicController,
    /// Logs and exec.
    pub cloud_stream: CloudStream,
    /// Rules.
    pub router: Router,
    /// Accepted; the tunnel needs no iptables here.
    pub iptables_manager: IptablesManager,
}

impl Default for CloudCore {
    fn default() -> Self {
        Self {
            api_version: "cloudcore.config.kubeedge.io/v1alpha1".into(),
            kind: "CloudCore".into(),
            common_config: CommonConfig {
                monitor_server: MonitorServer { bind_address: SocketAddr::from(([127, 0, 0, 1], 9091)) },
            },
            kube_api_config: KubeApi { master: String::new(), kube_config: String::new() },
            feature_gates: BTreeMap::new(),
            modules: CloudModules::default(),
        }
    }
}

impl Default for CloudModules {
    fn default() -> Self {
        Self {
            control_plane: ControlPlane::default(),
            cloud_hub: CloudHub::default(),
            edge_controller: EdgeController { enable: true, node_update_frequency: Seconds(10) },
            device_controller: DeviceController { enable: true },
            sync_controller: SyncController { enable: true },
            task_manager: Toggle { enable: true },
            dynamic_controller: DynamicController { enable: false },
            cloud_stream: CloudStream::default(),
            router: Router::default(),
            iptables_manager: IptablesManager { enable: true, mode: "internal".into() },
        }
    }
}

/// Not below /etc/kubeedge, where KubeEdge has it: on one machine the edge's files live there.
fn pki(name: &str) -> PathBuf {
    PathBuf::from("/var/lib/cloudcore/pki").join(name)
}

impl CloudCore {
    /// True if the embedded control plane is the Kubernetes API.
    pub fn embedded(&self) -> bool {
        self.kube_api_config.master.is_empty() && self.kube_api_config.kube_config.is_empty()
    }
}
