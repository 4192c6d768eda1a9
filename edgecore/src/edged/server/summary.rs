//! Owns `/stats/summary`: what the node, its pods and their containers use, as one JSON document (Kubernetes v1.36
//! `staging/src/k8s.io/kubelet/pkg/apis/stats/v1alpha1`).

use std::collections::BTreeMap;
use std::path::Path;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp;
use nix::sys::statvfs::statvfs;
use serde_json::{Value, json};

use super::Shared;
use super::stats::{self, ContainerStats, Interface, NodeStats, PodStats, Sample};
use crate::edged::config::Settings;
use crate::edged::housekeeping;
use crate::edged::pod::{container, sandbox};
use crate::edged::runtime::{ContainerId, PodUid};
use crate::machine;

/// `GET /stats/summary`; with `?only_cpu_and_memory=true` without disks and networks, which cost more to look at.
pub(super) async fn get(
    State(shared): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let short = query.get("only_cpu_and_memory").is_some_and(|value| value == "true");
    match document(&shared, !short).await {
        Ok(document) => Json(document).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

async fn document(shared: &Shared, whole: bool) -> Result<Value, String> {
    let stats = stats::collect(shared).await.map_err(|error| error.to_string())?;
    let mut pods = Vec::new();
    for pod in &stats.pods {
        let mut document = pod_document(pod, stats.time);
        if whole {
            add_disks(shared, pod, &mut document, stats.time).await?;
            document["network"] = network(&pod.interfaces, stats.time);
        }
        pods.push(document);
    }
    let mut node = node_document(&stats, &shared.ctx.settings);
    if whole {
        node["network"] = network(&stats.interfaces, stats.time);
        node["fs"] = file_system(&shared.ctx.settings.root, stats.time);
        let images = shared.ctx.runtime.image_usage().await.unwrap_or_default();
        if let Some((place, used)) = images.first() {
            let mut fs = file_system(Path::new(place), stats.time);
            fs["usedBytes"] = (*used).into();
            node["runtime"] = json!({ "imageFs": fs });
        }
    }
    strip_nulls(&mut node);
    pods.iter_mut().for_each(strip_nulls);
    Ok(json!({ "node": node, "pods": pods }))
}

fn node_document(stats: &NodeStats, settings: &Settings) -> Value {
    let mut node = usage(&stats.sample, stats.time);
    node["nodeName"] = settings.node_name.clone().into();
    node["startTime"] = second(stats.started);
    node["memory"]["availableBytes"] = stats.available_memory.into();
    let (limit, there) = (machine::process_limit(), machine::processes());
    node["rlimit"] = json!({ "time": second(stats.time), "maxpid": limit, "curproc": there });
    node
}

fn pod_document(stats: &PodStats, time: Timestamp) -> Value {
    let meta = &stats.pod.metadata;
    let mut pod = stats.sample.as_ref().map_or_else(|| json!({}), |sample| usage(sample, time));
    pod["podRef"] = json!({ "name": meta.name, "namespace": meta.namespace, "uid": meta.uid });
    let first = stats.containers.iter().map(|container| container.started).min();
    pod["startTime"] = first.map_or(Value::Null, second);
    pod["containers"] =
        stats.containers.iter().map(|container| container_document(container, time)).collect();
    pod
}

fn container_document(stats: &ContainerStats, time: Timestamp) -> Value {
    let mut container = usage(&stats.sample, time);
    container["name"] = stats.container.name.clone().into();
    container["startTime"] = second(stats.started);
    container
}

/// Processor and memory, as all three levels tell them.
fn usage(sample: &Sample, time: Timestamp) -> Value {
    let memory = &sample.used.memory;
    let time = second(time);
    json!({
        "cpu": { "time": time, "usageNanoCores": sample.cpu_rate, "usageCoreNanoSeconds": sample.used.cpu },
        "memory": {
            "time": time,
            "availableBytes": memory.limit.map(|limit| limit.saturating_sub(memory.working_set)),
            "usageBytes": memory.usage,
            "workingSetBytes": memory.working_set,
            "rssBytes": memory.rss,
            "pageFaults": memory.page_faults,
            "majorPageFaults": memory.major_page_faults,
        },
        "swap": { "time": time, "swapUsageBytes": memory.swap },
    })
}

/// What the pod and its containers keep on the disk.
async fn add_disks(
    shared: &Shared,
    stats: &PodStats,
    into: &mut Value,
    time: Timestamp,
) -> Result<(), String> {
    let uid = PodUid(stats.pod.metadata.uid.clone().unwrap_or_default());
    let layers: BTreeMap<ContainerId, u64> = match stats.containers.is_empty() {
        true => BTreeMap::new(),
        false => shared.ctx.runtime.layers(&uid).await.unwrap_or_default(),
    };
    let settings = &shared.ctx.settings;
    let (dir, logs) = (settings.pod_dir(&uid.0), sandbox::log_directory(&stats.pod, settings));
    let files: Vec<_> = stats
        .containers
        .iter()
        .map(|one| logs.join(container::log_path(&one.container.name, one.container.restarts())))
        .collect();
    let looked = tokio::task::spawn_blocking(move || {
        let volumes = housekeeping::bytes_below(&dir);
        let logs = housekeeping::bytes_below(&logs);
        let each: Vec<u64> =
            files.iter().map(|file| std::fs::metadata(file).map_or(0, |meta| meta.len())).collect();
        (volumes, logs, each)
    });
    let (volumes, logs, each) = looked.await.map_err(|error| error.to_string())?;
    let root = file_system(&settings.root, time);
    let with_used = |used: u64| {
        let mut fs = root.clone();
        fs["usedBytes"] = used.into();
        fs
    };
    let mut written = 0;
    for ((stats, log), document) in
        stats.containers.iter().zip(each).zip(into["containers"].as_array_mut().into_iter().flatten())
    {
        let layer = layers.get(&stats.container.id).copied().unwrap_or(0);
        written += layer;
        document["rootfs"] = with_used(layer);
        document["logs"] = with_used(log);
    }
    into["ephemeral-storage"] = with_used(volumes + logs + written);
    Ok(())
}

/// The first interface in front, as the pod's own.
fn network(interfaces: &[Interface], time: Timestamp) -> Value {
    let one = |interface: &Interface| {
        json!({
            "name": interface.name, "rxBytes": interface.rx_bytes, "rxErrors": interface.rx_errors,
            "txBytes": interface.tx_bytes, "txErrors": interface.tx_errors,
        })
    };
    let Some(first) = interfaces.iter().find(|one| one.name == "eth0").or(interfaces.first()) else {
        return Value::Null;
    };
    let mut network = one(first);
    network["time"] = second(time);
    network["interfaces"] = interfaces.iter().map(one).collect();
    network
}

/// The file system that holds the place or what will be it.
fn file_system(place: &Path, time: Timestamp) -> Value {
    let existing = place.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let Ok(stat) = statvfs(existing) else { return json!({ "time": second(time) }) };
    let block = stat.fragment_size();
    json!({
        "time": second(time),
        "availableBytes": stat.blocks_available() * block,
        "capacityBytes": stat.blocks() * block,
        "usedBytes": (stat.blocks() - stat.blocks_free()) * block,
        "inodesFree": stat.files_free(),
        "inodes": stat.files(),
        "inodesUsed": stat.files() - stat.files_free(),
    })
}

/// Whole seconds, as Go's `metav1.Time` is written.
fn second(time: Timestamp) -> Value {
    crate::edged::pod::status::whole_seconds(time).to_string().into()
}

/// What is not known is not there.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, inner| !inner.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}
