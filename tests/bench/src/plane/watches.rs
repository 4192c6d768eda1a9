//! A thousand watchers of one collection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use e2e::{Stack, eventually};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::SETTLE;
use super::http::{JSON, fetch, revision, send, text_of};
use crate::{Measure, quantile};

const WATCHERS: usize = 1000;
const WRITES: u64 = 50;
const EVERY: Duration = Duration::from_millis(200);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub(super) async fn run(stack: &Stack) -> Result<Vec<Measure>> {
    let client = stack.client();
    let map = |n: u64, version: Option<String>| json!({"metadata": {"name": "seen", "resourceVersion": version}, "data": {"n": n.to_string()}});
    let mut last = revision(&fetch(&client, "POST", MAPS, JSON, Some(&map(0, None))).await?)?;
    let begin = Instant::now();
    let sent: Arc<Vec<AtomicU64>> = Arc::new((0..=WRITES).map(|_| AtomicU64::new(0)).collect());
    let (report, mut reports) = mpsc::channel(WATCHERS * 4);
    let mut watchers = tokio::task::JoinSet::new();
    for _ in 0..WATCHERS {
        let path = format!("{MAPS}?watch=true&resourceVersion={last}&timeoutSeconds=600");
        let body = send(&client, "GET", &path, JSON, None).await?.into_body();
        watchers.spawn(follow(body, begin, Arc::clone(&sent), report.clone()));
    }
    drop(report);
    sleep(SETTLE).await;
    let resident = stack.cloud.resident_bytes()?;

    let mut latencies = Vec::new();
    for n in 1..=WRITES {
        sent[n as usize].store(begin.elapsed().as_micros() as u64, Ordering::Release);
        last = revision(
            &fetch(&client, "PUT", &format!("{MAPS}/seen"), JSON, Some(&map(n, Some(last)))).await?,
        )?;
        let mut seen = 0;
        eventually("every watcher has seen the write", Duration::from_secs(10), || {
            while let Ok(latency) = reports.try_recv() {
                latencies.push(latency);
                seen += 1;
            }
            std::future::ready(if seen >= WATCHERS { Ok(()) } else { Err(seen) })
        })
        .await?;
        sleep(EVERY).await;
    }
    let method = format!(
        "PUT is sent → each of {WATCHERS} watchers has its event, over TLS, a write every 200 ms, all on one machine"
    );
    Ok(vec![
        Measure::bytes(
            "plane.rss-watchers",
            resident,
            format!("VmRSS of cloudcore with {WATCHERS} watches of as many connections"),
        ),
        Measure::seconds("plane.watch-p50", quantile(&latencies, 0.5), format!("{method}; median")),
        Measure::seconds("plane.watch-p99", quantile(&latencies, 0.99), format!("{method}; 99th percentile")),
    ])
}

async fn follow(
    mut body: Body,
    begin: Instant,
    sent: Arc<Vec<AtomicU64>>,
    report: mpsc::Sender<Duration>,
) -> Result<()> {
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let now = begin.elapsed();
        let Ok(data) = frame?.into_data() else { continue };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let n: usize = text_of(&line, "n").context("an event has a number")?.parse()?;
            let sent = Duration::from_micros(sent.get(n).context("a known number")?.load(Ordering::Acquire));
            report.send(now.saturating_sub(sent)).await?;
        }
    }
    Ok(())
}
