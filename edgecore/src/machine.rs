//! What the whole machine does, from `/proc`: read by edged and taskmanager.

use procfs::{Current, CurrentSI, KernelStats, LoadAverage};

/// Ticks of all processors since the machine was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticks {
    /// In which they did not idle.
    pub(crate) busy: u64,
    pub(crate) all: u64,
}

impl Ticks {
    /// None if the system does not say.
    pub(crate) fn now() -> Option<Self> {
        let time = KernelStats::current().ok()?.total;
        let idle = time.idle + time.iowait.unwrap_or(0);
        let busy = time.user
            + time.nice
            + time.system
            + time.irq.unwrap_or(0)
            + time.softirq.unwrap_or(0)
            + time.steal.unwrap_or(0);
        Some(Self { busy, all: busy + idle })
    }
}

/// How many processes and threads there may be; none if the system does not say.
pub(crate) fn process_limit() -> Option<u64> {
    procfs::sys::kernel::pid_max().ok().and_then(|limit| u64::try_from(limit).ok())
}

/// How many there are.
pub(crate) fn processes() -> Option<u64> {
    LoadAverage::current().ok().map(|load| u64::from(load.max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_busy_some_of_the_time_and_has_processes_within_its_limit() {
        let ticks = Ticks::now().unwrap();
        assert!(0 < ticks.busy && ticks.busy <= ticks.all, "{ticks:?}");
        let (there, limit) = (processes().unwrap(), process_limit().unwrap());
        assert!(0 < there && there <= limit, "{there} of {limit}");
    }
}
