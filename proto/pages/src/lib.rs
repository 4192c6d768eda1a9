//! Pages of program files: most of an agent's memory is its own code, and most of that only its start has used.
//!
//! Owns: giving such pages back to the machine. Called by: the programs that run for months, once, from their `main`.
//!
//! A page of a program's file that has been used once stays in the memory of its process until the machine is short of memory, and the
//! kernel prefers to keep code that is mapped: workloads would be swapped out before it. Unmapped, it is only a cached page of a file,
//! the first to go when memory is needed and the cheapest to take up again while it is there.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::time::Duration;

use nix::sys::mman::{MmapAdvise, madvise};
use procfs::ProcError;
use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};
use tasks::TaskSet;
use tracing::debug;

/// How often pages are given back. What is in use comes back with a few dozen minor faults, well below a millisecond.
const PERIOD: Duration = Duration::from_secs(60);

/// Why pages cannot be given back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `/proc` is not there or says what is not understood.
    #[error("the mappings of this process cannot be read: {0}")]
    Mappings(#[from] ProcError),
    /// madvise(2) refused.
    #[error("the kernel does not take back pages of {path}: {errno}")]
    Advice {
        /// The file that is mapped.
        path: String,
        /// What the kernel said.
        errno: nix::Error,
    },
}

/// Gives back what is not needed, again and again, until `tasks` end.
pub fn keep_giving_back(tasks: &TaskSet) {
    tasks.spawn_once("pages", |stop| async move {
        while stop.run_until_cancelled(tokio::time::sleep(PERIOD)).await.is_some() {
            match give_back() {
                Ok(bytes) => debug!(bytes, "pages of program files are given back"),
                Err(error) => return debug!("no pages are given back until the next start: {error}"),
            }
        }
    });
}

/// Unmaps the pages of program files and of their constants that this process has used so far; those that it uses again come back by
/// themselves. Returns how many bytes it were.
///
/// # Errors
/// When the kernel does not tell the mappings or refuses.
pub fn give_back() -> Result<u64, Error> {
    let maps = Process::myself()?.smaps()?;
    maps.into_iter().filter(is_as_on_disk).try_fold(0, |sum, map| Ok(sum + unmap(&map)?))
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

fn unmap(map: &MemoryMap) -> Result<u64, Error> {
    let (start, end) = map.address;
    let address = usize::try_from(start).ok().and_then(NonZeroUsize::new);
    let (Some(address), Ok(length)) = (address, usize::try_from(end.saturating_sub(start))) else {
        return Ok(0);
    };
    let start = NonNull::<c_void>::without_provenance(address);
    // SAFETY: the range is one mapping of this process, private, of a file, not writable, and no page of it differs from the file
    // (`is_as_on_disk`), so whatever is read there later is what would be read now. Nothing of the kind is unmapped while a program runs:
    // we load no libraries at runtime.
    #[expect(unsafe_code, reason = "the one call this crate is for")]
    let advised = unsafe { madvise(start, length, MmapAdvise::MADV_DONTNEED) };
    advised.map_err(|errno| Error::Advice { path: format!("{:?}", map.pathname), errno })?;
    Ok(map.extension.map.get("Rss").copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_files() -> u64 {
        Process::myself().unwrap().status().unwrap().rssfile.unwrap() * 1024
    }

    #[test]
    fn what_is_given_back_leaves_the_process_and_the_process_goes_on() {
        let before = of_files();
        let given = give_back().unwrap();
        let after = of_files();
        assert!(given > 0, "nothing was given back of {before} bytes");
        assert!(after < before, "{before} bytes of files before, {after} after");
        // Code and constants that were just unmapped.
        assert_eq!(format!("{:?}", "constants".repeat(2)), "\"constantsconstants\"");
    }

    #[test]
    fn relocated_constants_stay_as_the_loader_made_them() {
        // A table of pointers, which the loader wrote and then made read-only.
        static TABLE: [&str; 3] = ["one", "two", "three"];
        give_back().unwrap();
        assert_eq!(std::hint::black_box(&TABLE).concat(), "onetwothree");
    }

    #[test]
    fn what_was_written_is_no_longer_as_on_disk() {
        let maps = Process::myself().unwrap().smaps().unwrap();
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
