//! The books of the test, kept outside of the process that is killed.

use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;

use super::watcher::{Change, Seen};

/// All writes that were acknowledged, or were found to have been done after all.
#[derive(Default)]
pub struct Ledger(Mutex<Book>);

#[derive(Default)]
struct Book {
    /// By revision: who was set to what.
    written: BTreeMap<u64, (String, u64)>,
    /// Acknowledged removals; their revisions are not told.
    removed: BTreeMap<String, usize>,
    /// Removals that nobody answered, and that were done all the same.
    removed_silently: BTreeMap<String, usize>,
    count: usize,
}

/// The number that an object holds.
pub fn number(map: &ConfigMap) -> Option<u64> {
    map.data.as_ref()?.get("n")?.parse().ok()
}

/// The revision of an object.
pub fn revision(map: &ConfigMap) -> Result<u64> {
    Ok(map.metadata.resource_version.as_deref().context("an object has a revision")?.parse()?)
}

impl Ledger {
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().count
    }

    /// The newest revision that anybody has seen.
    pub fn newest(&self) -> u64 {
        self.0.lock().unwrap().written.keys().next_back().copied().unwrap_or(0)
    }

    /// `name` was acknowledged to hold `number` at `revision`; before the request, `newest` was the newest revision.
    pub fn acknowledge(&self, revision: u64, name: &str, number: u64, newest: u64) -> Result<()> {
        let mut book = self.0.lock().unwrap();
        ensure!(revision > newest, "revision {revision} was given out after {newest}");
        let twice = book.written.insert(revision, (name.to_owned(), number));
        ensure!(twice.is_none(), "revision {revision} was given to {name} and to {twice:?}");
        book.count += 1;
        Ok(())
    }

    /// `name` was found to hold `number`, which nobody acknowledged.
    pub fn found(&self, revision: u64, name: &str, number: u64) -> Result<()> {
        let mut book = self.0.lock().unwrap();
        let other = book.written.insert(revision, (name.to_owned(), number));
        ensure!(
            other.as_ref().is_none_or(|known| *known == (name.to_owned(), number)),
            "revision {revision} was given to {name} and to {other:?}"
        );
        Ok(())
    }

    pub fn removed(&self, name: &str, acknowledged: bool) {
        let mut book = self.0.lock().unwrap();
        book.count += usize::from(acknowledged);
        let removed = if acknowledged { &mut book.removed } else { &mut book.removed_silently };
        *removed.entry(name.to_owned()).or_default() += 1;
    }

    /// Every watcher has seen the same: each write once, and nothing that leads to another end than `sure`. How many writes
    /// were acknowledged.
    pub fn compare(&self, stories: &[Vec<Seen>], sure: &BTreeMap<String, u64>) -> Result<usize> {
        let book = self.0.lock().unwrap();
        let first = stories.first().context("somebody watches")?;
        for other in stories {
            ensure!(first == other, "two watchers have seen different stories");
        }
        let mut now = BTreeMap::new();
        let mut unseen = book.written.clone();
        let mut removals: BTreeMap<&str, usize> = BTreeMap::new();
        for seen in first {
            let known = now.contains_key(&seen.name);
            match seen.change {
                Change::Added(_) => ensure!(!known, "{seen:?} came twice, or its removal is missing"),
                _ => ensure!(known, "{seen:?}, but the object was not there"),
            }
            match seen.change {
                Change::Added(number) | Change::Modified(number) => {
                    now.insert(seen.name.clone(), number);
                    if let Some(written) = unseen.remove(&seen.revision) {
                        ensure!(
                            written == (seen.name.clone(), number),
                            "{seen:?} was written as {written:?}"
                        );
                    }
                }
                Change::Removed => {
                    now.remove(&seen.name);
                    *removals.entry(&seen.name).or_default() += 1;
                }
            }
        }
        ensure!(unseen.is_empty(), "no watcher has seen {unseen:?}");
        ensure!(now == *sure, "the events lead to {now:?}, the writers know {sure:?}");
        for (name, count) in removals {
            let of = |book: &BTreeMap<String, usize>| book.get(name).copied().unwrap_or(0);
            ensure!(
                count == of(&book.removed) + of(&book.removed_silently),
                "{name} was removed {count} times"
            );
        }
        Ok(book.count)
    }
}
