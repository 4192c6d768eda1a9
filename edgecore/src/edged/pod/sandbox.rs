//! What the runtime is told to make a pod's sandbox.

use std::collections::HashMap;
use std::path::PathBuf;

use k8s_cri::v1::{
    DnsConfig, Int64Value, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol,
};
use k8s_openapi::api::core::v1::{Pod, PodSecurityContext};

use super::policy;
use super::security::{profile, seccomp};
use crate::edged::cgroups;
use crate::edged::config::Settings;
use crate::edged::dns::{self, Dns};
use crate::edged::runtime::labels;

/// Sandbox number `attempt` of the pod; `host` is the host's own resolver configuration.
pub fn config(pod: &Pod, attempt: u32, settings: &Settings, host: &Dns) -> PodSandboxConfig {
    let meta = &pod.metadata;
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let dns = dns::config(pod, settings, host);
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: text(&meta.name),
            uid: text(&meta.uid),
            namespace: text(&meta.namespace),
            attempt,
        }),
        // Who shares the node's network shares its name: runtimes refuse to set one there.
        hostname: match policy::host_network(pod) {
            true => String::new(),
            false => dns::hostname(pod, &settings.node_name),
        },
        log_directory: log_directory(pod, settings).to_string_lossy().into_owned(),
        dns_config: Some(DnsConfig { servers: dns.servers, searches: dns.searches, options: dns.options }),
        port_mappings: ports(pod),
        labels: pod_labels(pod),
        annotations: annotations(pod),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: cgroups::parent(pod, settings),
            security_context: Some(security(pod)),
            sysctls: sysctls(pod),
            overhead: None,
            resources: None,
        }),
        windows: None,
    }
}

/// Where the logs of the pod's containers lie: `<namespace>_<name>_<uid>`.
pub fn log_directory(pod: &Pod, settings: &Settings) -> PathBuf {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let meta = &pod.metadata;
    log_directory_of(&text(&meta.namespace), &text(&meta.name), &text(&meta.uid), settings)
}

/// The same for a pod of which only the identity is known.
pub fn log_directory_of(namespace: &str, name: &str, uid: &str, settings: &Settings) -> PathBuf {
    settings.pod_logs.join(format!("{namespace}_{name}_{uid}"))
}

/// The pod's own labels and those by which it is found again.
pub fn pod_labels(pod: &Pod) -> HashMap<String, String> {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let meta = &pod.metadata;
    let mut all: HashMap<String, String> = meta.labels.clone().unwrap_or_default().into_iter().collect();
    all.insert(labels::POD_NAME.into(), text(&meta.name));
    all.insert(labels::POD_NAMESPACE.into(), text(&meta.namespace));
    all.insert(labels::POD_UID.into(), text(&meta.uid));
    all
}

fn annotations(pod: &Pod) -> HashMap<String, String> {
    let mut all: HashMap<String, String> =
        pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect();
    all.insert("kubernetes.io/config.source".into(), "api".into());
    // An applied manifest can be a hundred kilobytes; the runtime has no use for it.
    all.remove("kubectl.kubernetes.io/last-applied-configuration");
    all
}

fn ports(pod: &Pod) -> Vec<PortMapping> {
    if policy::host_network(pod) {
        return Vec::new();
    }
    let all = policy::inits(pod)
        .iter()
        .filter(|init| policy::is_sidecar(init))
        .chain(&policy::spec(pod).containers);
    all.flat_map(|container| container.ports.iter().flatten())
        .map(|port| PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            } as i32,
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(0),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

/// Which namespaces the pod's containers share with each other and with the host.
pub fn namespaces(pod: &Pod) -> NamespaceOption {
    let spec = policy::spec(pod);
    let host = |wanted: Option<bool>, otherwise: NamespaceMode| {
        if wanted == Some(true) { NamespaceMode::Node as i32 } else { otherwise as i32 }
    };
    let shared = spec.share_process_namespace == Some(true);
    NamespaceOption {
        network: host(spec.host_network, NamespaceMode::Pod),
        ipc: host(spec.host_ipc, NamespaceMode::Pod),
        pid: host(spec.host_pid, if shared { NamespaceMode::Pod } else { NamespaceMode::Container }),
        ..NamespaceOption::default()
    }
}

fn security(pod: &Pod) -> LinuxSandboxSecurityContext {
    let spec = policy::spec(pod);
    let context = spec.security_context.clone().unwrap_or_default();
    let privileged = policy::inits(pod)
        .iter()
        .chain(&spec.containers)
        .any(|c| c.security_context.as_ref().and_then(|context| context.privileged) == Some(true));
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        run_as_user: context.run_as_user.map(|value| Int64Value { value }),
        run_as_group: context.run_as_user.and(context.run_as_group).map(|value| Int64Value { value }),
        supplemental_groups: groups(&context),
        privileged,
        seccomp: Some(match privileged {
            true => profile(k8s_cri::v1::security_profile::ProfileType::Unconfined),
            // The pause process needs nothing that the default profile forbids.
            false => seccomp(context.seccomp_profile.as_ref())
                .unwrap_or_else(|| profile(k8s_cri::v1::security_profile::ProfileType::RuntimeDefault)),
        }),
        ..LinuxSandboxSecurityContext::default()
    }
}

/// Supplemental groups, `fsGroup` included.
pub fn groups(context: &PodSecurityContext) -> Vec<i64> {
    let mut groups = context.supplemental_groups.clone().unwrap_or_default();
    groups.extend(context.fs_group);
    groups
}

fn sysctls(pod: &Pod) -> HashMap<String, String> {
    let context = policy::spec(pod).security_context.as_ref();
    let list = context.and_then(|context| context.sysctls.clone()).unwrap_or_default();
    list.into_iter().map(|sysctl| (sysctl.name, sysctl.value)).collect()
}
