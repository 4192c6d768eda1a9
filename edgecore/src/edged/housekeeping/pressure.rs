//! Which resources the machine is short of.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::edged::node::{Amount, Floor, Machine, SettingsError};

/// Something that may run short (`evictionHard`'s keys).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Memory of the machine.
    Memory,
    /// Bytes of the file system that holds pods.
    NodeFs,
    /// Files that it can still hold.
    NodeFsInodes,
    /// Bytes of the file system that holds images.
    ImageFs,
    /// Files that it can still hold.
    ImageFsInodes,
    /// Process ids.
    Pids,
}

impl Signal {
    const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::Memory, "memory.available", "100Mi"),
        (Self::NodeFs, "nodefs.available", "10%"),
        (Self::NodeFsInodes, "nodefs.inodesFree", "5%"),
        (Self::ImageFs, "imagefs.available", "15%"),
        (Self::ImageFsInodes, "imagefs.inodesFree", "5%"),
        (Self::Pids, "pid.available", "0"),
    ];

    /// The resource as messages name it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::NodeFs | Self::ImageFs => "ephemeral-storage",
            Self::NodeFsInodes | Self::ImageFsInodes => "inodes",
            Self::Pids => "pids",
        }
    }
}

/// When a resource counts as short.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// Which.
    pub signal: Signal,
    /// How little is too little.
    pub floor: Floor,
    /// As it was configured, for messages.
    pub text: String,
}

impl Threshold {
    /// All thresholds: those given, and the defaults where nothing is said.
    ///
    /// # Errors
    /// When one is neither a quantity nor a percentage.
    pub fn all(given: &BTreeMap<String, String>) -> Result<Vec<Self>, SettingsError> {
        let one = |(signal, key, default): (Signal, &'static str, &str)| {
            let text = given.get(key).map_or(default, String::as_str);
            Ok(Self { signal, floor: Floor::of(key, text)?, text: text.to_owned() })
        };
        Signal::ALL.into_iter().map(one).collect()
    }
}

/// What the machine is short of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Memory.
    pub memory: bool,
    /// Disk, for pods or for images.
    pub disk: bool,
    /// Process ids.
    pub pids: bool,
}

impl Pressure {
    pub(super) fn add(&mut self, signal: Signal) {
        match signal {
            Signal::Memory => self.memory = true,
            Signal::Pids => self.pids = true,
            _ => self.disk = true,
        }
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(self.memory, "MemoryPressure"), (self.disk, "DiskPressure"), (self.pids, "PIDPressure")];
        let names: Vec<&str> = all.into_iter().filter_map(|(short, name)| short.then_some(name)).collect();
        write!(f, "[{}]", names.join(" "))
    }
}

/// How much there is of everything.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    machine: Machine,
    node_inodes: Amount,
    image: Amount,
    image_inodes: Amount,
}

impl Levels {
    pub(super) fn look(root: &Path, images: Option<&Path>) -> Self {
        let images = images.unwrap_or(root);
        let (image, image_inodes) = filesystem(images);
        Self { machine: Machine::look(root), node_inodes: filesystem(root).1, image, image_inodes }
    }

    fn of(&self, signal: Signal) -> Amount {
        match signal {
            Signal::Memory => self.machine.memory,
            Signal::NodeFs => self.machine.disk,
            Signal::NodeFsInodes => self.node_inodes,
            Signal::ImageFs => self.image,
            Signal::ImageFsInodes => self.image_inodes,
            Signal::Pids => self.machine.pids,
        }
    }

    /// The first threshold that is crossed, memory before all, and how much there is.
    pub(super) fn crossed<'a>(&self, thresholds: &'a [Threshold]) -> Vec<(&'a Threshold, Amount)> {
        thresholds
            .iter()
            .map(|threshold| (threshold, self.of(threshold.signal)))
            .filter(|(threshold, amount)| {
                // File systems without inodes count none at all.
                amount.capacity > 0 && threshold.floor.is_short(amount.available, amount.capacity)
            })
            .collect()
    }
}

fn filesystem(path: &Path) -> (Amount, Amount) {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    statvfs(existing).map_or_else(
        |_| Default::default(),
        |stat| {
            let bytes = |blocks: u64| blocks * stat.fragment_size();
            (
                Amount { capacity: bytes(stat.blocks()), available: bytes(stat.blocks_available()) },
                Amount { capacity: stat.files(), available: stat.files_available() },
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_the_kubelets_unless_said_otherwise() {
        let given = BTreeMap::from([("memory.available".to_owned(), "1Gi".to_owned())]);
        let all = Threshold::all(&given).unwrap();
        assert_eq!(
            all[0],
            Threshold { signal: Signal::Memory, floor: Floor::Amount(1 << 30), text: "1Gi".into() }
        );
        assert_eq!(all[1].floor, Floor::Percent(10.0));
        let wrong = BTreeMap::from([("nodefs.available".to_owned(), "some".to_owned())]);
        let error = Threshold::all(&wrong).unwrap_err().to_string();
        assert!(error.contains("evictionHard[\"nodefs.available\"]") && error.contains("some"), "{error}");
    }
}
