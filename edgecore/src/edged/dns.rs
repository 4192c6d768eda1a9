//! Hostname, resolver configuration and `/etc/hosts` of a pod.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

use super::config::Settings;
use super::pod::policy;

/// Limits of the resolver libraries in images.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
/// Longest host name of Linux.
const MAX_HOSTNAME: usize = 63;

/// What goes into `/etc/resolv.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Name servers.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options.
    pub options: Vec<String>,
}

impl Dns {
    /// Reads a `resolv.conf`.
    pub fn parse(text: &str) -> Self {
        let mut dns = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_whitespace();
            let key = words.next();
            let rest = words.map(str::to_owned);
            match key {
                Some("nameserver") => dns.servers.extend(rest.take(1)),
                Some("search" | "domain") => dns.searches = rest.collect(),
                Some("options") => dns.options.extend(rest),
                _ => {}
            }
        }
        dns
    }
}

/// The pod's resolver configuration, given the host's own.
pub fn config(pod: &Pod, settings: &Settings, host: &Dns) -> Dns {
    let spec = policy::spec(pod);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let cluster_first = match spec.dns_policy.as_deref() {
        Some("ClusterFirst") | None => !policy::host_network(pod),
        Some("ClusterFirstWithHostNet") => true,
        _ => false,
    };
    let mut dns = match spec.dns_policy.as_deref() {
        Some("None") => Dns::default(),
        _ if cluster_first && !settings.cluster_dns.is_empty() => {
            let domain = &settings.cluster_domain;
            let mut searches =
                vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            searches.extend(host.searches.iter().cloned());
            Dns { servers: settings.cluster_dns.clone(), searches, options: vec!["ndots:5".into()] }
        }
        _ => host.clone(),
    };
    if let Some(own) = &spec.dns_config {
        dns.servers.extend(own.nameservers.clone().unwrap_or_default());
        dns.searches.extend(own.searches.clone().unwrap_or_default());
        for option in own.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            dns.options.retain(|known| known.split(':').next() != Some(name.as_str()));
            dns.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name,
            });
        }
    }
    dedup(&mut dns.servers);
    dedup(&mut dns.searches);
    dns.servers.truncate(MAX_SERVERS);
    dns.searches.truncate(MAX_SEARCHES);
    dns
}

fn dedup(list: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

/// The host name that the pod's containers see.
pub fn hostname(pod: &Pod, node: &str) -> String {
    let spec = policy::spec(pod);
    if policy::host_network(pod) {
        return node.to_owned();
    }
    let own = spec.hostname.clone().filter(|name| !name.is_empty());
    let mut name = own.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    name.truncate(MAX_HOSTNAME);
    name.trim_end_matches(['-', '.']).to_owned()
}

/// The pod's `/etc/hosts`.
pub fn hosts(pod: &Pod, addresses: &[IpAddr], settings: &Settings, of_host: &str) -> String {
    let spec = policy::spec(pod);
    let mut text = if policy::host_network(pod) {
        format!("# Kubernetes-managed hosts file (host network).\n{of_host}")
    } else {
        let name = hostname(pod, &settings.node_name);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let full = spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty());
        let full = full.map(|sub| format!("{name}.{sub}.{namespace}.svc.{}\t", settings.cluster_domain));
        let mut text = String::from(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
        );
        for address in addresses {
            text.push_str(&format!("{address}\t{}{name}\n", full.as_deref().unwrap_or_default()));
        }
        text
    };
    let aliases = spec.host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolv_conf_is_read_line_by_line() {
        let dns =
            Dns::parse("# c\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a b\noptions ndots:2 rotate\n");
        assert_eq!(dns.servers, ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(dns.searches, ["a", "b"]);
        assert_eq!(dns.options, ["ndots:2", "rotate"]);
    }
}
