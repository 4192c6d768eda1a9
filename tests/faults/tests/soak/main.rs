//! Hundreds of pods are applied, updated, killed and deleted in random order, while the agent and its cloud are killed and
//! its link is cut. At the end the machine holds what the API says and nothing else, and after the last pod nothing at all.
//!
//! `SKERRY_SEED` repeats the order, `SKERRY_SOAK_PODS` makes it shorter. `SKERRY_SOAK_KILL_RUNTIME` has the runtime
//! killed too, which it does not pass yet: shims that containerd 1.6 has lost are ended, but the bundle of one that never had a
//! task stays below containerd's state.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod audit;
mod held;
mod host;
mod plan;
mod pods;
mod soak;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use e2e::Runtime;
use tokio::time::Instant;

use plan::{Step, Victim};
use soak::Soak;

/// Pods in the whole run, if nothing else is said.
const PODS: usize = 500;

/// A number from the environment.
fn number<T: std::str::FromStr>(name: &str, otherwise: impl FnOnce() -> T) -> Result<T> {
    match std::env::var(name) {
        Ok(text) => text.parse().ok().with_context(|| format!("{name} is a number")),
        Err(_) => Ok(otherwise()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_containerd_holds_what_the_api_says_and_nothing_else_whoever_is_killed() -> Result<()> {
    storm(Runtime::Containerd).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_docker_holds_what_the_api_says_and_nothing_else_whoever_is_killed() -> Result<()> {
    storm(Runtime::Docker).await
}

async fn storm(runtime: Runtime) -> Result<()> {
    let seed = number("SKERRY_SEED", || fastrand::u64(..))?;
    let count = number("SKERRY_SOAK_PODS", || PODS)?;
    println!("SKERRY_SEED={seed} SKERRY_SOAK_PODS={count} on {runtime:?}");
    let (steps, wanted) = plan::draw(seed, count, std::env::var_os("SKERRY_SOAK_KILL_RUNTIME").is_some());
    let mut soak = Soak::start(runtime).await?;
    soak.settled(&BTreeMap::new()).await.context("before the first pod")?;

    let begun = Instant::now();
    for (number, step) in steps.iter().enumerate() {
        // The order, for who wants to know what led to a failure.
        println!("{:8.3} {number} {step:?}", begun.elapsed().as_secs_f64());
        soak.take(step).await.with_context(|| format!("step {number}: {step:?}"))?;
    }
    soak.calm().await?;
    let stormed = begun.elapsed();
    soak.settled(&wanted).await.context("after the storm")?;
    let settled = begun.elapsed() - stormed;

    for number in wanted.keys() {
        soak.delete(*number, None).await?;
    }
    soak.settled(&BTreeMap::new()).await.context("after the last pod")?;
    let crashes = |of: Victim| {
        steps.iter().filter(|step| matches!(step, Step::Crash(victim, _) if *victim == of)).count()
    };
    let cuts = steps.iter().filter(|step| matches!(step, Step::Cut(..))).count();
    let kills = steps.iter().filter(|step| matches!(step, Step::Kill { .. })).count();
    println!(
        "{count} pods on {runtime:?} in {} steps with {kills} kills, {} crashes of the agent, {} of the runtime, {} of the cloud and \
         {cuts} cuts of the link: {stormed:.0?}, settled in {settled:.1?}",
        steps.len(),
        crashes(Victim::Agent),
        crashes(Victim::Runtime),
        crashes(Victim::Cloud),
    );
    Ok(())
}
