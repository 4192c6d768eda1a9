use std::path::Path;

use nix::sys::statvfs::statvfs;
use procfs::Current;

use crate::problem::Problem;

/// What a side needs at least; below it, starting is possible but working is not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) memory: u64,
    pub(crate) disk: u64,
}

const MIB: u64 = 1 << 20;

impl Needs {
    /// cloudcore with the embedded control plane.
    pub(crate) const CLOUD: Self = Self { memory: 96 * MIB, disk: 200 * MIB };
    /// edgecore, without its pods.
    pub(crate) const EDGE: Self = Self { memory: 48 * MIB, disk: 200 * MIB };
}

/// Checks free memory and free space for `state`, which need not exist yet.
pub(crate) fn check(needs: Needs, state: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(free) = available_memory()
        && free < needs.memory
    {
        problems.push(
            Problem::new("there is too little memory")
                .cause(format!("{} MiB are available, {} MiB are needed", free / MIB, needs.memory / MIB))
                .next("stop something, or use a bigger machine"),
        );
    }
    if let Some((free, place)) = free_space(state)
        && free < needs.disk
    {
        problems.push(
            Problem::new(format!("there is too little space for {}", state.display()))
                .cause(format!(
                    "{} MiB are free on the file system of {}, {} MiB are needed",
                    free / MIB,
                    place.display(),
                    needs.disk / MIB
                ))
                .next(format!("free some space: du -xh --max-depth=2 {} | sort -h", place.display())),
        );
    }
    problems
}

fn available_memory() -> Option<u64> {
    procfs::Meminfo::current().ok()?.mem_available
}

/// Free bytes on the file system that `path` will lie on.
fn free_space(path: &Path) -> Option<(u64, &Path)> {
    let place = path.ancestors().find(|place| place.exists())?;
    let facts = statvfs(place).ok()?;
    Some((facts.blocks_available() * facts.fragment_size(), place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_is_too_small_hears_both_numbers() {
        let problems = check(Needs { memory: u64::MAX, disk: u64::MAX }, Path::new("/nowhere/yet"));
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[1].to_string().contains("are free on the file system of /"), "{}", problems[1]);
        assert!(check(Needs { memory: 1, disk: 1 }, Path::new("/")).is_empty());
    }
}
