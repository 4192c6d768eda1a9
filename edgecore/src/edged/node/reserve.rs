//! What is kept from pods: for the system, for the agents, and so that evictions come in time. Pure (Kubernetes v1.36
//! `pkg/kubelet/cm/node_container_manager_linux.go`, `pkg/kubelet/nodestatus/setters.go`).

use std::collections::BTreeMap;

use proto::config::KubeletConfig;
use proto::quantity;

use super::settings::{Floor, SettingsError};

/// Amounts of what pods share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Thousandths of a CPU.
    pub cpu_milli: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes of the file system that holds pods.
    pub storage: u64,
    /// Process ids.
    pub pids: u64,
}

impl Amounts {
    fn zip(self, other: Self, with: fn(u64, u64) -> u64) -> Self {
        Self {
            cpu_milli: with(self.cpu_milli, other.cpu_milli),
            memory: with(self.memory, other.memory),
            storage: with(self.storage, other.storage),
            pids: with(self.pids, other.pids),
        }
    }
}

/// What is kept from pods.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reserve {
    /// For the system and the agents together.
    held: Amounts,
    /// Below this, pods are evicted for memory.
    memory: Floor,
    /// Below this, pods are evicted for disk.
    storage: Floor,
}

impl Default for Reserve {
    fn default() -> Self {
        Self { held: Amounts::default(), memory: Floor::Amount(0), storage: Floor::Amount(0) }
    }
}

impl Reserve {
    /// Reads `systemReserved`, `kubeReserved` and `evictionHard`.
    ///
    /// # Errors
    /// When a resource cannot be reserved, or an amount is none; the message names its key.
    pub fn from_config(kubelet: &KubeletConfig) -> Result<Self, SettingsError> {
        let system = amounts("systemReserved", kubelet.system_reserved.as_ref())?;
        let agents = amounts("kubeReserved", kubelet.kube_reserved.as_ref())?;
        let hard = kubelet.eviction_hard.clone().unwrap_or_default();
        let floor = |key: &'static str, default: &str| {
            Floor::of("evictionHard", key, hard.get(key).map_or(default, String::as_str))
        };
        Ok(Self {
            held: system.zip(agents, u64::saturating_add),
            memory: floor("memory.available", "100Mi")?,
            storage: floor("nodefs.available", "10%")?,
        })
    }

    /// What all pods together may use: the limit of the group that holds them.
    pub fn limit(&self, capacity: Amounts) -> Amounts {
        capacity.zip(self.held, u64::saturating_sub)
    }

    /// What pods may ask for: what evictions begin at and what is set aside as huge pages is not among it.
    pub fn allocatable(&self, capacity: Amounts, huge_pages: u64) -> Amounts {
        let left = capacity.zip(self.all(capacity), u64::saturating_sub);
        Amounts { memory: left.memory.saturating_sub(huge_pages), ..left }
    }

    /// Whether there is as much as is kept. What the machine does not tell is not checked.
    ///
    /// # Errors
    /// When more is kept than there is.
    pub fn check(&self, capacity: Amounts) -> Result<(), SettingsError> {
        let wanted = self.all(capacity);
        let rows = [
            ("cpu", wanted.cpu_milli, capacity.cpu_milli, quantity::of_milli as fn(u64) -> String),
            ("memory", wanted.memory, capacity.memory, quantity::of_bytes),
            ("ephemeral-storage", wanted.storage, capacity.storage, quantity::of_bytes),
            ("pid", wanted.pids, capacity.pids, |number| number.to_string()),
        ];
        let excess = rows.into_iter().find(|(_, wanted, capacity, _)| *capacity > 0 && wanted > capacity);
        match excess {
            Some((resource, wanted, capacity, text)) => Err(SettingsError::TooMuchReserved {
                resource,
                wanted: text(wanted),
                capacity: text(capacity),
            }),
            None => Ok(()),
        }
    }

    fn all(&self, capacity: Amounts) -> Amounts {
        let floors = Amounts {
            memory: self.memory.amount(capacity.memory),
            storage: self.storage.amount(capacity.storage),
            ..Amounts::default()
        };
        self.held.zip(floors, u64::saturating_add)
    }
}

