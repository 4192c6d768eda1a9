//! The embedded Kubernetes API.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ANY;
use crate::config::Span;

/// Our addition: the embedded Kubernetes API, used when `kubeAPIConfig` names no other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlane {
    /// Whether it may be used at all.
    pub enable: bool,
    /// Where its database lives; 0700.
    pub data_dir: PathBuf,
    /// Local address of the API.
    pub address: IpAddr,
    /// Port of the API.
    pub port: u16,
    /// Where the administrator's kubeconfig is written; 0600.
    pub admin_kube_config: PathBuf,
    /// Whether secrets are encrypted in the database, with the keys in `pki/secrets.key` below the data directory. The first key is made
    /// when there is none.
    pub encrypt_secrets: bool,
    /// An `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`, which says what is encrypted in the database and with which keys
    /// (kube-apiserver's `--encryption-provider-config`); empty is none.
    pub encryption_config: PathBuf,
    /// How long a node may be silent before it counts as unreachable (kube-controller-manager's `--node-monitor-grace-period`).
    pub node_monitor_grace_period: Span,
    /// Who asked the API for what.
    pub audit: Audit,
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self {
            enable: true,
            data_dir: "/var/lib/cloudcore".into(),
            address: ANY,
            port: 6443,
            admin_kube_config: "/etc/kubeedge/admin.conf".into(),
            encrypt_secrets: false,
            encryption_config: PathBuf::new(),
            node_monitor_grace_period: Span::seconds(40),
            audit: Audit::default(),
        }
    }
}

/// The audit log of the embedded Kubernetes API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// The file that it is written to; empty is off.
    pub path: PathBuf,
    /// An `audit.k8s.io/v1` Policy; empty tells of every request without bodies.
    pub policy: PathBuf,
    /// Megabytes at which the file is put aside.
    #[serde(rename = "maxSizeMB")]
    pub max_size_mb: u32,
    /// Files put aside that are kept.
    pub max_files: u32,
}

impl Default for Audit {
    fn default() -> Self {
        Self { path: PathBuf::new(), policy: PathBuf::new(), max_size_mb: 100, max_files: 10 }
    }
}
