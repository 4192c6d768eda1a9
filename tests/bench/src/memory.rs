//! Resident memory with one pod and one device.

use std::time::Duration;

use anyhow::Result;
use e2e::{device, pod};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::PostParams};
use tokio::time::sleep;

use crate::{Measure, pod::node};

pub(crate) async fn run() -> Result<Vec<Measure>> {
    let (_containerd, mut stack) = node().await?;
    device::apply_thermometer(&stack.client(), "edge1", "bench-sensor").await?;
    let pods: Api<Pod> = Api::namespaced(stack.client(), "default");
    pods.create(&PostParams::default(), &pod::sleeper("bench", "edge1")?).await?;
    pod::ready(&stack.client(), "bench", Duration::from_secs(60)).await?;
    sleep(Duration::from_secs(70)).await;
    let method = "VmRSS, one pod and one device, 70 s after the pod is Ready";
    Ok(vec![
        Measure::bytes("edgecore.rss", stack.edge_mut()?.resident_bytes()?, method),
        Measure::bytes(
            "cloudcore.rss",
            stack.cloud.resident_bytes()?,
            format!("{method}; control plane embedded"),
        ),
    ])
}
