//! Pages of program files: most of an agent's memory is its own code, and most of that only its start has used.
//!
//! Owns: giving such pages back to the machine. Called by: the programs that run for months, from their `main`, before they have a
//! second thread.
//!
//! A page of a program's file that has been used once stays in the memory of its process until the machine is short of memory, and the
//! kernel prefers to keep code that is mapped: workloads would be swapped out before it. Unmapped, it is only a cached page of a file,
//! the first to go when memory is needed and the cheapest to take up again while it is there.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::time::Duration;

use nix::sys::mman::{MmapAdvise, madvise};
use procfs::ProcResult;
use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};
use tasks::TaskSet;
use tracing::debug;

/// How often pages are given back. What is in use comes back with a few dozen minor faults, well below a millisecond.
const PERIOD: Duration = Duration::from_secs(60);

/// The program's file and those of the libraries it was started with, as far as they are mapped read-only. They stay mapped where they are
/// until the process ends; what is mapped later, as libraries that the C library loads for a while, is not among them.
#[derive(Debug)]
pub struct ProgramFiles(Vec<Range>);

#[derive(Debug)]
struct Range {
    start: NonZeroUsize,
    /// Bytes.
    length: usize,
}

impl ProgramFiles {
    /// Looks what is mapped. To be called while the process has one thread, which is in nobody's middle of mapping anything. Where the
    /// kernel does not tell, there is nothing to give back.
    #[must_use]
    pub fn at_start() -> Self {
        let ranges =
            mappings().map(|maps| maps.iter().filter(|map| is_as_on_disk(map)).filter_map(range).collect());
        Self(ranges.unwrap_or_else(|error| {
            debug!("no pages are given back, the mappings of this process cannot be read: {error}");
            Vec::new()
        }))
    }

    /// Gives back what is not needed, again and again, until `tasks` end.
    pub fn keep_giving_back(self, tasks: &TaskSet) {
        tasks.spawn_once("pages", |stop| async move {
            while stop.run_until_cancelled(tokio::time::sleep(PERIOD)).await.is_some() {
                if let Err(errno) = self.give_back() {
                    return debug!("the kernel takes no pages back: {errno}");
                }
            }
        });
    }

    /// Unmaps the pages that this process has used so far; those that it uses again come back by themselves.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn give_back(&self) -> nix::Result<()> {
        self.0.iter().try_for_each(unmap)
    }
}

fn mappings() -> ProcResult<Vec<MemoryMap>> {
    Ok(Process::myself()?.smaps()?.into_iter().collect())
}

/// Whether the mapping holds nothing but what its file holds: it cannot be written, and never was (the loader's relocations were, before
/// they were made read-only).
fn is_as_on_disk(map: &MemoryMap) -> bool {
    let none = |field| map.extension.map.get(field) == Some(&0);
    matches!(map.pathname, MMapPath::Path(_))
        && map.perms.contains(MMPermissions::PRIVATE)
        && !map.perms.contains(MMPermissions::WRITE)
        && none("Anonymous")
        && none("Swap")
}

fn range(map: &MemoryMap) -> Option<Range> {
    let (start, end) = map.address;
    let start_at = NonZeroUsize::new(usize::try_from(start).ok()?)?;
    Some(Range { start: start_at, length: usize::try_from(end.checked_sub(start)?).ok()? })
}

fn unmap(range: &Range) -> nix::Result<()> {
    let start = NonNull::<c_void>::without_provenance(range.start);
    // SAFETY: the range is a mapping of the program's file or of a library that it was started with (`at_start`), which nothing unmaps,
    // moves or makes writable while the process lives. It is private, not writable, and no page of it differed from the file
    // (`is_as_on_disk`), so whatever is read there later is what would be read now.
    #[expect(unsafe_code, reason = "the one call this crate is for")]
    unsafe {
        madvise(start, range.length, MmapAdvise::MADV_DONTNEED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_files() -> u64 {
        Process::myself().unwrap().status().unwrap().rssfile.unwrap() * 1024
    }

    #[test]
    fn what_is_given_back_leaves_the_process_and_the_process_goes_on() {
        let files = ProgramFiles::at_start();
        let before = of_files();
        files.give_back().unwrap();
        let after = of_files();
        assert!(after < before, "{before} bytes of files before, {after} after");
        // Code and constants that were just unmapped.
        assert_eq!(format!("{:?}", "constants".repeat(2)), "\"constantsconstants\"");
    }

    #[test]
    fn relocated_constants_stay_as_the_loader_made_them() {
        // A table of pointers, which the loader wrote and then made read-only.
        static TABLE: [&str; 3] = ["one", "two", "three"];
        ProgramFiles::at_start().give_back().unwrap();
        assert_eq!(std::hint::black_box(&TABLE).concat(), "onetwothree");
    }

    #[test]
    fn what_was_written_is_no_longer_as_on_disk() {
        let maps = mappings().unwrap();
        let kept = |map: &&MemoryMap| !is_as_on_disk(map);
        let written = maps.iter().filter(|map| map.perms.contains(MMPermissions::WRITE));
        assert_eq!(written.clone().filter(kept).count(), written.count());
        let changed =
            maps.iter().filter(|map| map.extension.map.get("Anonymous").is_some_and(|bytes| *bytes > 0));
        assert!(
            changed.clone().any(|map| !map.perms.contains(MMPermissions::WRITE)),
            "the loader relocates nothing"
        );
        assert_eq!(changed.clone().filter(kept).count(), changed.count());
    }
}
