//! `edged.tailoredKubeletConfig`: the kubelet's settings. Those that edged acts upon are fields; the others are accepted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Span;

/// Where containerd listens.
pub const CONTAINERD_SOCKET: &str = "unix:///run/containerd/containerd.sock";

/// The kubelet settings that edged acts upon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeletConfig {
    /// Socket of the container runtime.
    pub container_runtime_endpoint: String,
    /// Socket of the image service; usually the same.
    pub image_service_endpoint: String,
    /// `cgroupfs` or `systemd`, as the runtime has it.
    pub cgroup_driver: String,
    /// Parent cgroup of all pods; empty for the root.
    pub cgroup_root: String,
    /// Name servers of pods.
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: Option<Vec<IpAddr>>,
    /// Search domain of pods.
    pub cluster_domain: String,
    /// Most pods.
    pub max_pods: u32,
    /// Directory of pods that need no API.
    pub static_pod_path: PathBuf,
    /// Thresholds of eviction.
    pub eviction_hard: Option<BTreeMap<String, String>>,
    /// Thresholds of eviction that must last for a while.
    pub eviction_soft: Option<BTreeMap<String, String>>,
    /// How long each of them must last.
    pub eviction_soft_grace_period: Option<BTreeMap<String, Span>>,
    /// How much more than the threshold there must be before evicting ends.
    pub eviction_minimum_reclaim: Option<BTreeMap<String, String>>,
    /// Seconds that a pod has at most to stop when a soft threshold was crossed.
    pub eviction_max_pod_grace_period: u32,
    /// How long a node counts as short of something after it was last seen short of it.
    pub eviction_pressure_transition_period: Span,
    /// What is enforced: `pods`, or `none`.
    pub enforce_node_allocatable: Option<Vec<String>>,
    /// Disk use in percent at which images are collected.
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub image_gc_high_threshold_percent: u8,
    /// Disk use in percent down to which images are collected.
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub image_gc_low_threshold_percent: u8,
    /// Age under which no image is collected.
    #[serde(rename = "imageMinimumGCAge")]
    pub image_minimum_gc_age: Span,
    /// Taints of the node at registration.
    pub register_with_taints: Option<Vec<Taint>>,
    /// Whether the node registers itself.
    pub register_node: bool,
    /// Local address of the kubelet's HTTP port.
    pub address: IpAddr,
    /// The kubelet's HTTP port. KubeEdge's cloud expects 10350.
    pub read_only_port: u16,
    /// Where container logs live.
    pub pod_logs_dir: PathBuf,
    /// Time between two full looks at all pods.
    pub sync_frequency: Span,
    /// Time between two looks at the static pods.
    pub file_check_frequency: Span,
    /// Time between two computations of the node's status.
    pub node_status_update_frequency: Span,
    /// Longest time between two reports of an unchanged status.
    pub node_status_report_frequency: Span,
    /// How long a lease lives without renewal; it is renewed after a quarter of it.
    pub node_lease_duration_seconds: u32,
    /// Images listed in the node's status; 0 for none, -1 for all.
    pub node_status_max_images: i32,
    /// A log file is turned over at this size.
    pub container_log_max_size: String,
    /// Log files kept per container.
    pub container_log_max_files: u32,
    /// Whether images are pulled one after the other.
    pub serialize_image_pulls: bool,
    /// How long a call to the runtime may take.
    pub runtime_request_timeout: Span,
    /// The host's resolver file for pods with the host's DNS.
    pub resolv_conf: PathBuf,
    /// Most processes in a pod; negative for no limit.
    pub pod_pids_limit: i64,
    /// CPU limits are enforced by quota.
    #[serde(rename = "cpuCFSQuota")]
    pub cpu_cfs_quota: bool,
    /// Resources kept for the system.
    pub system_reserved: Option<BTreeMap<String, String>>,
    /// Resources kept for the agents.
    pub kube_reserved: Option<BTreeMap<String, String>>,
    /// Whether the start fails on a host with swap.
    pub fail_swap_on: bool,
    /// The OOM score of edgecore.
    pub oom_score_adj: i32,
}

/// A taint of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    /// The key.
    pub key: String,
    /// The value; may be empty.
    #[serde(default)]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

