//! `edgecore.yaml`: `edgecore.config.kubeedge.io/v1alpha2`, kind EdgeCore.

mod edged;
mod event_bus;
mod file;
mod hub;
mod services;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Toggle;

pub use edged::Edged;
pub use event_bus::{EventBus, EventBusTls, MqttMode};
pub use hub::{Backoff, EdgeHub, Link};
pub use services::{DBTest, DeviceTwin, EdgeStream, MetaManager, MetaServer, ServiceBus};

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeCore {
    /// Not checked.
    pub api_version: String,
    /// Not checked.
    pub kind: String,
    /// Where the stores live.
    pub database: Database,
    /// KubeEdge's feature gates.
    pub feature_gates: BTreeMap<String, bool>,
    /// The modules.
    pub modules: EdgeModules,
}

/// Where the stores live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// The object store's file. The other stores are files beside it.
    pub data_source: PathBuf,
}

/// The modules of edgecore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeModules {
    /// Pods.
    pub edged: Edged,
    /// The link to the cloud.
    pub edge_hub: EdgeHub,
    /// MQTT.
    pub event_bus: EventBus,
    /// The object store.
    pub meta_manager: MetaManager,
    /// HTTP between local services and the cloud.
    pub service_bus: ServiceBus,
    /// Devices.
    pub device_twin: DeviceTwin,
    /// KubeEdge's self test; accepted and ignored.
    #[serde(rename = "dbTest")]
    pub db_test: DBTest,
    /// Logs and exec.
    pub edge_stream: EdgeStream,
    /// Node jobs.
    pub task_manager: Toggle,
}

fn etc(name: &str) -> PathBuf {
    Path::new("/etc/kubeedge").join(name)
}

impl Default for EdgeCore {
    fn default() -> Self {
        Self {
            api_version: "edgecore.config.kubeedge.io/v1alpha2".into(),
            kind: "EdgeCore".into(),
            database: Database { data_source: "/var/lib/kubeedge/edgecore.db".into() },
            feature_gates: BTreeMap::new(),
            modules: EdgeModules::default(),
        }
    }
}

impl Default for EdgeModules {
    fn default() -> Self {
        Self {
            edged: Edged::default(),
            edge_hub: EdgeHub::default(),
            event_bus: EventBus::default(),
            meta_manager: MetaManager::default(),
            service_bus: ServiceBus::default(),
            device_twin: DeviceTwin::default(),
            db_test: DBTest { enable: false },
            edge_stream: EdgeStream::default(),
            task_manager: Toggle { enable: true },
        }
    }
}

impl EdgeCore {
    /// The node's name.
    pub fn node_name(&self) -> &str {
        &self.modules.edged.hostname_override
    }

    /// The device store: beside the object store, so that no two modules share a file.
    pub fn device_database(&self) -> PathBuf {
        self.database.data_source.with_file_name("devicetwin.db")
    }

    /// Directory of the mappers' socket.
    pub fn dmi_directory(&self) -> PathBuf {
        let path = &self.modules.device_twin.dmi_sock_path;
        if path.extension().is_some_and(|e| e == "sock") {
            path.parent().unwrap_or(Path::new("/")).to_owned()
        } else {
            path.clone()
        }
    }
}
