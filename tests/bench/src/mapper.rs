//! How many reports of a mapper a node takes, each on disk before it is answered.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use dmi::v1beta1::device_manager_service_client::DeviceManagerServiceClient;
use dmi::v1beta1::{DeviceStatus, ReportDeviceStatusRequest, Twin, TwinProperty};
use e2e::{EdgeOptions, Stack, StackOptions, device, eventually};
use futures::future::try_join_all;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::{Measure, quantile};

/// Devices that are reported of.
const DEVICES: usize = 100;
/// Reports that are under way at a time.
const AT_ONCE: usize = 128;
/// How long.
const LASTS: Duration = Duration::from_secs(10);

pub(crate) async fn run() -> Result<Vec<Measure>> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    for number in 0..DEVICES {
        device::apply_thermometer(&stack.client(), "edge1", &name(number)).await?;
    }
    let client = connect(stack.dir().join("edge/dmi.sock")).await?;
    eventually("the node has all devices", Duration::from_secs(60), || async {
        let mut client = client.clone();
        for number in 0..DEVICES {
            let taken = client.report_device_status(report(number, "0")).await;
            taken.map_err(|status| status.message().to_owned())?;
        }
        Ok::<(), String>(())
    })
    .await?;

    let begun = Instant::now();
    let reporters = (0..AT_ONCE).map(|reporter| {
        let mut client = client.clone();
        async move {
            let mut took = Vec::new();
            let mut value = 0_usize;
            while begun.elapsed() < LASTS {
                value += 1;
                let sent = Instant::now();
                let of = (value * AT_ONCE + reporter) % DEVICES;
                client.report_device_status(report(of, &(value * AT_ONCE + reporter).to_string())).await?;
                took.push(sent.elapsed());
            }
            Ok::<_, tonic::Status>(took)
        }
    });
    let took: Vec<Duration> = try_join_all(reporters).await?.into_iter().flatten().collect();
    let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
    ensure!(stack.edge_mut()?.exited().is_none(), "edgecore lives on");
    let method = format!(
        "reports of {DEVICES} devices over DMI, {AT_ONCE} at a time for 10 s, each on disk when it is answered"
    );
    Ok(vec![
        Measure::per_second("dmi.rate", rate, method),
        Measure::seconds("dmi.p99", quantile(&took, 0.99), "the same: report → answered, 99th percentile"),
    ])
}

fn name(number: usize) -> String {
    format!("bench-{number}")
}

async fn connect(path: PathBuf) -> Result<DeviceManagerServiceClient<Channel>> {
    let connect = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://edgecore.invalid").connect_with_connector(connect).await?;
    Ok(DeviceManagerServiceClient::new(channel))
}

fn report(number: usize, value: &str) -> ReportDeviceStatusRequest {
    let text = |value: &str| Some(TwinProperty { value: value.to_owned(), metadata: BTreeMap::new() });
    let twin =
        Twin { property_name: "temperature".into(), observed_desired: text(""), reported: text(value) };
    ReportDeviceStatusRequest {
        device_name: name(number),
        device_namespace: "default".into(),
        reported_device: Some(DeviceStatus { twins: vec![twin], ..DeviceStatus::default() }),
    }
}
