//! What became of readings, for `/metrics` and the log.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Why a reading was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    reason: &'static str,
}

/// Too many wait for their targets.
pub(super) const FULL: Reason = Reason { reason: "buffer_full" };
/// The disk takes none.
pub(super) const DISK: Reason = Reason { reason: "disk" };
/// Its target will never take it.
pub(super) const REFUSED: Reason = Reason { reason: "refused" };

/// The counts. Cheap to clone; all clones count the same.
#[derive(Clone, Default)]
pub(crate) struct Counts(Arc<Inner>);

#[derive(Default)]
struct Inner {
    pushed: Counter,
    dropped: Family<Reason, Counter>,
    waiting: Gauge,
    waiting_bytes: Gauge,
}

// === impl Counts ===

impl Counts {
    pub(super) fn pushed(&self, readings: u64) {
        self.0.pushed.inc_by(readings);
    }

    /// Counts, and says how many it were since the start.
    pub(super) fn dropped(&self, why: Reason, readings: u64) -> u64 {
        let counter = self.0.dropped.get_or_create_owned(&why);
        counter.inc_by(readings) + readings
    }

    pub(super) fn waiting(&self, readings: i64, bytes: i64) {
        self.0.waiting.set(readings);
        self.0.waiting_bytes.set(bytes);
    }

    /// All of it, in Prometheus' text form.
    pub(crate) fn page(&self) -> String {
        let Inner { pushed, dropped, waiting, waiting_bytes } = &*self.0;
        let mut registry = Registry::with_prefix("mapper_push");
        registry.register("readings", "Readings that a target of pushMethod took", pushed.clone());
        registry.register("dropped", "Readings that no target got, by the reason", dropped.clone());
        registry.register("waiting", "Readings on disk that wait for their targets", waiting.clone());
        registry.register("waiting_bytes", "Bytes of the readings that wait", waiting_bytes.clone());
        let mut page = String::new();
        // Writing to a text does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut page, &registry);
        page
    }
}
