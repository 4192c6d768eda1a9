//! What edged is told about pods: the kubelet's settings as far as they matter here, checked once at start.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use proto::config::{CONTAINERD_SOCKET, EdgeCore, KubeletConfig, RuntimeType};
use proto::quantity;

use super::housekeeping::Threshold;
use super::node::Reserve;

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupDriver {
    /// runc writes the file system itself.
    #[default]
    Cgroupfs,
    /// runc asks systemd.
    Systemd,
}

/// A setting that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No such driver.
    #[error(
        "modules.edged.tailoredKubeletConfig.cgroupDriver: {0:?} is neither cgroupfs nor systemd: write what the container \
         runtime uses"
    )]
    CgroupDriver(String),
    /// Logs cannot be turned over at no size.
    #[error(
        "modules.edged.tailoredKubeletConfig.containerLogMaxSize: {0:?} is no size: write for example 10Mi"
    )]
    LogSize(String),
    /// One file is written while another is kept.
    #[error("modules.edged.tailoredKubeletConfig.containerLogMaxFiles: {0} is too few: write 2 or more")]
    LogFiles(u32),
    /// The upper one must be above the lower one.
    #[error(
        "modules.edged.tailoredKubeletConfig: imageGCHighThresholdPercent ({high}) must be at most 100 and          imageGCLowThresholdPercent ({low}) not above it"
    )]
    ImagePercents {
        /// The upper threshold.
        high: u8,
        /// The lower threshold.
        low: u8,
    },
    /// What is to be enforced is not known.
    #[error(
        "modules.edged.tailoredKubeletConfig.enforceNodeAllocatable: option {0:?} is none of pods, system-reserved, kube-reserved and \
         none, or stands beside none: write [pods] or [none]"
    )]
    Enforce(String),
    /// Fewer than none.
    #[error(
        "modules.edged.tailoredKubeletConfig.nodeStatusMaxImages: {0} must be -1 (all) or greater: write for example 50"
    )]
    ListedImages(i32),
    /// A threshold of eviction.
    #[error(transparent)]
    Node(#[from] super::node::SettingsError),
}

/// Everything that the pods of this node depend on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the Node object.
    pub node_name: String,
    /// Address that pods on the host's network report.
    pub node_address: IpAddr,
    /// The kubelet's directory, such as `/var/lib/kubelet`.
    pub root: PathBuf,
    /// Where container logs go, such as `/var/log/pods`.
    pub pod_logs: PathBuf,
    /// Socket of the container runtime.
    pub runtime_endpoint: String,
    /// What runs the containers; told from the socket when nobody has said.
    pub runtime_type: RuntimeType,
    /// Image of pod sandboxes, where edged makes them itself (Docker).
    pub pause_image: String,
    /// Socket of the image service, if it is another one.
    pub image_endpoint: Option<String>,
    /// Deadline of calls to the runtime.
    pub runtime_timeout: Duration,
    /// Who makes cgroups.
    pub cgroup_driver: CgroupDriver,
    /// Cgroup below which `kubepods` lies; `/` on a normal node.
    pub cgroup_root: String,
    /// Name servers of the cluster; empty when there are none at the edge.
    pub cluster_dns: Vec<String>,
    /// Domain of the cluster.
    pub cluster_domain: String,
    /// The host's resolver configuration.
    pub resolv_conf: PathBuf,
    /// Whether CPU limits are enforced.
    pub cpu_cfs_quota: bool,
    /// Length of a CPU accounting period.
    pub cpu_cfs_period: Duration,
    /// How many images are pulled at a time.
    pub parallel_pulls: usize,
    /// Whether events go to the cloud.
    pub report_events: bool,
    /// Most pods.
    pub max_pods: u32,
    /// What pods may not ask for.
    pub reserve: Reserve,
    /// Whether all pods together are held to what is left (kubelet `enforceNodeAllocatable: [pods]`).
    pub enforce_reserve: bool,
    /// Most processes and threads of a pod; none when there is no limit.
    pub pod_pids: Option<u64>,
    /// Images in the node's status; none for all.
    pub listed_images: Option<usize>,
    /// Logs, images and evictions.
    pub housekeeping: Housekeeping,
    /// The folder of static pods; none when there are to be none.
    pub static_pods: Option<PathBuf>,
    /// Time between two looks at it.
    pub static_pods_every: Duration,
}

