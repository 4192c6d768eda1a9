//! From the start of the process to the first good answer, and what lies on disk when it has ended.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{Stack, eventually};
use tokio::time::Instant;

use super::http::{JSON, fetch};
use crate::{Measure, quantile};

const RUNS: usize = 5;
const LIMIT: Duration = Duration::from_secs(30);
/// How long a process may look at what it found before it is asked what that cost.
const QUIET: Duration = Duration::from_secs(30);

pub(super) async fn empty(stack: &mut Stack) -> Result<Measure> {
    let took = median(stack).await?;
    Ok(Measure::seconds("plane.ready-empty", took, method("an empty cluster")))
}

pub(super) async fn full(stack: &mut Stack) -> Result<Measure> {
    let took = median(stack).await?;
    Ok(Measure::seconds(
        "plane.ready-objects",
        took,
        method(&format!("a cluster with {} pods", super::OBJECTS)),
    ))
}

/// What a start with many objects costs until everything that looks at them has done so.
pub(super) async fn cost(stack: &mut Stack) -> Result<Vec<Measure>> {
    stack.cloud.terminate(LIMIT).await?;
    ready(stack).await?;
    tokio::time::sleep(QUIET).await;
    let (resident, busy) = (stack.cloud.resident_bytes()?, stack.cloud.cpu_time()?);
    let method = |what: &str| {
        let (seconds, pods) = (QUIET.as_secs(), super::OBJECTS);
        format!("{what} of cloudcore {seconds} s after its start with {pods} pods that have no node")
    };
    Ok(vec![
        Measure::bytes("plane.rss-restart", resident, method("VmRSS")),
        Measure::seconds("plane.cpu-restart", busy, method("processor time")),
    ])
}

fn method(what: &str) -> String {
    format!("median of {RUNS}: start of cloudcore after kill -9 → 200 on /readyz, {what}")
}

async fn median(stack: &mut Stack) -> Result<Duration> {
    let mut samples = Vec::new();
    for _ in 0..RUNS {
        stack.cloud.kill();
        samples.push(ready(stack).await?);
    }
    Ok(quantile(&samples, 0.5))
}

async fn ready(stack: &mut Stack) -> Result<Duration> {
    let begin = Instant::now();
    stack.cloud.restart()?;
    let client = stack.client();
    loop {
        if fetch(&client, "GET", "/readyz", JSON, None).await.is_ok() {
            return Ok(begin.elapsed());
        }
        anyhow::ensure!(begin.elapsed() < LIMIT, "not ready; cloudcore's log ends:\n{}", stack.cloud.tail());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Bytes of the store when cloudcore has ended; it is started again.
pub(super) async fn disk(stack: &mut Stack) -> Result<u64> {
    stack.cloud.terminate(LIMIT).await?;
    let store = stack.dir().join("cloud").join(proto::backup::STORE_FILE);
    let bytes = store.metadata().with_context(|| store.display().to_string())?.len();
    stack.cloud.restart()?;
    let client = stack.client();
    eventually("the API answers", LIMIT, || async {
        client.apiserver_version().await.map(drop).map_err(|error| error.to_string())
    })
    .await?;
    Ok(bytes)
}
