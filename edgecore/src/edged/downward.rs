//! The downward API: what a pod may learn about itself, through variables and through files.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use super::pod::policy;
use proto::quantity;

/// What the node adds to a pod's knowledge of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The node's name.
    pub node: String,
    /// The node's address.
    pub host: IpAddr,
    /// The pod's addresses; empty while there is no network yet.
    pub pod: Vec<IpAddr>,
    /// Allocatable CPU in thousandths: the limit of a container without one.
    pub cpu_milli: i64,
    /// Allocatable memory in bytes: the limit of a container without one.
    pub memory: i64,
    /// Allocatable bytes of disk: the limit of a container without one.
    pub storage: i64,
    /// Memory of the machine in bytes.
    pub machine_memory: i64,
}

/// A field or resource that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownwardError {
    /// No such field.
    #[error("unsupported fieldPath: {0}")]
    Field(String),
    /// No such resource.
    #[error("unsupported container resource: {0}")]
    Resource(String),
    /// The container named does not exist in this pod.
    #[error("container {0} not found")]
    Container(String),
}

/// The value of `fieldRef.fieldPath`.
pub fn field(pod: &Pod, path: &str, facts: &Facts) -> Result<String, DownwardError> {
    let meta = &pod.metadata;
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return Err(DownwardError::Field(path.to_owned())),
        };
        return Ok(map.and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    let host_network = policy::host_network(pod);
    let addresses: Vec<String> = match host_network {
        true => vec![facts.host.to_string()],
        false => facts.pod.iter().map(ToString::to_string).collect(),
    };
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => facts.node.clone(),
        "spec.serviceAccountName" => policy::spec(pod).service_account_name.clone().unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => facts.host.to_string(),
        "status.podIP" => addresses.first().cloned().unwrap_or_default(),
        "status.podIPs" => addresses.join(","),
        _ => return Err(DownwardError::Field(path.to_owned())),
    })
}

/// `metadata.labels['key']` into its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, key) = path.split_once("['")?;
    Some((map, key.strip_suffix("']")?))
}

/// A map as the files of the downward API show it: one `key="value"` a line.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={value:?}");
    map.into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

/// The value of `resourceFieldRef`; `own` is the container whose environment it is, if any.
pub fn resource(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    facts: &Facts,
) -> Result<String, DownwardError> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match named {
        Some(name) => policy::inits(pod).iter().chain(&policy::spec(pod).containers).find(|c| c.name == name),
        None => own,
    };
    let container =
        container.ok_or_else(|| DownwardError::Container(named.unwrap_or_default().to_owned()))?;
    let unknown = || DownwardError::Resource(selector.resource.clone());
    let (set, name) = selector.resource.split_once('.').ok_or_else(unknown)?;
    let resources = container.resources.as_ref();
    let map = match set {
        "limits" => resources.and_then(|resources| resources.limits.as_ref()),
        "requests" => resources.and_then(|resources| resources.requests.as_ref()),
        _ => return Err(unknown()),
    };
    let amount = map.and_then(|map| map.get(name)).and_then(|quantity| quantity::nano(&quantity.0).ok());
    // A container without a limit may use what the node can give.
    let fallback = match (set, name) {
        ("limits", "cpu") => i128::from(facts.cpu_milli) * 1_000_000,
        ("limits", "memory") => i128::from(facts.memory) * 1_000_000_000,
        ("limits", "ephemeral-storage") => i128::from(facts.storage) * 1_000_000_000,
        (_, "cpu" | "memory" | "ephemeral-storage") => 0,
        _ if name.starts_with("hugepages-") => 0,
        _ => return Err(unknown()),
    };
    let divisor = selector.divisor.as_ref().and_then(|divisor| quantity::nano(&divisor.0).ok()).unwrap_or(0);
    let divisor = if divisor > 0 { divisor } else { 1_000_000_000 };
    let amount = amount.unwrap_or(fallback);
    Ok((amount / divisor + i128::from(amount % divisor > 0)).to_string())
}
