use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use k8s_openapi::api::core::v1::Taint;
use proto::config::Edged;

use proto::quantity::{self, QuantityError};

/// What the operator says about the node.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Name of the Node object.
    pub name: String,
    /// The address that the node reports.
    pub address: IpAddr,
    /// The disk that pods use.
    pub root: PathBuf,
    /// Labels besides those that every edge node has.
    pub labels: BTreeMap<String, String>,
    /// Taints at registration.
    pub taints: Vec<Taint>,
    /// Whether pods may be scheduled here.
    pub schedulable: bool,
    /// How many pods the node takes.
    pub max_pods: u32,
    /// Port of the kubelet's read-only endpoint.
    pub port: u16,
    /// How long a lease lasts; it is renewed four times as often.
    pub lease: Duration,
    /// How often the node looks at itself.
    pub look_every: Duration,
    /// How often it reports when nothing changed.
    pub report_every: Duration,
    /// When memory counts as short.
    pub memory_floor: Floor,
    /// When the disk counts as short.
    pub disk_floor: Floor,
}

/// A limit below which a resource counts as short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Floor {
    /// In units of the resource.
    Amount(u64),
    /// In percent of the capacity.
    Percent(f64),
}

/// A setting that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A threshold is neither a quantity nor a percentage.
    #[error(
        "modules.edged.tailoredKubeletConfig.evictionHard[{key:?}]: {text:?} is neither a quantity like 100Mi nor a percentage like 10%"
    )]
    Threshold {
        /// Such as `memory.available`.
        key: &'static str,
        /// What it says.
        text: String,
        /// Why it is no quantity.
        source: QuantityError,
    },
    /// The name is missing.
    #[error(
        "modules.edged.hostnameOverride is empty: give the node a name (keadm join --edgenode-name NAME)"
    )]
    NoName,
}

impl NodeSettings {
    /// Reads the settings of module `edged`; `address` is what the node answers on.
    ///
    /// # Errors
    /// When a threshold cannot be read or the node has no name.
    pub fn new(config: &Edged, address: IpAddr) -> Result<Self, SettingsError> {
        if config.hostname_override.is_empty() {
            return Err(SettingsError::NoName);
        }
        let kubelet = &config.tailored_kubelet_config;
        let hard = kubelet.eviction_hard.clone().unwrap_or_default();
        let floor =
            |key: &'static str, default: &str| Floor::of(key, hard.get(key).map_or(default, String::as_str));
        Ok(Self {
            name: config.hostname_override.clone(),
            address,
            root: config.root_directory.clone(),
            labels: config.node_labels.clone(),
            taints: kubelet.register_with_taints.iter().flatten().map(taint).collect(),
            schedulable: config.register_schedulable,
            max_pods: kubelet.max_pods,
            port: kubelet.read_only_port,
            lease: Duration::from_secs(u64::from(kubelet.node_lease_duration_seconds.max(4))),
            look_every: kubelet.node_status_update_frequency.get().max(Duration::from_secs(1)),
            report_every: kubelet.node_status_report_frequency.get().max(Duration::from_secs(10)),
            memory_floor: floor("memory.available", "100Mi")?,
            disk_floor: floor("nodefs.available", "10%")?,
        })
    }
}

impl Floor {
    /// Reads the threshold `key` of `evictionHard`.
    ///
    /// # Errors
    /// When it is neither a quantity nor a percentage.
    pub fn of(key: &'static str, text: &str) -> Result<Self, SettingsError> {
        Self::parse(text).map_err(|source| SettingsError::Threshold { key, text: text.to_owned(), source })
    }

    fn parse(text: &str) -> Result<Self, QuantityError> {
        if let Some(percent) = text.strip_suffix('%').and_then(|number| number.parse().ok()) {
            return Ok(Self::Percent(percent));
        }
        quantity::whole(text).map(|amount| Self::Amount(u64::try_from(amount).unwrap_or(0)))
    }

    /// Whether `available` of `capacity` is too little.
    pub(crate) fn is_short(self, available: u64, capacity: u64) -> bool {
        match self {
            Self::Amount(floor) => available < floor,
            Self::Percent(percent) => (available as f64) < capacity as f64 * percent / 100.0,
        }
    }
}

fn taint(taint: &proto::config::Taint) -> Taint {
    Taint {
        key: taint.key.clone(),
        value: Some(taint.value.clone()).filter(|value| !value.is_empty()),
        effect: taint.effect.clone(),
        time_added: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_an_amount_or_a_percentage() {
        assert_eq!(Floor::parse("100Mi").unwrap(), Floor::Amount(100 << 20));
        assert_eq!(Floor::parse("10%").unwrap(), Floor::Percent(10.0));
        assert!(Floor::parse("much").is_err());
        assert!(Floor::Percent(10.0).is_short(9, 100));
        assert!(!Floor::Amount(9).is_short(9, 100));
    }
}
