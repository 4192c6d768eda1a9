//! What the edge costs in flash: writes of an idle node, sizes of the binaries.

use std::time::Duration;

use anyhow::Result;
use e2e::{binary, device};
use tokio::time::sleep;

use crate::{Measure, load, pod::node};

/// Pods that idle.
const PODS: usize = 10;

pub(crate) async fn run(idle: Duration) -> Result<Vec<Measure>> {
    let (_containerd, mut stack) = node().await?;
    device::apply_thermometer(&stack.client(), "edge1", "bench-sensor").await?;
    load::create(&stack, 0..PODS).await?;
    load::ready(&stack, PODS, Duration::from_secs(60)).await?;
    sleep(Duration::from_secs(20)).await;
    let edge = stack.edge_mut()?;
    let before = edge.written_bytes()?;
    sleep(idle).await;
    let written = edge.written_bytes()? - before;
    let method = format!("write_bytes of /proc/PID/io over {} s, {PODS} pods and one device", idle.as_secs());
    Ok(vec![Measure::bytes("edgecore.idle-writes", written, method)])
}

pub(crate) fn sizes() -> Result<Vec<Measure>> {
    [("edgecore.size", "edgecore"), ("cloudcore.size", "cloudcore"), ("keadm.size", "keadm")]
        .into_iter()
        .map(|(name, file)| Ok(Measure::bytes(name, binary(file)?.metadata()?.len(), "size of the file")))
        .collect()
}
