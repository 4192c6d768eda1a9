//! What the processes of a cgroup have used, on both versions of cgroups.

use std::fs;
use std::path::{Path, PathBuf};

/// Processor and memory of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::edged::server) struct Use {
    /// Nanoseconds of one processor since the group was made.
    pub(in crate::edged::server) cpu: u64,
    pub(in crate::edged::server) memory: Memory,
}

/// Bytes, unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::edged::server) struct Memory {
    pub(in crate::edged::server) usage: u64,
    /// What would not be given back: without file pages that nobody touched lately.
    pub(in crate::edged::server) working_set: u64,
    pub(in crate::edged::server) rss: u64,
    pub(in crate::edged::server) swap: u64,
    pub(in crate::edged::server) page_faults: u64,
    pub(in crate::edged::server) major_page_faults: u64,
    /// `None` without a limit.
    pub(in crate::edged::server) limit: Option<u64>,
}

/// A cgroup's directories: one on version 2, one per controller on version 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::edged::server) struct Group {
    pub(in crate::edged::server) cpu: PathBuf,
    pub(in crate::edged::server) memory: PathBuf,
    pub(in crate::edged::server) unified: bool,
}

impl Group {
    /// A group inside this one.
    pub(in crate::edged::server) fn child(&self, name: &str) -> Self {
        Self { cpu: self.cpu.join(name), memory: self.memory.join(name), unified: self.unified }
    }

    /// Reads files: not for an async task. `None` if there is no such group (any more).
    pub(in crate::edged::server) fn read(&self) -> Option<Use> {
        match self.unified {
            true => self.v2(),
            false => self.v1(),
        }
    }

    /// A process in the group.
    pub(in crate::edged::server) fn process(&self) -> Option<u32> {
        fs::read_to_string(self.memory.join("cgroup.procs")).ok()?.lines().next()?.parse().ok()
    }

    fn v1(&self) -> Option<Use> {
        let stat = Stat::read(&self.memory.join("memory.stat"));
        let usage = number(&self.memory.join("memory.usage_in_bytes"))?;
        // A page counter without a limit shows the largest multiple of a page.
        let limit = number(&self.memory.join("memory.limit_in_bytes")).filter(|limit| *limit < 1 << 62);
        Some(Use {
            cpu: number(&self.cpu.join("cpuacct.usage"))?,
            memory: Memory {
                usage,
                working_set: usage.saturating_sub(stat.get("total_inactive_file")),
                rss: stat.get("total_rss"),
                swap: stat.get("total_swap"),
                page_faults: stat.get("total_pgfault"),
                major_page_faults: stat.get("total_pgmajfault"),
                limit,
            },
        })
    }

    fn v2(&self) -> Option<Use> {
        let stat = Stat::read(&self.memory.join("memory.stat"));
        let usage = number(&self.memory.join("memory.current"))?;
        Some(Use {
            cpu: Stat::read(&self.cpu.join("cpu.stat")).get("usage_usec").saturating_mul(1000),
            memory: Memory {
                usage,
                working_set: usage.saturating_sub(stat.get("inactive_file")),
                rss: stat.get("anon"),
                swap: number(&self.memory.join("memory.swap.current")).unwrap_or(0),
                page_faults: stat.get("pgfault"),
                major_page_faults: stat.get("pgmajfault"),
                // "max" is no number.
                limit: number(&self.memory.join("memory.max")),
            },
        })
    }
}

/// A file of names and numbers.
struct Stat(String);

impl Stat {
    fn read(path: &Path) -> Self {
        Self(fs::read_to_string(path).unwrap_or_default())
    }

    fn get(&self, name: &str) -> u64 {
        let mut values =
            self.0.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        values.next().unwrap_or(0)
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)], unified: bool) -> Option<Use> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Group { cpu: dir.path().into(), memory: dir.path().into(), unified }.read()
    }

    #[test]
    fn both_versions_say_the_same() {
        let v1 = group(
            &[
                ("cpuacct.usage", "5000\n"),
                ("memory.usage_in_bytes", "1000\n"),
                ("memory.limit_in_bytes", "9223372036854771712\n"),
                (
                    "memory.stat",
                    "rss 1\ninactive_file 2\ntotal_rss 300\ntotal_inactive_file 400\ntotal_pgfault 7\n",
                ),
            ],
            false,
        );
        let v2 = group(
            &[
                ("cpu.stat", "usage_usec 5\nuser_usec 1\n"),
                ("memory.current", "1000\n"),
                ("memory.max", "max\n"),
                ("memory.stat", "anon 300\ninactive_file 400\npgfault 7\n"),
            ],
            true,
        );
        let memory = Memory { usage: 1000, working_set: 600, rss: 300, page_faults: 7, ..Memory::default() };
        let expected = Some(Use { cpu: 5000, memory });
        assert_eq!((v1, v2), (expected.clone(), expected));
    }

    #[test]
    fn a_group_that_is_gone_has_used_nothing() {
        assert_eq!(group(&[], false), None);
        assert_eq!(group(&[], true), None);
    }
}