/// What keeps logs, images and pods from filling the machine.
#[derive(Clone, Debug)]
pub struct Housekeeping {
    /// A log file is turned over at this size, in bytes.
    pub log_max_size: u64,
    /// Log files kept per container, the one that is written included; at least 2.
    pub log_max_files: u32,
    /// Use of the disk in percent at which images are removed.
    pub image_high_percent: u8,
    /// Use of the disk in percent down to which images are removed.
    pub image_low_percent: u8,
    /// Age under which no image is removed.
    pub image_min_age: Duration,
    /// When pods have to go.
    pub thresholds: Vec<Threshold>,
    /// How long a pod has at most to stop when a soft threshold was crossed.
    pub soft_grace: Duration,
    /// How long the node counts as short of something after it was last seen short of it.
    pub pressure_lasts: Duration,
    /// Time between two looks at logs and at what the machine has left (kubelet `containerLogMonitorInterval`,
    /// `monitoringInterval`).
    pub look_every: Duration,
    /// Time between two looks at images (kubelet `ImageGCPeriod`).
    pub collect_every: Duration,
}

impl Housekeeping {
    /// Reads the kubelet's settings.
    ///
    /// # Errors
    /// When a value makes no sense; the message names its key.
    pub fn from_config(kubelet: &KubeletConfig) -> Result<Self, SettingsError> {
        let (high, low) = (kubelet.image_gc_high_threshold_percent, kubelet.image_gc_low_threshold_percent);
        if high > 100 || low > high {
            return Err(SettingsError::ImagePercents { high, low });
        }
        let size = &kubelet.container_log_max_size;
        let bytes =
            quantity::whole(size).ok().and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
        if kubelet.container_log_max_files < 2 {
            return Err(SettingsError::LogFiles(kubelet.container_log_max_files));
        }
        Ok(Self {
            log_max_size: bytes.ok_or_else(|| SettingsError::LogSize(size.clone()))?,
            log_max_files: kubelet.container_log_max_files,
            image_high_percent: high,
            image_low_percent: low,
            image_min_age: kubelet.image_minimum_gc_age.get(),
            thresholds: Threshold::all(kubelet)?,
            soft_grace: Duration::from_secs(kubelet.eviction_max_pod_grace_period.into()),
            pressure_lasts: kubelet.eviction_pressure_transition_period.get(),
            look_every: Duration::from_secs(10),
            collect_every: Duration::from_secs(300),
        })
    }
}

impl Default for Housekeeping {
    fn default() -> Self {
        let thresholds = Threshold::all(&KubeletConfig::default()).unwrap_or_default();
        Self {
            log_max_size: 10 << 20,
            log_max_files: 5,
            image_high_percent: 85,
            image_low_percent: 80,
            image_min_age: Duration::from_secs(120),
            thresholds,
            soft_grace: Duration::ZERO,
            pressure_lasts: Duration::from_secs(300),
            look_every: Duration::from_secs(10),
            collect_every: Duration::from_secs(300),
        }
    }
}

