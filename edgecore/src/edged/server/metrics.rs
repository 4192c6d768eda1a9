//! Owns `/metrics/resource`, which metrics-server reads, and the kubelet's `/metrics`, in Prometheus' text form.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use super::Shared;
use super::stats::{self, ContainerStats, NodeStats, PodStats, Sample};
use crate::edged::runtime::{Container, ContainerState};
use crate::edged::static_pods;
use crate::exposition::Page;
use crate::metrics::Metrics;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`.
pub(super) async fn own(State(shared): State<Shared>, devices: Option<Extension<Metrics>>) -> Response {
    let pods = match shared.pods().all().await {
        Ok(pods) => pods,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    // A runtime that does not answer has no rows: no number is better than a wrong one.
    let containers = shared.ctx.runtime.containers(None).await;
    let sandboxes = shared.ctx.runtime.sandboxes(None).await;
    let mut page = Page::default();
    let node = shared.ctx.settings.node_name.as_str();
    page.family("kubelet_node_name", "gauge", "The node's name. The count is always 1.").row(
        &[("node", node)],
        1,
        None,
    );
    if let Ok(sandboxes) = sandboxes {
        let running = sandboxes.iter().filter(|sandbox| sandbox.ready).count();
        page.family("kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox").row(
            &[],
            running,
            None,
        );
    }
    if let Ok(containers) = containers {
        let mut family =
            page.family("kubelet_running_containers", "gauge", "Number of containers currently running");
        for (state, count) in by_state(&containers) {
            family.row(&[("container_state", state)], count, None);
        }
    }
    let statics = pods.iter().filter(|pod| static_pods::is_static(&pod.object)).count();
    let mut family = page.family(
        "kubelet_desired_pods",
        "gauge",
        "The number of pods the kubelet is being instructed to run",
    );
    family.row(&[("static", "")], pods.len() - statics, None);
    family.row(&[("static", "true")], statics, None);
    process(&mut page);
    if let Some(Extension(devices)) = devices {
        devices.rows(&mut page);
    }
    answer(page)
}

/// `GET /metrics/resource` (Kubernetes v1.36 `pkg/kubelet/metrics/collectors/resource_metrics.go`).
pub(super) async fn resource(State(shared): State<Shared>) -> Response {
    let mut page = Page::default();
    let failed = match stats::collect(&shared).await {
        Ok(stats) => {
            containers(&mut page, &stats);
            node(&mut page, &stats);
            pods(&mut page, &stats);
            0
        }
        Err(error) => {
            tracing::warn!(%error, "what pods use cannot be told");
            1
        }
    };
    for name in ["resource_scrape_error", "scrape_error"] {
        let help = "1 if there was an error while getting container metrics, 0 otherwise";
        page.family(name, "gauge", help).row(&[], failed, None);
    }
    answer(page)
}

fn answer(page: Page) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page.finish()).into_response()
}

fn by_state(containers: &[Container]) -> [(&'static str, usize); 4] {
    let count = |is: fn(&ContainerState) -> bool| containers.iter().filter(|one| is(&one.state)).count();
    [
        ("created", count(|state| matches!(state, ContainerState::Created))),
        ("exited", count(|state| matches!(state, ContainerState::Exited(_)))),
        ("running", count(|state| matches!(state, ContainerState::Running { .. }))),
        ("unknown", count(|state| matches!(state, ContainerState::Unknown))),
    ]
}

/// What every program with a Prometheus client tells of itself.
fn process(page: &mut Page) {
    let Ok(own) = procfs::process::Process::myself() else { return };
    if let Ok(stat) = own.stat() {
        let seconds = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
        let help = "Total user and system CPU time spent in seconds.";
        page.family("process_cpu_seconds_total", "counter", help).row(&[], seconds, None);
        let bytes = stat.rss * procfs::page_size();
        page.family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.").row(
            &[],
            bytes,
            None,
        );
    }
    if let Ok(count) = own.fd_count() {
        page.family("process_open_fds", "gauge", "Number of open file descriptors.").row(&[], count, None);
    }
}

fn containers(page: &mut Page, stats: &NodeStats) {
    let mut family = |name, kind, help, timed: bool, value: fn(&ContainerStats) -> f64| {
        let mut family = page.family(name, kind, help);
        for pod in &stats.pods {
            for container in &pod.containers {
                let mut labels = pod_labels(pod);
                labels.insert(0, ("container", container.container.name.as_str()));
                family.row(&labels, value(container), timed.then_some(stats.time));
            }
        }
    };
    let cpu = "Cumulative cpu time consumed by the container in core-seconds";
    family("container_cpu_usage_seconds_total", "counter", cpu, true, |one| cpu_seconds(&one.sample));
    let memory = "Current working set of the container in bytes";
    family("container_memory_working_set_bytes", "gauge", memory, true, |one| working_set(&one.sample));
    let start = "Start time of the container since unix epoch in seconds";
    family("container_start_time_seconds", "gauge", start, false, |one| {
        one.started.as_millisecond() as f64 / 1e3
    });
    let swap = "Current amount of the container swap usage in bytes";
    family("container_swap_usage_bytes", "gauge", swap, true, |one| swapped(&one.sample));
}

fn node(page: &mut Page, stats: &NodeStats) {
    let mut family = |name, kind, help, value: f64| {
        page.family(name, kind, help).row(&[], value, Some(stats.time));
    };
    let cpu = "Cumulative cpu time consumed by the node in core-seconds";
    family("node_cpu_usage_seconds_total", "counter", cpu, cpu_seconds(&stats.sample));
    let memory = "Current working set of the node in bytes";
    family("node_memory_working_set_bytes", "gauge", memory, working_set(&stats.sample));
    let swap = "Current swap usage of the node in bytes";
    family("node_swap_usage_bytes", "gauge", swap, swapped(&stats.sample));
}

fn pods(page: &mut Page, stats: &NodeStats) {
    let mut family = |name, kind, help, value: fn(&Sample) -> f64| {
        let mut family = page.family(name, kind, help);
        for pod in &stats.pods {
            if let Some(sample) = &pod.sample {
                family.row(&pod_labels(pod), value(sample), Some(stats.time));
            }
        }
    };
    let cpu = "Cumulative cpu time consumed by the pod in core-seconds";
    family("pod_cpu_usage_seconds_total", "counter", cpu, cpu_seconds);
    family("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes", working_set);
    family("pod_swap_usage_bytes", "gauge", "Current amount of the pod swap usage in bytes", swapped);
}

fn pod_labels(stats: &PodStats) -> Vec<(&'static str, &str)> {
    let meta = &stats.pod.metadata;
    vec![
        ("namespace", meta.namespace.as_deref().unwrap_or_default()),
        ("pod", meta.name.as_deref().unwrap_or_default()),
    ]
}

fn cpu_seconds(sample: &Sample) -> f64 {
    sample.used.cpu as f64 / 1e9
}

fn working_set(sample: &Sample) -> f64 {
    sample.used.memory.working_set as f64
}

fn swapped(sample: &Sample) -> f64 {
    sample.used.memory.swap as f64
}
