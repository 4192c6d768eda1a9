use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use k8s_openapi::api::core::v1::Taint;
use proto::config::Edged;

use proto::quantity::{self, QuantityError};

use super::machine::Machine;
use super::reserve::Reserve;

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
    /// What pods may not ask for.
    pub reserve: Reserve,
    /// Whether events go to the cloud.
    pub report_events: bool,
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
        "modules.edged.tailoredKubeletConfig.{field}[{key:?}]: {text:?} is neither a quantity like 100Mi nor a percentage like 10%"
    )]
    Threshold {
        /// Such as `evictionHard`.
        field: &'static str,
        /// Such as `memory.available`.
        key: &'static str,
        /// What it says.
        text: String,
        /// Why it is no quantity.
        source: QuantityError,
    },
    /// A threshold of something that has none, or half a threshold.
    #[error("modules.edged.tailoredKubeletConfig.{field}[{key:?}]: {reason}")]
    Eviction {
        /// Such as `evictionSoft`.
        field: &'static str,
        /// Such as `memory.available`.
        key: String,
        /// What to do.
        reason: String,
    },
    /// Only what pods share can be kept from them.
    #[error(
        "modules.edged.tailoredKubeletConfig.{key}: cannot reserve {resource:?} resource: write cpu, memory, ephemeral-storage \
         or pid"
    )]
    NotReservable {
        /// `systemReserved` or `kubeReserved`.
        key: &'static str,
        /// What is not reservable.
        resource: String,
    },
    /// An amount that is none.
    #[error(
        "modules.edged.tailoredKubeletConfig.{key}[{resource:?}]: {text:?} is no amount of at least 0: write a quantity like 200m \
         or 100Mi"
    )]
    Reserved {
        /// `systemReserved` or `kubeReserved`.
        key: &'static str,
        /// Of which resource.
        resource: String,
        /// What it says.
        text: String,
    },
    /// Nothing would be left for pods.
    #[error(
        "modules.edged.tailoredKubeletConfig: invalid Node Allocatable configuration. Resource {resource:?} has a reservation of \
         {wanted} but capacity of {capacity}. Expected capacity >= reservation: lower systemReserved, kubeReserved or evictionHard"
    )]
    TooMuchReserved {
        /// Of which resource.
        resource: &'static str,
        /// What is kept altogether.
        wanted: String,
        /// What the machine has.
        capacity: String,
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
    /// When a threshold or a reservation cannot be read, more is reserved than there is, or the node has no name.
    pub fn new(config: &Edged, address: IpAddr) -> Result<Self, SettingsError> {
        if config.hostname_override.is_empty() {
            return Err(SettingsError::NoName);
        }
        let kubelet = &config.tailored_kubelet_config;
        let reserve = Reserve::from_config(kubelet)?;
        reserve.check(Machine::look(&config.root_directory).amounts())?;
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
            reserve,
            report_events: config.report_event,
        })
    }
}

impl Floor {
    /// Reads the threshold `key` of `field`, such as `evictionHard`.
    ///
    /// # Errors
    /// When it is neither a quantity nor a percentage.
    pub fn of(field: &'static str, key: &'static str, text: &str) -> Result<Self, SettingsError> {
        let wrong = |source| SettingsError::Threshold { field, key, text: text.to_owned(), source };
        Self::parse(text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, QuantityError> {
        if let Some(percent) = text.strip_suffix('%').and_then(|number| number.parse().ok()) {
            return Ok(Self::Percent(percent));
        }
        quantity::whole(text).map(|amount| Self::Amount(u64::try_from(amount).unwrap_or(0)))
    }

    /// The limit for that capacity, in units of the resource.
    pub(crate) fn amount(self, capacity: u64) -> u64 {
        match self {
            Self::Amount(floor) => floor,
            Self::Percent(percent) => (capacity as f64 * percent / 100.0) as u64,
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
        assert_eq!(Floor::Percent(10.0).amount(90), 9);
        assert_eq!(Floor::Amount(9).amount(90), 9);
    }
}
