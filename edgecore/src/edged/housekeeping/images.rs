//! Removing images that nobody uses when the disk fills up.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use tokio::time::Instant;

use super::inventory;
use crate::edged::context::Context;
use crate::edged::events::Severity;
use crate::edged::node::Amount;
use crate::edged::runtime::{Container, Image, RuntimeError};

/// Since when an image is known, and when somebody last used it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    first: Instant,
    used: Option<Instant>,
}

/// Why images were not collected.
#[derive(Debug, thiserror::Error)]
enum CollectError {
    /// The runtime does not answer.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// It would not let some of them go.
    #[error(
        "wanted to free {wanted} bytes, but freed {freed} bytes space with errors in image deletion: {}",
        aggregate(refused)
    )]
    Refused { wanted: u64, freed: u64, refused: Vec<RuntimeError> },
}

/// Remembers which images were of use.
pub(super) struct Collector {
    ctx: Arc<Context>,
    seen: BTreeMap<String, Seen>,
    /// Whether it did not work the last time.
    failed: bool,
}

impl Collector {
    pub(super) fn new(ctx: Arc<Context>) -> Self {
        Self { ctx, seen: BTreeMap::new(), failed: false }
    }

    pub(super) async fn run(&mut self, period: Duration) {
        let mut ticks = super::every(period);
        let mut pressure = self.ctx.pressure.subscribe();
        loop {
            let short = tokio::select! {
                _ = ticks.tick() => Some(false),
                Ok(short) = pressure.wait_for(|pressure| pressure.disk) => Some(short.disk),
                () = self.ctx.images_changed.notified() => None,
            };
            let Some(short) = short else {
                self.list().await;
                continue;
            };
            match self.collect(short).await {
                Ok(()) => self.failed = false,
                Err(error) => self.tell_failure(&error).await,
            }
            if short {
                // Once for each look at the disk is enough.
                tokio::time::sleep(self.ctx.settings.housekeeping.look_every).await;
            }
        }
    }

    /// Only for the node's status.
    async fn list(&self) {
        if let Err(error) = inventory::look(&self.ctx).await {
            tracing::debug!("images cannot be listed now: {error}");
        }
    }

    /// The first time it may be that the runtime is just starting.
    async fn tell_failure(&mut self, error: &CollectError) {
        if std::mem::replace(&mut self.failed, true) {
            self.ctx.events.node(Severity::Warning, "ImageGCFailed", &error.to_string()).await;
        } else {
            tracing::debug!("no images are collected now: {error}");
        }
        if inventory::wanted(&self.ctx) {
            tokio::time::sleep(self.ctx.settings.housekeeping.look_every).await;
            self.ctx.images_changed.notify_one();
        }
    }

    async fn collect(&mut self, short: bool) -> Result<(), CollectError> {
        let images = self.ctx.runtime.images().await?;
        inventory::tell(&self.ctx, &images);
        let containers = self.ctx.runtime.containers(None).await?;
        let now = Instant::now();
        let used = self.note(&images, &containers, now);
        let rules = &self.ctx.settings.housekeeping;
        let high = if short { 0 } else { rules.image_high_percent };
        let low = if short { 0 } else { rules.image_low_percent };
        for (mountpoint, _) in self.ctx.runtime.image_usage().await? {
            let Some(disk) = disk(Path::new(&mountpoint)) else { continue };
            if disk.capacity == 0 {
                let words = "invalid capacity 0 on image filesystem";
                self.ctx.events.node(Severity::Warning, "InvalidDiskCapacity", words).await;
            }
            let Some(wanted) = to_free(disk.capacity, disk.available, high, low) else { continue };
            let victims = victims(&images, &used, &self.seen, now, rules.image_min_age);
            let (freed, refused) = self.remove(&victims, wanted).await;
            if freed > 0 {
                self.ctx.images_changed.notify_one();
            }
            // Who is short of disk lets pods go next, and tells of that.
            if !refused.is_empty() && !short {
                return Err(CollectError::Refused { wanted, freed, refused });
            }
            if freed < wanted && !short {
                let words = format!(
                    "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found \
                     {freed} bytes eligible to free."
                );
                self.ctx.events.node(Severity::Warning, "FreeDiskSpaceFailed", &words).await;
            }
        }
        Ok(())
    }

    /// Notes what is there and what is used; the answer is the ids of images in use.
    fn note(&mut self, images: &[Image], containers: &[Container], now: Instant) -> HashSet<String> {
        self.seen.retain(|id, _| images.iter().any(|image| image.id == *id));
        let mut used = HashSet::new();
        for image in images {
            let seen = self.seen.entry(image.id.clone()).or_insert(Seen { first: now, used: None });
            let of_it = |container: &Container| {
                let names = [&container.image_ref, &container.image];
                names.into_iter().any(|name| {
                    *name == image.id || image.digests.contains(name) || image.tags.contains(name)
                })
            };
            if containers.iter().any(of_it) {
                seen.used = Some(now);
                used.insert(image.id.clone());
            }
        }
        used
    }

