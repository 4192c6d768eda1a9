//! Which resources the machine is short of.

use std::fmt;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::edged::node::{Amount, Machine};

/// Something that may run short (`evictionHard`'s and `evictionSoft`'s keys).
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
    pub(super) const ALL: [(Self, &'static str, &'static str); 6] = [
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

    /// How much there is of it.
    pub(super) fn of(&self, signal: Signal) -> Amount {
        match signal {
            Signal::Memory => self.machine.memory,
            Signal::NodeFs => self.machine.disk,
            Signal::NodeFsInodes => self.node_inodes,
            Signal::ImageFs => self.image,
            Signal::ImageFsInodes => self.image_inodes,
            Signal::Pids => self.machine.pids,
        }
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
