//! cloudcore is killed two hundred times at random points of a storm of writes, while its clients go on.
//!
//! Each writer owns its objects, so it knows what they must hold: what was acknowledged last, or what was tried after that.
//! Each watcher resumes where it was cut off. At the end everybody's books are compared. `SKERRY_SEED` repeats the points in time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod ledger;
mod watcher;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{Stack, StackOptions, eventually};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, PostParams};
use tokio_util::sync::CancellationToken;

use ledger::Ledger;

const KILLS: usize = 200;
const WRITERS: u64 = 8;
const WATCHERS: usize = 3;
const LIMIT: Duration = Duration::from_secs(30);
/// The last object that is written: who has seen it has seen everything.
const END: &str = "the-end";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_in_two_hundred_kills_and_watchers_resume_without_a_gap() -> Result<()> {
    let seed = match std::env::var("SKERRY_SEED") {
        Ok(seed) => seed.parse().context("SKERRY_SEED is a number")?,
        Err(_) => fastrand::u64(..),
    };
    println!("SKERRY_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut stack = Stack::start(StackOptions::default()).await?;
    let maps: Api<ConfigMap> = Api::default_namespaced(stack.client());
    let ledger = Arc::new(Ledger::default());
    let start = maps.list(&ListParams::default()).await?.metadata.resource_version.context("a revision")?;

    let stop = CancellationToken::new();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        let random = fastrand::Rng::with_seed(seed ^ (number + 1));
        writers.spawn(writer::run(number, maps.clone(), Arc::clone(&ledger), random, stop.clone()));
    }
    let mut watchers = tokio::task::JoinSet::new();
    for _ in 0..WATCHERS {
        watchers.spawn(watcher::run(maps.clone(), start.clone()));
    }

    for kill in 1..=KILLS {
        let before = ledger.count();
        let alive = eventually("writes are acknowledged after a restart", LIMIT, || async {
            if ledger.count() > before + 2 { Ok(()) } else { Err(ledger.count()) }
        });
        alive.await.with_context(|| format!("kill {kill}; cloudcore's log ends:\n{}", stack.cloud.tail()))?;
        tokio::time::sleep(Duration::from_micros(random.u64(..40_000))).await;
        stack.cloud.restart()?;
        // A broken book shows at once, not after the last kill.
        if let Some(ended) = writers.try_join_next() {
            ended??;
        }
        if let Some(ended) = watchers.try_join_next() {
            anyhow::bail!("a watcher ended: {:?}", ended??.len());
        }
    }
    stop.cancel();
    let mut sure = std::collections::BTreeMap::new();
    while let Some(ended) = writers.join_next().await {
        sure.extend(ended??);
    }
    let end = serde_json::from_value(serde_json::json!({"metadata": {"name": END}}))?;
    maps.create(&PostParams::default(), &end).await?;

    let mut stories = Vec::new();
    while let Some(ended) =
        tokio::time::timeout(LIMIT, watchers.join_next()).await.context("a watcher hangs")?
    {
        stories.push(ended??);
    }
    let acknowledged = ledger.compare(&stories, &sure)?;
    let held = maps.list(&ListParams::default()).await?.items;
    let held =
        held.iter().filter_map(|map| Some((map.metadata.name.clone()?, ledger::number(map)?))).collect();
    assert_eq!(sure, held, "what is there is what the writers know to be there");
    println!(
        "{acknowledged} writes were acknowledged, {} events were seen, in {KILLS} kills",
        stories[0].len()
    );
    Ok(())
}
