//! What came and went over a network namespace's interfaces.

use procfs::net::DeviceStatus;
use procfs::process::Process;

/// Counters of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::edged::server) struct Interface {
    pub(in crate::edged::server) name: String,
    pub(in crate::edged::server) rx_bytes: u64,
    pub(in crate::edged::server) rx_errors: u64,
    pub(in crate::edged::server) tx_bytes: u64,
    pub(in crate::edged::server) tx_errors: u64,
}

/// Ends of pods' links and bridges on a host, whose traffic is counted at its other end (Kubernetes v1.36, cAdvisor
/// `container/libcontainer`).
const IGNORED: [&str; 4] = ["lo", "veth", "docker", "nerdctl"];

/// The interfaces that the process sees, by name; none when it has just ended.
pub(in crate::edged::server) fn of_process(process: u32) -> Vec<Interface> {
    let devices =
        i32::try_from(process).ok().and_then(|process| Process::new(process).ok()?.dev_status().ok());
    counted(devices.unwrap_or_default().into_values())
}

fn counted(devices: impl Iterator<Item = DeviceStatus>) -> Vec<Interface> {
    let devices = devices.filter(|device| !IGNORED.iter().any(|prefix| device.name.starts_with(prefix)));
    let mut interfaces: Vec<_> = devices
        .map(|device| Interface {
            name: device.name,
            rx_bytes: device.recv_bytes,
            rx_errors: device.recv_errs,
            tx_bytes: device.sent_bytes,
            tx_errors: device.sent_errs,
        })
        .collect();
    interfaces.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    interfaces
}

#[cfg(test)]
mod tests {
    use procfs::FromBufRead;
    use procfs::net::InterfaceDeviceStatus;

    use super::*;

    #[test]
    fn interfaces_of_pods_and_the_loopback_are_left_out() {
        let text = "Inter-|   Receive\n face |bytes packets\n    lo: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n  \
                    eth0: 10 2 3 0 0 0 0 0 20 4 5 0 0 0 0 0\n veth1: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n";
        let eth0 = Interface { name: "eth0".into(), rx_bytes: 10, rx_errors: 3, tx_bytes: 20, tx_errors: 5 };
        let devices = InterfaceDeviceStatus::from_buf_read(text.as_bytes()).unwrap();
        assert_eq!(counted(devices.0.into_values()), [eth0]);
    }

    #[test]
    fn a_process_that_is_gone_has_no_interfaces() {
        assert_eq!(of_process(u32::MAX), []);
        assert_eq!(of_process(i32::MAX as u32), []);
    }
}
