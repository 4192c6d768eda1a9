//! Groups that systemd keeps: slices, made, changed and stopped over its D-Bus API as the kubelet does (Kubernetes v1.36
//! `pkg/kubelet/cm`), by `busctl`, which comes with it.

use std::io;
use std::process::Command;

use super::limits::Limit;

const MANAGER: [&str; 4] =
    ["call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];

/// Makes the slice with these limits, or gives them to the one that is there. They last until it is stopped. Blocks.
///
/// # Errors
/// When systemd cannot be reached or refuses; the message has its words.
pub(super) fn hold(slice: &str, limits: &[&Limit]) -> io::Result<()> {
    let properties = properties(limits);
    match busctl(&start(slice, &properties)) {
        // It is there, made by the runtime or before.
        Err(error) if error.to_string().contains("already") => busctl(&change(slice, &properties)),
        done => done,
    }
}

/// Stops a slice, and with it whatever runs in it: the caller knows that nothing does. Blocks.
///
/// # Errors
/// As of [`hold`].
pub(super) fn stop(slice: &str) -> io::Result<()> {
    busctl(&["StopUnit", "ss", slice, "replace"].map(str::to_owned))
}

/// `StartTransientUnit(name, mode, properties, other units)`.
fn start(slice: &str, properties: &[[String; 3]]) -> Vec<String> {
    let mut words = ["StartTransientUnit", "ssa(sv)a(sa(sv))", slice, "replace"].map(str::to_owned).to_vec();
    words.push((properties.len() + 1).to_string());
    words.extend(["Description", "s", "Pods of this node"].map(str::to_owned));
    words.extend(properties.iter().flatten().cloned());
    words.push("0".to_owned());
    words
}

/// `SetUnitProperties(name, until the next boot only, properties)`.
fn change(slice: &str, properties: &[[String; 3]]) -> Vec<String> {
    let mut words = ["SetUnitProperties", "sba(sv)", slice, "true"].map(str::to_owned).to_vec();
    words.push(properties.len().to_string());
    words.extend(properties.iter().flatten().cloned());
    words
}

/// The kernel's files as systemd's properties: name, type, value.
fn properties(limits: &[&Limit]) -> Vec<[String; 3]> {
    limits.iter().flat_map(|limit| property(limit.1, &limit.2)).collect()
}

fn property(file: &str, value: &str) -> Vec<[String; 3]> {
    let number = |name: &str, value: &str| [name.to_owned(), "t".to_owned(), value.to_owned()];
    match file {
        "cpu.weight" => vec![number("CPUWeight", value)],
        "cpu.shares" => vec![number("CPUShares", value)],
        "memory.max" => vec![number("MemoryMax", value)],
        "memory.limit_in_bytes" => vec![number("MemoryLimit", value)],
        "pids.max" => vec![number("TasksMax", value)],
        "cpu.max" => {
            let mut numbers = value.split(' ').map(|number| number.parse::<u64>().unwrap_or(0));
            let (quota, period) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0).max(1));
            vec![
                number("CPUQuotaPeriodUSec", &period.to_string()),
                number("CPUQuotaPerSecUSec", &per_second(quota, period).to_string()),
            ]
        }
        "cpu.cfs_period_us" => vec![number("CPUQuotaPeriodUSec", value)],
        // Its period is 100 ms unless the kernel's own settings say otherwise.
        "cpu.cfs_quota_us" => {
            let quota = value.parse().unwrap_or(0);
            vec![number("CPUQuotaPerSecUSec", &per_second(quota, 100_000).to_string())]
        }
        _ => Vec::new(),
    }
}

/// systemd counts whole hundredths of a processor: rounded up, as runc does.
fn per_second(quota: u64, period: u64) -> u64 {
    quota.saturating_mul(1_000_000).div_ceil(period).div_ceil(10_000) * 10_000
}

fn busctl(words: &[String]) -> io::Result<()> {
    let mut command = Command::new("busctl");
    // An answer that does not come must not hold a pod's worker.
    command.args(["--system", "--quiet", "--timeout=10"]).args(MANAGER).args(words);
    let output = command.output().map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("busctl: {error}; cgroupDriver systemd needs systemd and dbus: apt-get install dbus"),
        )
    })?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let words = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(format!("systemd: {}", words.trim())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_properties_of_a_slice() {
        let all = [
            ("cpu", "cpu.weight", "20".to_owned()),
            ("cpu", "cpu.max", "150000 100000".to_owned()),
            ("memory", "memory.max", "67108864".to_owned()),
            ("pids", "pids.max", "40".to_owned()),
        ];
        let all: Vec<&Limit> = all.iter().collect();
        let words: Vec<String> = properties(&all).into_iter().map(|property| property.join(" ")).collect();
        assert_eq!(
            words,
            [
                "CPUWeight t 20",
                "CPUQuotaPeriodUSec t 100000",
                "CPUQuotaPerSecUSec t 1500000",
                "MemoryMax t 67108864",
                "TasksMax t 40"
            ]
        );
        let started = start("kubepods.slice", &properties(&all[2..])).join(" ");
        assert_eq!(
            started,
            "StartTransientUnit ssa(sv)a(sa(sv)) kubepods.slice replace 3 Description s Pods of this node \
             MemoryMax t 67108864 TasksMax t 40 0"
        );
        let changed = change("kubepods.slice", &properties(&all[3..])).join(" ");
        assert_eq!(changed, "SetUnitProperties sba(sv) kubepods.slice true 1 TasksMax t 40");
    }

    #[test]
    fn a_processor_is_shared_in_whole_hundredths() {
        assert_eq!(per_second(50_000, 100_000), 500_000);
        assert_eq!(per_second(1_234, 100_000), 20_000);
        assert_eq!(per_second(1_000, 10_000), 100_000);
    }
}
