//! Pods that have to go so that the others, and the node, can stay.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use proto::resource::ResourceKind;
use tokio::sync::watch;
use tokio::time::Instant;

use super::pressure::{Levels, Pressure, Signal};
use super::thresholds::{Observer, Threshold};
use super::{storage, usage};
use crate::edged::context::Context;
use crate::edged::events::Severity;
use crate::edged::node::Amount;
use crate::edged::pod::policy;
use crate::edged::static_pods::is_static;

/// Pods that the system itself needs (`system-cluster-critical`) are never evicted.
const CRITICAL: i32 = 2_000_000_000;
/// What a pod has to stop when a hard threshold was crossed (kubelet `immediateEvictionGracePeriodSeconds`).
const AT_ONCE: Duration = Duration::from_secs(1);
/// At most one part in so many of the time goes into measuring what pods keep on disk.
const MEASURE_SHARE: u32 = 20;
/// Pods that were told to go and are gone need not be remembered for ever.
const REMEMBERED: usize = 1024;

/// What a pod that has to go for the good of the node is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// For its status.
    pub message: String,
    /// How long it has to stop at most, if it does not want less itself.
    pub grace: Duration,
}

// === impl Eviction ===

impl Eviction {
    /// One that an agent before this one has begun. Whether there was time is not known; it is bounded all the same.
    pub fn resumed(message: impl Into<String>, soft_grace: Duration) -> Self {
        Self { message: message.into(), grace: soft_grace.max(AT_ONCE) }
    }

    /// The node needs now what the pod holds.
    pub fn at_once(message: impl Into<String>) -> Self {
        Self { message: message.into(), grace: AT_ONCE }
    }
}

/// Pods that were told to go, by uid.
#[derive(Debug)]
pub struct Evictions(watch::Sender<Arc<BTreeMap<String, Eviction>>>);

impl Default for Evictions {
    fn default() -> Self {
        Self(watch::Sender::new(Arc::default()))
    }
}

impl Evictions {
    /// Wakes whoever waits when somebody is told to go.
    pub fn subscribe(&self) -> watch::Receiver<Arc<BTreeMap<String, Eviction>>> {
        self.0.subscribe()
    }

    /// Why this pod has to go, if it has.
    pub fn of(&self, uid: &str) -> Option<Eviction> {
        self.0.borrow().get(uid).cloned()
    }

    /// Tells a pod to go.
    pub fn order(&self, uid: &str, eviction: Eviction) {
        self.0.send_modify(|all| {
            let all = Arc::make_mut(all);
            if all.len() >= REMEMBERED {
                all.clear();
            }
            all.insert(uid.to_owned(), eviction);
        });
    }
}

/// A pod that could go.
#[derive(Clone, Debug)]
struct Candidate {
    pod: Arc<Pod>,
    priority: i32,
    usage: u64,
    request: u64,
}

/// Looks at the machine, and at most one pod goes at each look.
pub(super) struct Evictor {
    ctx: Arc<Context>,
    observer: Observer,
    short: BTreeMap<Signal, Instant>,
    images: Option<PathBuf>,
    /// Pods with a limit on disk, as the store had them at the last change.
    limited: Option<Vec<Arc<Pod>>>,
    changes: watch::Receiver<u64>,
    /// Pods are not measured again before.
    rests: Instant,
}

impl Evictor {
    pub(super) fn new(ctx: Arc<Context>) -> Self {
        let changes = ctx.store.changes(ResourceKind::Pod);
        Self {
            ctx,
            observer: Observer::default(),
            short: BTreeMap::new(),
            images: None,
            limited: None,
            changes,
            rests: Instant::now(),
        }
    }

