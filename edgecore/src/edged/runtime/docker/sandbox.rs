//! A pod's sandbox as a pause container.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HostConfig, PortBinding, PortMap};
use k8s_cri::v1::{DnsConfig, LinuxSandboxSecurityContext, PodSandboxConfig, PortMapping, Protocol};

use super::names;
use super::oom::Floor;
use super::security::{self, Namespaces, Options};

/// The pause process dies last (kubelet `defaultSandboxOOMAdj`).
const OOM_SCORE: i64 = -998;
/// It sleeps (kubelet `defaultSandboxCPUshares`).
const CPU_SHARES: i64 = 2;

/// What the engine is told; `image` is the pause image.
pub(super) fn body(
    config: PodSandboxConfig,
    image: &str,
    options: Options,
    oom: Floor,
) -> ContainerCreateBody {
    let linux = config.linux.unwrap_or_default();
    let context = linux.security_context.unwrap_or_default();
    let shares = Namespaces::of(context.namespace_options.as_ref());
    let (exposed, bindings) = ports(&config.port_mappings);
    let mut labels = names::join(config.labels, config.annotations);
    labels.insert(names::TYPE.to_owned(), names::SANDBOX.to_owned());
    let text = |host: bool| host.then(|| "host".to_owned());
    ContainerCreateBody {
        image: Some(image.to_owned()),
        hostname: (!shares.host_network && !config.hostname.is_empty()).then_some(config.hostname),
        user: user(&context),
        labels: Some(labels),
        exposed_ports: (!exposed.is_empty()).then_some(exposed),
        host_config: Some(HostConfig {
            network_mode: text(shares.host_network),
            uts_mode: text(shares.host_network),
            // Only a shareable IPC namespace can be joined.
            ipc_mode: Some(if shares.host_ipc { "host" } else { "shareable" }.to_owned()),
            pid_mode: text(shares.host_pid),
            port_bindings: (!bindings.is_empty()).then_some(bindings),
            cgroup_parent: (!linux.cgroup_parent.is_empty()).then_some(linux.cgroup_parent),
            sysctls: (!linux.sysctls.is_empty()).then_some(linux.sysctls),
            privileged: Some(context.privileged),
            readonly_rootfs: Some(context.readonly_rootfs),
            group_add: security::groups(&context.supplemental_groups),
            security_opt: options.into_vec(),
            cpu_shares: Some(CPU_SHARES),
            oom_score_adj: Some(oom.raise(OOM_SCORE)),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

fn user(context: &LinuxSandboxSecurityContext) -> Option<String> {
    let number = |value: &Option<k8s_cri::v1::Int64Value>| value.as_ref().map(|value| value.value);
    security::user(number(&context.run_as_user), "", number(&context.run_as_group))
}

/// Only ports with a place on the host are published.
fn ports(mappings: &[PortMapping]) -> (Vec<String>, PortMap) {
    let (mut exposed, mut bindings) = (Vec::new(), HashMap::new());
    for mapping in mappings.iter().filter(|mapping| mapping.host_port > 0) {
        let protocol = match Protocol::try_from(mapping.protocol) {
            Ok(Protocol::Udp) => "udp",
            Ok(Protocol::Sctp) => "sctp",
            _ => "tcp",
        };
        let port = format!("{}/{protocol}", mapping.container_port);
        let list: &mut Option<Vec<PortBinding>> = bindings.entry(port.clone()).or_default();
        list.get_or_insert_default().push(PortBinding {
            host_ip: (!mapping.host_ip.is_empty()).then(|| mapping.host_ip.clone()),
            host_port: Some(mapping.host_port.to_string()),
        });
        if !exposed.contains(&port) {
            exposed.push(port);
        }
    }
    (exposed, bindings)
}

/// The resolver configuration of a pod. The engine's own would mix in what the host has.
pub(super) fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use k8s_cri::v1::{LinuxPodSandboxConfig, NamespaceMode, NamespaceOption};

    use super::*;

    fn made(options: NamespaceOption, ports: Vec<PortMapping>) -> ContainerCreateBody {
        let context = LinuxSandboxSecurityContext { namespace_options: Some(options), ..Default::default() };
        let linux = LinuxPodSandboxConfig {
            cgroup_parent: "/kubepods/podu".into(),
            security_context: Some(context),
            ..Default::default()
        };
        let config = PodSandboxConfig {
            hostname: "h".into(),
            port_mappings: ports,
            linux: Some(linux),
            ..Default::default()
        };
        body(config, "pause:1", Options::default(), Floor::default())
    }

    #[test]
    fn a_pod_of_its_own_has_a_hostname_and_namespaces_that_can_be_joined() {
        let body = made(NamespaceOption::default(), Vec::new());
        let host = body.host_config.expect("a host config");
        assert_eq!(body.hostname.as_deref(), Some("h"));
        assert_eq!((host.network_mode, host.ipc_mode.as_deref()), (None, Some("shareable")));
        assert_eq!(host.cgroup_parent.as_deref(), Some("/kubepods/podu"));
        assert_eq!(body.labels.expect("labels")[names::TYPE], names::SANDBOX);
    }

    #[test]
    fn a_pod_on_the_hosts_network_keeps_the_hosts_name() {
        let node = NamespaceMode::Node as i32;
        let options = NamespaceOption { network: node, ipc: node, pid: node, ..Default::default() };
        let body = made(options, Vec::new());
        let host = body.host_config.expect("a host config");
        assert_eq!(body.hostname, None);
        for mode in [host.network_mode, host.ipc_mode, host.pid_mode, host.uts_mode] {
            assert_eq!(mode.as_deref(), Some("host"));
        }
    }

    #[test]
    fn ports_without_a_place_on_the_host_are_not_published() {
        let port = |container_port: i32, host_port: i32| PortMapping {
            container_port,
            host_port,
            ..Default::default()
        };
        let body = made(NamespaceOption::default(), vec![port(80, 8080), port(80, 8081), port(90, 0)]);
        assert_eq!(body.exposed_ports.expect("ports"), ["80/tcp"]);
        let bindings = body.host_config.and_then(|host| host.port_bindings).expect("bindings");
        assert_eq!(bindings["80/tcp"].as_ref().map(Vec::len), Some(2));
    }

    #[test]
    fn a_resolver_configuration_says_what_was_asked_and_nothing_else() {
        let dns = DnsConfig {
            servers: vec!["10.0.0.1".into()],
            searches: vec!["a".into(), "b".into()],
            options: Vec::new(),
        };
        assert_eq!(resolv_conf(&dns), "nameserver 10.0.0.1\nsearch a b\n");
    }
}