    /// So many bytes were freed, and these images the runtime would not let go.
    async fn remove(&self, victims: &[&Image], wanted: u64) -> (u64, Vec<RuntimeError>) {
        let (mut freed, mut refused) = (0_u64, Vec::new());
        for image in victims {
            if freed >= wanted {
                break;
            }
            match self.ctx.runtime.remove_image(&image.id).await {
                Ok(()) => {
                    tracing::info!(image = image.id, tags = ?image.tags, bytes = image.size, "an image that nobody uses is removed");
                    freed = freed.saturating_add(image.size);
                }
                Err(error) => {
                    tracing::warn!(image = image.id, "cannot remove an image: {error}");
                    refused.push(error);
                }
            }
        }
        (freed, refused)
    }
}

/// Each of them once, in brackets if there are several, as Kubernetes' aggregates are written.
fn aggregate(errors: &[RuntimeError]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in errors.iter().map(ToString::to_string) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if let [one] = texts.as_slice() { one.clone() } else { format!("[{}]", texts.join(", ")) }
}

fn disk(mountpoint: &Path) -> Option<Amount> {
    let stat = statvfs(mountpoint).ok()?;
    let bytes = |blocks: u64| blocks * stat.fragment_size();
    Some(Amount { capacity: bytes(stat.blocks()), available: bytes(stat.blocks_available()) })
}

/// Bytes to free so that `low` percent are used, if `high` percent are.
fn to_free(all: u64, free: u64, high: u8, low: u8) -> Option<u64> {
    let percent = |share: u8| all / 100 * u64::from(share.min(100));
    if all == 0 || all.saturating_sub(free) < percent(high) {
        return None;
    }
    Some(all.saturating_sub(percent(low)).saturating_sub(free)).filter(|bytes| *bytes > 0)
}

/// What may go, in this order: longest unused first. Neither what is used or pinned, nor what is so young that it may be on
/// its way to its first container.
fn victims<'a>(
    images: &'a [Image],
    used: &HashSet<String>,
    seen: &BTreeMap<String, Seen>,
    now: Instant,
    min_age: Duration,
) -> Vec<&'a Image> {
    let mut found: Vec<(Option<Instant>, Instant, &Image)> = images
        .iter()
        .filter(|image| !image.pinned && !used.contains(&image.id))
        .filter_map(|image| {
            let seen = seen.get(&image.id)?;
            (now.duration_since(seen.first) >= min_age).then_some((seen.used, seen.first, image))
        })
        .collect();
    found.sort_by_key(|(used, first, _)| (*used, *first));
    found.into_iter().map(|(_, _, image)| image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_freed_below_the_upper_threshold_and_down_to_the_lower_one_above() {
        assert_eq!(to_free(1000, 160, 85, 80), None);
        assert_eq!(to_free(1000, 150, 85, 80), Some(50));
        assert_eq!(to_free(1000, 0, 85, 80), Some(200));
        assert_eq!(to_free(0, 0, 85, 80), None);
    }

    #[test]
    fn several_refusals_are_told_at_once_and_each_but_once() {
        let refusal = |words: &str| RuntimeError::failed("RemoveImage", words);
        let told = |refused| CollectError::Refused { wanted: 9, freed: 4, refused }.to_string();
        let words = "wanted to free 9 bytes, but freed 4 bytes space with errors in image deletion: ";
        assert_eq!(told(vec![refusal("in use"), refusal("in use")]), format!("{words}in use"));
        assert_eq!(told(vec![refusal("in use"), refusal("busy")]), format!("{words}[in use, busy]"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_unused_go_first_and_the_used_pinned_and_young_stay() {
        let image = |id: &str, pinned| Image { id: id.into(), pinned, ..Image::default() };
        let images = ["a", "b", "c", "d", "e"].map(|id| image(id, id == "d"));
        let start = Instant::now();
        tokio::time::advance(Duration::from_secs(1000)).await;
        let now = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let seen = BTreeMap::from([
            ("a".to_owned(), Seen { first: at(0), used: Some(at(500)) }),
            ("b".to_owned(), Seen { first: at(10), used: None }),
            ("c".to_owned(), Seen { first: at(0), used: Some(now) }),
            ("d".to_owned(), Seen { first: at(0), used: None }),
            ("e".to_owned(), Seen { first: at(950), used: None }),
        ]);
        let used = HashSet::from(["c".to_owned()]);
        let order = victims(&images, &used, &seen, now, Duration::from_secs(120));
        assert_eq!(order.iter().map(|image| image.id.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    }
}
