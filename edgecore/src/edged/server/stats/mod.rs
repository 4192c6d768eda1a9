//! Owns what the node, its pods and their containers use: read from cgroups and `/proc` when somebody asks.

mod cgroup;
mod network;
mod rates;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use procfs::{Current, CurrentSI};
use tokio::time::Instant;

pub(super) use self::cgroup::{Memory, Use};
pub(super) use self::network::Interface;
pub(super) use self::rates::Rates;
use super::Shared;
use crate::edged::cgroups;
use crate::edged::context::Context;
use crate::edged::pod::policy;
use crate::edged::runtime::{Container, ContainerState, PodUid};
use crate::machine::Ticks;
use crate::metamanager::StoreError;
use cgroup::Group;

/// What one thing uses.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) used: Use,
    /// Nanoseconds of processor in a second; `None` before that can be told.
    pub(super) cpu_rate: Option<u64>,
}

/// What a container uses that runs.
#[derive(Debug)]
pub(super) struct ContainerStats {
    pub(super) container: Container,
    pub(super) started: Timestamp,
    pub(super) sample: Sample,
}

/// What a pod uses.
#[derive(Debug)]
pub(super) struct PodStats {
    pub(super) pod: Pod,
    pub(super) sample: Option<Sample>,
    /// Empty on the host's network.
    pub(super) interfaces: Vec<Interface>,
    pub(super) containers: Vec<ContainerStats>,
}

/// What the node and its pods use.
#[derive(Debug)]
pub(super) struct NodeStats {
    pub(super) time: Timestamp,
    /// When the machine was started.
    pub(super) started: Timestamp,
    pub(super) sample: Sample,
    /// Bytes that programs could still get.
    pub(super) available_memory: u64,
    pub(super) interfaces: Vec<Interface>,
    pub(super) pods: Vec<PodStats>,
}

/// Looks at all of it.
pub(super) async fn collect(shared: &Shared) -> Result<NodeStats, StoreError> {
    let pods = shared.pods().all().await?;
    let ctx = &shared.ctx;
    // Without an answer pods are told without containers.
    let containers = ctx.runtime.containers(None).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the runtime does not say which containers there are");
        Vec::new()
    });
    let now = Instant::now();
    let mut rates = shared.rates.lock().await;
    let mut found = Vec::new();
    for pod in pods {
        let pod = Pod::clone(&pod.object);
        let uid = PodUid(pod.metadata.uid.clone().unwrap_or_default());
        let group = group_of(ctx, &pod);
        let mut own = Vec::new();
        let mut process = None;
        for container in containers.iter().filter(|one| one.uid == uid) {
            let ContainerState::Running { started } = container.state else { continue };
            let inside =
                group.child(&cgroups::of_container(&container.id.0, &ctx.runtime.kind(), &ctx.settings));
            let Some(used) = inside.read() else { continue };
            process = process.or_else(|| inside.process());
            let cpu_rate = rates.of(&container.id.0, used.cpu, now);
            own.push(ContainerStats {
                container: container.clone(),
                started,
                sample: Sample { used, cpu_rate },
            });
        }
        let sample = group.read().map(|used| Sample { cpu_rate: rates.of(&uid.0, used.cpu, now), used });
        let interfaces = match process {
            Some(process) if !policy::host_network(&pod) => network::of_process(process),
            _ => Vec::new(),
        };
        found.push(PodStats { pod, sample, interfaces, containers: own });
    }
    let (used, available_memory) = machine();
    let sample = Sample { cpu_rate: rates.of("", used.cpu, now), used };
    rates.keep_asked(now);
    Ok(NodeStats {
        time: Timestamp::now(),
        started: booted(),
        sample,
        available_memory,
        interfaces: network::of_process(1),
        pods: found,
    })
}

fn group_of(ctx: &Context, pod: &Pod) -> Group {
    Group {
        cpu: cgroups::path(pod, &ctx.settings, "cpuacct"),
        memory: cgroups::path(pod, &ctx.settings, "memory"),
        unified: ctx.unified_cgroups,
    }
}

/// The whole machine, from `/proc`, since the root group has no counters of memory on version 2; and the bytes of memory that
/// are available.
fn machine() -> (Use, u64) {
    let Ok(info) = procfs::Meminfo::current() else { return Default::default() };
    let counters = procfs::vmstat().unwrap_or_default();
    let counter = |name: &str| counters.get(name).and_then(|count| u64::try_from(*count).ok()).unwrap_or(0);
    let usage = info.active + info.inactive;
    let memory = Memory {
        usage,
        working_set: usage.saturating_sub(info.inactive_file.unwrap_or(0)),
        rss: info.anon_pages.unwrap_or(0),
        swap: info.swap_total.saturating_sub(info.swap_free),
        page_faults: counter("pgfault"),
        major_page_faults: counter("pgmajfault"),
        limit: None,
    };
    (Use { cpu: busy(), memory }, info.mem_available.unwrap_or(info.mem_free))
}

/// Nanoseconds in which processors did not idle.
fn busy() -> u64 {
    let ticks = Ticks::now().map_or(0, |ticks| ticks.busy);
    ticks.saturating_mul(1_000_000_000 / procfs::ticks_per_second().max(1))
}

fn booted() -> Timestamp {
    let seconds = procfs::KernelStats::current().map_or(0, |stat| stat.btime);
    i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or_default()
}