impl Settings {
    /// The defaults of `edgecore.yaml` for a node of that name and address, with everything below `root`.
    pub fn new(node_name: impl Into<String>, node_address: IpAddr, root: PathBuf, pod_logs: PathBuf) -> Self {
        Self {
            node_name: node_name.into(),
            node_address,
            root,
            pod_logs,
            runtime_endpoint: CONTAINERD_SOCKET.into(),
            runtime_type: RuntimeType::default(),
            pause_image: "kubeedge/pause:3.6".into(),
            image_endpoint: None,
            runtime_timeout: Duration::from_secs(120),
            cgroup_driver: CgroupDriver::default(),
            cgroup_root: "/".into(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            cpu_cfs_quota: true,
            cpu_cfs_period: Duration::from_millis(100),
            parallel_pulls: 1,
            report_events: true,
            max_pods: 110,
            reserve: Reserve::default(),
            enforce_reserve: true,
            pod_pids: None,
            listed_images: Some(0),
            housekeeping: Housekeeping::default(),
            static_pods: None,
            static_pods_every: Duration::from_secs(20),
        }
    }

    /// The settings of `edgecore.yaml`; `address` is what the node answers on.
    ///
    /// # Errors
    /// When a value makes no sense; the message names its key.
    pub fn from_config(config: &EdgeCore, address: IpAddr) -> Result<Self, SettingsError> {
        let edged = &config.modules.edged;
        let kubelet = &edged.tailored_kubelet_config;
        let name = config.node_name();
        let mut settings =
            Self::new(name, address, edged.root_directory.clone(), kubelet.pod_logs_dir.clone());
        settings.runtime_endpoint.clone_from(&kubelet.container_runtime_endpoint);
        settings.runtime_type = edged.container_runtime;
        settings.pause_image.clone_from(&edged.pod_sandbox_image);
        settings.image_endpoint =
            Some(kubelet.image_service_endpoint.clone()).filter(|text| !text.is_empty());
        settings.runtime_timeout = kubelet.runtime_request_timeout.get();
        settings.cgroup_driver = match kubelet.cgroup_driver.as_str() {
            "systemd" => CgroupDriver::Systemd,
            "cgroupfs" => CgroupDriver::Cgroupfs,
            other => return Err(SettingsError::CgroupDriver(other.to_owned())),
        };
        if !kubelet.cgroup_root.is_empty() {
            settings.cgroup_root.clone_from(&kubelet.cgroup_root);
        }
        settings.cluster_dns = kubelet.cluster_dns.iter().flatten().map(ToString::to_string).collect();
        settings.cluster_domain.clone_from(&kubelet.cluster_domain);
        settings.resolv_conf.clone_from(&kubelet.resolv_conf);
        settings.cpu_cfs_quota = kubelet.cpu_cfs_quota;
        settings.parallel_pulls = if kubelet.serialize_image_pulls { 1 } else { 4 };
        settings.report_events = edged.report_event;
        settings.max_pods = kubelet.max_pods;
        settings.reserve = Reserve::from_config(kubelet)?;
        settings.enforce_reserve = enforces_pods(kubelet.enforce_node_allocatable.as_deref())?;
        settings.pod_pids = u64::try_from(kubelet.pod_pids_limit).ok().filter(|most| *most > 0);
        // The kubelet's rule: -1 is all, and nothing below that makes sense.
        settings.listed_images = match kubelet.node_status_max_images {
            -1 => None,
            most => Some(usize::try_from(most).map_err(|_| SettingsError::ListedImages(most))?),
        };
        settings.housekeeping = Housekeeping::from_config(kubelet)?;
        settings.static_pods =
            Some(kubelet.static_pod_path.clone()).filter(|path| !path.as_os_str().is_empty());
        settings.static_pods_every = kubelet.file_check_frequency.get().max(Duration::from_secs(1));
        Ok(settings)
    }

    /// Everything that edged keeps for one pod.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }
}

/// Whether pods are held to what is allocatable. System and agents live in groups of their own, which are left to the system.
fn enforces_pods(options: Option<&[String]>) -> Result<bool, SettingsError> {
    let options = options.unwrap_or_default();
    let wrong = options.iter().find(|option| match option.as_str() {
        "pods" | "system-reserved" | "kube-reserved" => false,
        "none" | "" => options.len() > 1,
        _ => true,
    });
    match wrong {
        Some(option) => Err(SettingsError::Enforce(option.clone())),
        None => Ok(options.iter().any(|option| option == "pods")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_file_are_the_defaults_here() {
        let settings = Settings::from_config(&EdgeCore::default(), [127, 0, 0, 1].into()).expect("settings");
        let own = Settings::new(settings.node_name.clone(), [127, 0, 0, 1].into(), "/".into(), "/".into());
        assert_eq!(settings.runtime_endpoint, own.runtime_endpoint);
        assert_eq!(settings.cgroup_driver, CgroupDriver::Cgroupfs);
        assert_eq!(
            (settings.runtime_timeout, settings.parallel_pulls),
            (own.runtime_timeout, own.parallel_pulls)
        );
        assert_eq!(settings.report_events, own.report_events);
    }

    #[test]
    fn what_cannot_be_enforced_listed_or_reserved_is_named_by_its_key() {
        type Change = fn(&mut KubeletConfig);
        let wrong: [(Change, &str); 4] = [
            (
                |k| k.enforce_node_allocatable = Some(vec!["all".into()]),
                "enforceNodeAllocatable: option \"all\"",
            ),
            (
                |k| k.enforce_node_allocatable = Some(vec!["none".into(), "pods".into()]),
                "enforceNodeAllocatable: option \"none\"",
            ),
            (|k| k.node_status_max_images = -2, "nodeStatusMaxImages: -2"),
            (
                |k| k.kube_reserved = Some([("cpu".to_owned(), "lots".to_owned())].into()),
                "kubeReserved[\"cpu\"]: \"lots\"",
            ),
        ];
        for (change, expected) in wrong {
            let mut config = EdgeCore::default();
            change(&mut config.modules.edged.tailored_kubelet_config);
            let error = Settings::from_config(&config, [127, 0, 0, 1].into()).expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn an_unknown_cgroup_driver_is_named_by_its_key() {
        let mut config = EdgeCore::default();
        config.modules.edged.tailored_kubelet_config.cgroup_driver = "mine".into();
        let error = Settings::from_config(&config, [127, 0, 0, 1].into()).expect_err("no driver");
        assert!(error.to_string().starts_with("modules.edged.tailoredKubeletConfig.cgroupDriver: \"mine\""));
    }
}