impl Default for KubeletConfig {
    fn default() -> Self {
        let eviction = [
            ("memory.available", "100Mi"),
            ("nodefs.available", "10%"),
            ("nodefs.inodesFree", "5%"),
            ("imagefs.available", "15%"),
            ("imagefs.inodesFree", "5%"),
        ];
        Self {
            container_runtime_endpoint: CONTAINERD_SOCKET.into(),
            image_service_endpoint: CONTAINERD_SOCKET.into(),
            cgroup_driver: "cgroupfs".into(),
            cgroup_root: String::new(),
            cluster_dns: None,
            cluster_domain: "cluster.local".into(),
            max_pods: 110,
            static_pod_path: "/etc/kubeedge/manifests".into(),
            eviction_hard: Some(eviction.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            eviction_soft: None,
            eviction_soft_grace_period: None,
            eviction_minimum_reclaim: None,
            eviction_max_pod_grace_period: 0,
            eviction_pressure_transition_period: Span::seconds(300),
            enforce_node_allocatable: Some(vec!["pods".into()]),
            image_gc_high_threshold_percent: 85,
            image_gc_low_threshold_percent: 80,
            image_minimum_gc_age: Span::seconds(120),
            register_with_taints: None,
            register_node: true,
            address: IpAddr::from([127, 0, 0, 1]),
            read_only_port: 10350,
            pod_logs_dir: "/var/log/pods".into(),
            sync_frequency: Span::seconds(60),
            file_check_frequency: Span::seconds(20),
            node_status_update_frequency: Span::seconds(10),
            node_status_report_frequency: Span::seconds(300),
            node_lease_duration_seconds: 40,
            node_status_max_images: 0,
            container_log_max_size: "10Mi".into(),
            container_log_max_files: 5,
            serialize_image_pulls: true,
            runtime_request_timeout: Span::seconds(120),
            resolv_conf: "/etc/resolv.conf".into(),
            pod_pids_limit: -1,
            cpu_cfs_quota: true,
            system_reserved: None,
            kube_reserved: None,
            fail_swap_on: false,
            oom_score_adj: -999,
        }
    }
}

/// The other settings, with KubeEdge's defaults. Written in two halves for the macro's recursion limit.
pub(super) fn without_effect() -> Value {
    let mut all = json!({
        "featureGates": {},
        "imageMaximumGCAge": "0s",
        "volumeStatsAggPeriod": "1m0s",
        "registryPullQPS": 5,
        "registryBurst": 10,
        "eventRecordQPS": 50,
        "eventBurst": 100,
        "enableDebuggingHandlers": true,
        "streamingConnectionIdleTimeout": "4h0m0s",
        "cpuManagerPolicy": "none",
        "cpuManagerPolicyOptions": null,
        "cpuManagerReconcilePeriod": "10s",
        "memoryManagerPolicy": "None",
        "topologyManagerPolicy": "none",
        "topologyManagerPolicyOptions": null,
        "topologyManagerScope": "container",
        "hairpinMode": "promiscuous-bridge",
        "cpuCFSQuotaPeriod": "100ms",
        "maxOpenFiles": 1_000_000,
        "contentType": "application/json",
        "kubeAPIQPS": 50,
        "kubeAPIBurst": 100,
        "maxParallelImagePulls": null,
        "enableControllerAttachDetach": true,
        "makeIPTablesUtilChains": true,
        "iptablesMasqueradeBit": 14,
        "iptablesDropBit": 15,
        "containerLogMaxWorkers": 1,
        "containerLogMonitorInterval": "10s",
        "configMapAndSecretChangeDetectionStrategy": "Get",
    });
    let more = json!({
        "volumePluginDir": "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/",
        "cgroupsPerQOS": true,
        "localStorageCapacityIsolation": true,
        "seccompDefault": false,
        "memoryThrottlingFactor": 0.9,
        "enableSystemLogHandler": true,
        "enableSystemLogQuery": false,
        "enableProfilingHandler": true,
        "enableDebugFlagsHandler": true,
        "enableContentionProfiling": false,
        "failCgroupV1": false,
        "shutdownGracePeriod": "0s",
        "shutdownGracePeriodCriticalPods": "0s",
        "shutdownGracePeriodByPodPriority": null,
        "allowedUnsafeSysctls": null,
        "qosReserved": null,
        "reservedSystemCPUs": "",
        "reservedMemory": null,
        "memorySwap": {},
        "crashLoopBackOff": {},
        "logging": {},
        "podCIDR": "",
        "podsPerCore": 0,
        "kubeletCgroups": "",
        "systemCgroups": "",
        "systemReservedCgroup": "",
        "kubeReservedCgroup": "",
        "protectKernelDefaults": false,
        "kernelMemcgNotification": false,
        "singleProcessOOMKill": false,
        "showHiddenMetricsForVersion": "",
        "providerID": "",
    });
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    all
}
