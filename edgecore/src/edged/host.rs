//! What this machine has: processors and memory, which bound what containers may be promised.

/// Capacity of the machine, read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Processors.
    pub cpus: i64,
    /// Memory in bytes.
    pub memory: i64,
}

impl Host {
    /// Reads the machine; what cannot be read stays zero.
    pub fn read() -> Self {
        let memory = memory().map_or(0, |total| i64::try_from(total).unwrap_or(i64::MAX));
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(1)),
            memory,
        }
    }
}

fn memory() -> Option<u64> {
    use procfs::Current;
    Some(procfs::Meminfo::current().ok()?.mem_total)
}