    pub(super) async fn run(&mut self, period: Duration) {
        let mut ticks = super::every(period);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        if self.images.is_none() {
            let usage = self.ctx.runtime.image_usage().await.unwrap_or_default();
            self.images = usage.into_iter().next().map(|(mountpoint, _)| PathBuf::from(mountpoint));
        }
        let (root, images) = (self.ctx.settings.root.clone(), self.images.clone());
        let looked = tokio::task::spawn_blocking(move || Levels::look(&root, images.as_deref()));
        let Ok(levels) = looked.await else { return };
        let ctx = Arc::clone(&self.ctx);
        let now = Instant::now();
        let seen = self.observer.look(&ctx.settings.housekeeping.thresholds, |signal| levels.of(signal), now);
        self.short.extend(seen.short.iter().map(|signal| (*signal, now)));
        // What was freed by evicting a pod is not to be given to the same pod again.
        let lasts = self.ctx.settings.housekeeping.pressure_lasts;
        self.short.retain(|_, seen| now == *seen || now.duration_since(*seen) < lasts);
        let mut pressure = Pressure::default();
        self.short.keys().for_each(|signal| pressure.add(*signal));
        self.ctx.pressure.send_if_modified(|known| {
            let differs = *known != pressure;
            *known = pressure;
            differs
        });
        if self.evict_excessive().await {
            return;
        }
        if let Some((threshold, amount)) = seen.due.first() {
            let words = format!("Attempting to reclaim {}", threshold.signal.resource());
            self.ctx.events.node(Severity::Warning, "EvictionThresholdMet", &words).await;
            self.evict_one(threshold, *amount).await;
        }
    }

    /// Lets pods go that keep more on disk than they may; true when there are such.
    async fn evict_excessive(&mut self) -> bool {
        let begun = Instant::now();
        if begun < self.rests {
            return false;
        }
        let layers = self.images.as_deref().is_none_or(|images| same_disk(&self.ctx.settings.root, images));
        let mut any = false;
        for pod in self.limited().await {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            if self.ctx.evictions.of(&uid).is_some() {
                continue;
            }
            if let Some(message) = storage::excess(&self.ctx, &pod, layers).await {
                self.ctx.evictions.order(&uid, Eviction::at_once(message));
                any = true;
            }
        }
        // Measuring large volumes may take a small machine a while; it is to have other things to do.
        self.rests = Instant::now() + begun.elapsed() * MEASURE_SHARE;
        any
    }

    /// Pods that may not keep as much on disk as they like, read again only when pods have changed: most nodes have none.
    async fn limited(&mut self) -> Vec<Arc<Pod>> {
        if self.limited.is_none() || self.changes.has_changed().unwrap_or(true) {
            self.changes.borrow_and_update();
            let mut pods = self.pods().await;
            pods.retain(|pod| storage::is_limited(pod) && !is_critical(pod));
            self.limited = Some(pods);
        }
        self.limited.clone().unwrap_or_default()
    }

    /// Pods in the store that are to run here.
    async fn pods(&self) -> Vec<Arc<Pod>> {
        let stored = self.ctx.store.list(&ResourceKind::Pod).await.unwrap_or_default();
        stored
            .into_iter()
            .filter_map(|object| serde_json::from_value(object.object).ok().map(Arc::new))
            .filter(|pod: &Arc<Pod>| {
                policy::spec(pod).node_name.as_deref() == Some(self.ctx.settings.node_name.as_str())
            })
            .collect()
    }

