//! What came and went over a network namespace's interfaces.

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

/// The interfaces that the process sees.
pub(in crate::edged::server) fn of_process(process: u32) -> Vec<Interface> {
    parse(&std::fs::read_to_string(format!("/proc/{process}/net/dev")).unwrap_or_default())
}

/// Reads `/proc/PID/net/dev`: a name, eight counters of what came and eight of what went.
fn parse(text: &str) -> Vec<Interface> {
    let line = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let counters: Vec<u64> = counters.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let name = name.trim().to_owned();
        let ignored = IGNORED.iter().any(|prefix| name.starts_with(prefix));
        (!ignored).then_some(Interface {
            name,
            rx_bytes: *counters.first()?,
            rx_errors: *counters.get(2)?,
            tx_bytes: *counters.get(8)?,
            tx_errors: *counters.get(10)?,
        })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn interfaces_of_pods_and_the_loopback_are_left_out() {
        let text = "Inter-|   Receive\n face |bytes packets\n    lo: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n  \
                    eth0: 10 2 3 0 0 0 0 0 20 4 5 0 0 0 0 0\n veth1: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n";
        let eth0 = Interface { name: "eth0".into(), rx_bytes: 10, rx_errors: 3, tx_bytes: 20, tx_errors: 5 };
        assert_eq!(parse(text), [eth0]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            parse(&text);
        }
    }
}
