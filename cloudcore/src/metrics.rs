//! What cloudcore counts, and the HTTP endpoint that tells it to Prometheus.
//!
//! Owns: the registry and the names. May call: nothing. Called by: every module that counts something.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The counters. Cheap to clone; all clones count the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Sessions that are open.
    pub sessions: Gauge,
    /// Sessions ever opened.
    pub sessions_opened: Counter,
    /// Connections refused, whatever the reason.
    pub connections_refused: Counter,
    /// Objects sent and not yet confirmed.
    pub in_flight: Gauge,
    /// Objects confirmed by edges.
    pub confirmed: Counter,
    /// Objects sent again.
    pub resent: Counter,
    /// Objects that an edge refused for good.
    pub refused: Counter,
    /// Requests and reports received.
    pub requests: Counter,
    /// Requests for objects that are not the node's.
    pub forbidden: Counter,
    /// Messages that could not be decoded.
    pub malformed: Counter,
    /// Bytes received in frames.
    pub received_bytes: Counter,
    /// Device reports that the API has taken.
    pub reports_confirmed: Counter,
    /// Device reports that were turned down for good.
    pub reports_rejected: Counter,
    /// Patches that device reports became; fewer than reports when several were merged.
    pub report_patches: Counter,
    /// Seconds from a device report's arrival until the API had taken it.
    pub report_seconds: Histogram,
    /// Messages that rules delivered.
    pub rule_messages_delivered: Counter,
    /// Messages of rules that were given up.
    pub rule_messages_failed: Counter,
    /// Certificates issued.
    pub certificates_issued: Counter,
    /// Certificate requests refused.
    pub certificates_refused: Counter,
    registry: Arc<Registry>,
}

// === impl Metrics ===

impl Metrics {
    /// A fresh set, registered under its names.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("cloudcore");
        let counter = |registry: &mut Registry, name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let gauge = |registry: &mut Registry, name: &str, help: &str| {
            let gauge: Gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let report_seconds = Histogram::new(exponential_buckets(0.000_5, 2.0, 14));
        let r = &mut registry;
        r.register(
            "device_report_seconds",
            "Time from a device report's arrival until the API had taken it",
            report_seconds.clone(),
        );
        Self {
            sessions: gauge(r, "hub_sessions", "Nodes connected now"),
            sessions_opened: counter(r, "hub_sessions_opened", "Sessions opened"),
            connections_refused: counter(r, "hub_connections_refused", "Connections refused"),
            in_flight: gauge(r, "hub_objects_in_flight", "Objects sent to nodes and not yet confirmed"),
            confirmed: counter(r, "hub_objects_confirmed", "Objects that nodes confirmed to have stored"),
            resent: counter(r, "hub_objects_resent", "Objects sent again because they were not confirmed"),
            refused: counter(r, "hub_objects_refused", "Objects that nodes refused for good"),
            requests: counter(r, "hub_requests", "Requests and reports received from nodes"),
            forbidden: counter(r, "hub_requests_forbidden", "Requests for objects that are not the node's"),
            malformed: counter(r, "hub_messages_malformed", "Messages that could not be decoded"),
            received_bytes: counter(r, "hub_received_bytes", "Bytes received in frames"),
            reports_confirmed: counter(
                r,
                "device_reports_confirmed",
                "Device reports that the API has taken",
            ),
            reports_rejected: counter(r, "device_reports_rejected", "Device reports turned down for good"),
            report_patches: counter(r, "device_report_patches", "Writes to the API for device reports"),
            report_seconds,
            rule_messages_delivered: counter(
                r,
                "rule_messages_delivered",
                "Messages that rules delivered to their targets",
            ),
            rule_messages_failed: counter(r, "rule_messages_failed", "Messages of rules that were given up"),
            certificates_issued: counter(r, "certificates_issued", "Node certificates issued"),
            certificates_refused: counter(r, "certificates_refused", "Certificate requests refused"),
            registry: Arc::new(registry),
        }
    }

    /// All numbers in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
            let _ = write!(text, "# the metrics could not be written\n# EOF\n");
        }
        text
    }

    /// `GET /metrics` and `GET /healthz`.
    pub fn routes(&self) -> Router {
        let metrics = self.clone();
        let serve = move || async move {
            let kind = [(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
            (kind, metrics.render()).into_response()
        };
        Router::new().route("/metrics", get(serve)).route("/healthz", get(|| async { "ok\n" }))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_name_and_an_explanation() {
        let metrics = Metrics::new();
        metrics.sessions.inc();
        metrics.reports_confirmed.inc_by(3);
        let text = metrics.render();
        assert!(text.contains("cloudcore_hub_sessions 1"), "{text}");
        assert!(text.contains("cloudcore_device_reports_confirmed_total 3"), "{text}");
        assert!(text.contains("# HELP cloudcore_hub_objects_resent"), "{text}");
    }
}