/// One of the two lists.
fn amounts(key: &'static str, list: Option<&BTreeMap<String, String>>) -> Result<Amounts, SettingsError> {
    type Unit = fn(&str) -> Result<i64, quantity::QuantityError>;
    let mut amounts = Amounts::default();
    for (resource, text) in list.into_iter().flatten() {
        let (slot, unit): (&mut u64, Unit) = match resource.as_str() {
            "cpu" => (&mut amounts.cpu_milli, quantity::milli),
            "memory" => (&mut amounts.memory, quantity::whole),
            "ephemeral-storage" => (&mut amounts.storage, quantity::whole),
            "pid" => (&mut amounts.pids, quantity::whole),
            _ => return Err(SettingsError::NotReservable { key, resource: resource.clone() }),
        };
        *slot = unit(text)
            .ok()
            .and_then(|amount| u64::try_from(amount).ok())
            .ok_or_else(|| SettingsError::Reserved { key, resource: resource.clone(), text: text.clone() })?;
    }
    Ok(amounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Amounts = Amounts { cpu_milli: 4000, memory: 8 << 30, storage: 100 << 30, pids: 32_768 };

    fn list(entries: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
        Some(entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn reserve(system: &[(&str, &str)], agents: &[(&str, &str)]) -> Result<Reserve, SettingsError> {
        Reserve::from_config(&KubeletConfig {
            system_reserved: list(system),
            kube_reserved: list(agents),
            eviction_hard: list(&[("memory.available", "100Mi"), ("nodefs.available", "10%")]),
            ..KubeletConfig::default()
        })
    }

    #[test]
    fn pods_may_ask_for_what_neither_system_nor_agents_nor_evictions_need() {
        let reserve = reserve(
            &[("cpu", "250m"), ("memory", "1Gi"), ("pid", "1000")],
            &[("cpu", "0.25"), ("ephemeral-storage", "5Gi")],
        )
        .unwrap();
        let left = reserve.allocatable(MACHINE, 0);
        assert_eq!(
            left,
            Amounts { cpu_milli: 3500, memory: (7 << 30) - (100 << 20), storage: 85 << 30, pids: 31_768 }
        );
        let limit = reserve.limit(MACHINE);
        assert_eq!((limit.memory, limit.storage), (7 << 30, 95 << 30), "evictions come before the limit");
    }

    #[test]
    fn huge_pages_are_no_memory_for_pods_and_nothing_becomes_negative() {
        let reserve = reserve(&[], &[]).unwrap();
        assert_eq!(reserve.allocatable(MACHINE, 1 << 30).memory, (7 << 30) - (100 << 20));
        assert_eq!(reserve.allocatable(MACHINE, 9 << 30).memory, 0);
        assert_eq!(reserve.allocatable(Amounts::default(), 0), Amounts::default());
    }

    #[test]
    fn what_cannot_be_reserved_is_named_with_its_key_and_what_to_write() {
        let said = |wrong: Result<Reserve, SettingsError>| wrong.unwrap_err().to_string();
        let text = said(reserve(&[("gpu", "1")], &[]));
        assert!(text.contains("systemReserved: cannot reserve \"gpu\" resource"), "{text}");
        for amount in ["much", "-1", "10%"] {
            let text = said(reserve(&[], &[("memory", amount)]));
            assert!(text.contains("kubeReserved[\"memory\"]") && text.contains(amount), "{text}");
        }
    }

    #[test]
    fn more_than_there_is_cannot_be_reserved() {
        assert!(reserve(&[("memory", "7Gi")], &[]).unwrap().check(MACHINE).is_ok());
        let text = reserve(&[("memory", "8Gi")], &[]).unwrap().check(MACHINE).unwrap_err().to_string();
        assert!(
            text.contains("Resource \"memory\" has a reservation of 8292Mi but capacity of 8Gi"),
            "{text}"
        );
        let text =
            reserve(&[("cpu", "3")], &[("cpu", "1001m")]).unwrap().check(MACHINE).unwrap_err().to_string();
        assert!(text.contains("has a reservation of 4001m but capacity of 4. "), "{text}");
        assert!(reserve(&[("pid", "5")], &[]).unwrap().check(Amounts::default()).is_ok(), "unknown");
    }
}
