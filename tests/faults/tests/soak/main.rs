//! Hundreds of pods are applied, updated, killed and deleted in random order, while the agent is killed and its link is cut.
//! At the end the machine holds what the API says and nothing else, and after the last pod nothing at all.
//!
//! `SKERRY_SEED` repeats the order, `SKERRY_SOAK_PODS` makes it longer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod audit;
mod host;
mod plan;
mod pods;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{Containerd, EdgeOptions, Fault, Stack, StackOptions, eventually};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use host::Host;
use plan::{Step, Wish};

/// Pods in the whole run, if nothing else is said.
const PODS: usize = 500;
/// Pods in the API at once, those included whose end is awaited.
const MOST: usize = 36;
/// How long the last wishes may take to come true.
const SETTLE: Duration = Duration::from_secs(90);
/// How long the API may be full because the node does not get on.
const PATIENCE: Duration = Duration::from_secs(60);

/// A number from the environment.
fn number<T: std::str::FromStr>(name: &str, otherwise: impl FnOnce() -> T) -> Result<T> {
    match std::env::var(name) {
        Ok(text) => text.parse().ok().with_context(|| format!("{name} is a number")),
        Err(_) => Ok(otherwise()),
    }
}

struct Soak {
    stack: Stack,
    containerd: Containerd,
    pods: Api<Pod>,
    maps: Api<ConfigMap>,
    heal: Option<Instant>,
    restart: Option<Instant>,
}

impl Soak {
    async fn start() -> Result<Self> {
        let mut stack = Stack::start(StackOptions::default()).await?;
        let containerd = Containerd::start(stack.dir()).await?;
        containerd.add_image(pods::OTHER, &["/bin/ls"])?;
        stack.join(&EdgeOptions::on(&containerd)).await?;
        stack.node_ready("edge1", PATIENCE).await?;
        let pods = Api::default_namespaced(stack.client());
        let maps = Api::default_namespaced(stack.client());
        let soak = Self { stack, containerd, pods, maps, heal: None, restart: None };
        soak.configure(0).await?;
        Ok(soak)
    }

    fn host(&self) -> Host<'_> {
        Host { containerd: &self.containerd, dir: self.stack.dir() }
    }

    async fn configure(&self, number: u32) -> Result<()> {
        let map = pods::config(&number.to_string());
        self.maps.patch(pods::CONFIG, &PatchParams::apply("soak").force(), &Patch::Apply(&map)).await?;
        Ok(())
    }

    /// Ends what has lasted long enough.
    fn mend(&mut self) -> Result<()> {
        let now = Instant::now();
        if self.heal.is_some_and(|heal| heal <= now) {
            self.heal = None;
            self.stack.link.set(Fault::None);
        }
        if self.restart.is_some_and(|restart| restart <= now) {
            self.restart = None;
            self.stack.edge_mut()?.restart()?;
        }
        if let Some(status) = self.stack.edge_mut()?.exited() {
            anyhow::bail!("edgecore ended by itself: {status}");
        }
        Ok(())
    }

    /// Waits until the API has room for one pod more.
    async fn room(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.mend()?;
            let present = self.pods.list(&ListParams::default()).await?.items;
            if present.len() < MOST {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < end,
                "the node does not get on with its pods: {:?}",
                present.iter().map(|pod| (&pod.metadata.name, &pod.status)).collect::<Vec<_>>()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn take(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Apply(number, wish) => {
                if wish.generation == 0 {
                    self.room().await?;
                }
                let pod = pods::pod(*number, *wish);
                let params = PatchParams::apply("soak").force();
                self.pods.patch(&pods::name(*number), &params, &Patch::Apply(&pod)).await?;
            }
            Step::Configure(number) => self.configure(*number).await?,
            Step::Delete { pod, grace } => {
                let params = DeleteParams { grace_period_seconds: *grace, ..DeleteParams::default() };
                self.pods.delete(&pods::name(*pod), &params).await?;
            }
            Step::Kill { pod, sandbox } => {
                let uid = self.pods.get(&pods::name(*pod)).await?.metadata.uid.unwrap_or_default();
                if let Some(pid) = host::process(&uid, *sandbox) {
                    kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
                }
            }
            Step::Cut(fault, time) => {
                self.stack.link.set(*fault);
                self.heal = Some(Instant::now() + *time);
            }
            Step::Crash(time) => {
                self.stack.edge_mut()?.kill();
                self.restart = Some(Instant::now() + *time);
            }
        }
        Ok(())
    }

    /// Waits until everything is as it is wanted and stays so.
    async fn settled(&mut self, wanted: &BTreeMap<usize, Wish>) -> Result<()> {
        let looked = eventually("the machine holds what is wanted", SETTLE, || async {
            let api =
                self.pods.list(&ListParams::default()).await.map_err(|error| vec![error.to_string()])?;
            match audit::differences(&self.host(), &api.items, wanted) {
                Ok(wrong) if wrong.is_empty() => Ok(()),
                Ok(wrong) => Err(wrong),
                Err(error) => Err(vec![format!("{error:#}")]),
            }
        });
        looked.await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_agent_is_killed_and_whose_link_is_cut_holds_what_the_api_says_and_nothing_else()
-> Result<()> {
    let seed = number("SKERRY_SEED", || fastrand::u64(..))?;
    let count = number("SKERRY_SOAK_PODS", || PODS)?;
    println!("SKERRY_SEED={seed} SKERRY_SOAK_PODS={count}");
    let (steps, wanted) = plan::draw(seed, count);
    let mut soak = Soak::start().await?;
    soak.settled(&BTreeMap::new()).await.context("before the first pod")?;

    let begun = Instant::now();
    for (number, step) in steps.iter().enumerate() {
        soak.mend()?;
        tell(begun, number, step);
        soak.take(step).await.with_context(|| format!("step {number}: {step:?}"))?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while soak.heal.is_some() || soak.restart.is_some() {
        soak.mend()?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stormed = begun.elapsed();
    soak.settled(&wanted).await.context("after the storm")?;
    let settled = begun.elapsed() - stormed;

    for number in wanted.keys() {
        soak.pods.delete(&pods::name(*number), &DeleteParams::default()).await?;
    }
    soak.settled(&BTreeMap::new()).await.context("after the last pod")?;
    let crashes = steps.iter().filter(|step| matches!(step, Step::Crash(_))).count();
    let cuts = steps.iter().filter(|step| matches!(step, Step::Cut(..))).count();
    let kills = steps.iter().filter(|step| matches!(step, Step::Kill { .. })).count();
    println!(
        "{count} pods in {} steps with {kills} kills, {crashes} crashes of the agent and {cuts} cuts of the link: \
         {stormed:.0?}, settled in {settled:.1?}",
        steps.len()
    );
    Ok(())
}

/// The order, for who wants to know what led to a failure.
fn tell(begun: Instant, number: usize, step: &Step) {
    println!("{:8.3} {number} {step:?}", begun.elapsed().as_secs_f64());
}