    async fn evict_one(&self, threshold: &Threshold, amount: Amount) {
        let pods = self.pods().await;
        let runs = self.running().await;
        // Who was given time to stop has not freed anything yet; another one may not be needed.
        if threshold.lasting.is_some() && runs.iter().any(|uid| self.ctx.evictions.of(uid).is_some()) {
            return;
        }
        let ctx = Arc::clone(&self.ctx);
        let signal = threshold.signal;
        let found = tokio::task::spawn_blocking(move || {
            let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
            let may_go = |pod: &Arc<Pod>| {
                let uid = uid(pod);
                runs.contains(&uid) && ctx.evictions.of(&uid).is_none() && !is_critical(pod)
            };
            let candidate = |pod: Arc<Pod>| Candidate {
                priority: policy::spec(&pod).priority.unwrap_or(0),
                usage: usage::of(&pod, signal, &ctx.settings),
                request: usage::request(&pod, signal),
                pod,
            };
            pods.into_iter().filter(may_go).map(candidate).collect::<Vec<_>>()
        });
        let Ok(mut candidates) = found.await else { return };
        rank(&mut candidates);
        let Some(victim) = candidates.into_iter().next() else {
            tracing::warn!(
                resource = threshold.signal.resource(),
                "too little is left and no pod may be evicted"
            );
            return;
        };
        let message = message(threshold, amount, &victim);
        let grace = match threshold.lasting {
            None => AT_ONCE,
            Some(_) => self.ctx.settings.housekeeping.soft_grace.max(AT_ONCE),
        };
        let uid = victim.pod.metadata.uid.as_deref().unwrap_or_default();
        self.ctx.evictions.order(uid, Eviction { message, grace });
    }

    /// Uids of pods with a container that runs.
    async fn running(&self) -> BTreeSet<String> {
        let containers = self.ctx.runtime.containers(None).await.unwrap_or_default();
        containers.into_iter().filter(|one| one.running()).map(|one| one.uid.0).collect()
    }
}

/// Whether a pod is one that the system itself needs.
pub(in crate::edged) fn is_critical(pod: &Pod) -> bool {
    is_static(pod) || policy::spec(pod).priority.is_some_and(|priority| priority >= CRITICAL)
}

/// Whether two directories lie on one file system; what is not known counts as one.
fn same_disk(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    device(one).zip(device(other)).is_none_or(|(one, other)| one == other)
}

/// Who goes first: who uses more than it asked for, then who matters least, then who is furthest above.
fn rank(candidates: &mut [Candidate]) {
    candidates.sort_by_key(|one| {
        let above = i128::from(one.usage) - i128::from(one.request);
        (above <= 0, one.priority, Reverse(above))
    });
}

fn message(threshold: &Threshold, amount: Amount, victim: &Candidate) -> String {
    let resource = threshold.signal.resource();
    let quantity = |bytes: u64| match threshold.signal {
        Signal::Memory | Signal::NodeFs | Signal::ImageFs => format!("{}Ki", bytes / 1024),
        _ => bytes.to_string(),
    };
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        threshold.text,
        quantity(amount.available)
    );
    if victim.usage > victim.request {
        let names: Vec<&str> =
            policy::spec(&victim.pod).containers.iter().map(|container| container.name.as_str()).collect();
        text.push_str(&format!(
            "Container {} was using {}, request is {}, has larger consumption of {resource}. ",
            names.join(" "),
            quantity(victim.usage),
            if victim.request == 0 { "0".to_owned() } else { quantity(victim.request) }
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn candidate(name: &str, priority: i32, usage: u64, request: u64) -> Candidate {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c"}]}});
        Candidate { pod: Arc::new(serde_json::from_value(pod).unwrap()), priority, usage, request }
    }

    #[test]
    fn who_keeps_to_its_request_goes_last_and_the_least_important_first() {
        let mut all = [
            candidate("modest", 0, 10, 20),
            candidate("important", 100, 500, 10),
            candidate("greedy", 0, 300, 10),
            candidate("less greedy", 0, 200, 10),
        ];
        rank(&mut all);
        let names: Vec<_> = all.iter().filter_map(|one| one.pod.metadata.name.as_deref()).collect();
        assert_eq!(names, ["greedy", "less greedy", "important", "modest"]);
    }

    #[test]
    fn the_message_says_what_was_short_and_who_used_it() {
        let threshold = &Threshold::all(&proto::config::KubeletConfig::default()).unwrap()[0];
        let amount = Amount { capacity: 1 << 30, available: 50 << 20 };
        let text = message(threshold, amount, &candidate("p", 0, 20 << 20, 0));
        assert_eq!(
            text,
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51200Ki. Container c was using \
             20480Ki, request is 0, has larger consumption of memory. "
        );
    }
}
