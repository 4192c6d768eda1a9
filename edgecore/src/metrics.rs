//! What edgecore counts of devices and their clients, for `/metrics`.
//!
//! Owns: the counters and their names. May call: nothing. Called by: devicetwin, dmi and eventbus, which count, and the local API,
//! which shows them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::exposition::Page;

/// The counters. Cheap to clone; all clones count the same.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    taken: AtomicU64,
    unstored: AtomicU64,
    refused: ByReason,
    strange_topics: AtomicU64,
    mappers_refused: ByReason,
    put_out: ByReason,
    unheard: Arc<AtomicU64>,
}

/// Counts by the reason, in one word. Only what is wrong is counted so, and the words are few.
#[derive(Debug, Default)]
struct ByReason(Mutex<BTreeMap<&'static str, u64>>);

// === impl Metrics ===

impl Metrics {
    /// A request about a device was answered with what it asked for.
    pub(crate) fn taken(&self) {
        self.0.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// A request could not be stored.
    pub(crate) fn unstored(&self) {
        self.0.unstored.fetch_add(1, Ordering::Relaxed);
    }

    /// A request about a device was refused.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.0.refused.count(reason);
    }

    /// Somebody published where only devices speak, under a name that is no device or a verb that is none.
    pub(crate) fn strange_topic(&self) {
        self.0.strange_topics.fetch_add(1, Ordering::Relaxed);
    }

    /// A mapper's request was refused.
    pub(crate) fn mapper_refused(&self, reason: &'static str) {
        self.0.mappers_refused.count(reason);
    }

    /// An MQTT client was disconnected for what it did.
    pub(crate) fn put_out(&self, reason: &'static str) {
        self.0.put_out.count(reason);
    }

    /// Counts what found no room on its way to the external broker.
    pub(crate) fn unheard(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.unheard)
    }

    /// All of them as a page for Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = Page::default();
        self.rows(&mut page);
        page.finish()
    }

    /// Adds them to a page.
    pub(crate) fn rows(&self, page: &mut Page) {
        let Counters { taken, unstored, refused, strange_topics, mappers_refused, put_out, unheard } =
            &*self.0;
        let one = |page: &mut Page, name, help, count: &AtomicU64| {
            page.family(name, "counter", help).row(&[], count.load(Ordering::Relaxed), None);
        };
        let many = |page: &mut Page, name, help, counts: &ByReason| {
            let mut family = page.family(name, "counter", help);
            for (reason, count) in counts.all() {
                family.row(&[("reason", reason)], count, None);
            }
        };
        one(
            page,
            "edgecore_device_requests_taken_total",
            "Requests about devices that were answered as asked",
            taken,
        );
        many(
            page,
            "edgecore_device_requests_refused_total",
            "Requests about devices that were refused",
            refused,
        );
        one(page, "edgecore_device_requests_unstored_total", "Requests that the disk did not take", unstored);
        one(
            page,
            "edgecore_device_topics_unknown_total",
            "Messages under the topics of devices that name no device or ask for nothing known",
            strange_topics,
        );
        many(
            page,
            "edgecore_mapper_requests_refused_total",
            "Requests of mappers that were refused",
            mappers_refused,
        );
        many(
            page,
            "edgecore_mqtt_clients_put_out_total",
            "MQTT clients that were disconnected for what they did",
            put_out,
        );
        one(
            page,
            "edgecore_mqtt_messages_lost_total",
            "Messages that found no room on their way to the external MQTT broker",
            unheard,
        );
    }
}

impl ByReason {
    fn count(&self, reason: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    fn all(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown_with_its_reason() {
        let metrics = Metrics::default();
        metrics.refused("malformed");
        metrics.clone().refused("malformed");
        metrics.refused("type");
        metrics.strange_topic();
        let page = metrics.render();
        for row in [
            "edgecore_device_requests_refused_total{reason=\"malformed\"} 2\n",
            "edgecore_device_requests_refused_total{reason=\"type\"} 1\n",
            "edgecore_device_topics_unknown_total 1\n",
            "# TYPE edgecore_mqtt_clients_put_out_total counter\n",
        ] {
            assert!(page.contains(row), "{row}: {page}");
        }
    }
}
