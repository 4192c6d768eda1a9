//! Takes the steps, and ends in time what they break.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use e2e::{Engine, Fault, Runtime, Stack, StackOptions, eventually};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::time::Instant;

use crate::host::{self, Host};
use crate::plan::{Step, Victim, Wish};
use crate::{audit, pods};

/// Pods in the API at once, those included whose end is awaited.
const MOST: usize = 36;
/// How long the last wishes may take to come true.
const SETTLE: Duration = Duration::from_secs(120);
/// How long the API may be full because the node does not get on, or away.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node on one runtime, with its cloud.
pub struct Soak {
    stack: Stack,
    engine: Engine,
    pods: Api<Pod>,
    maps: Api<ConfigMap>,
    heal: Option<Instant>,
    restarts: BTreeMap<u8, (Victim, Instant)>,
}

impl Soak {
    /// Starts all of it, on an empty node.
    pub async fn start(runtime: Runtime) -> Result<Self> {
        let mut stack = Stack::start(StackOptions::default()).await?;
        let engine = Engine::start(runtime, stack.dir()).await?;
        engine.add_image(pods::OTHER, &["/bin/ls"])?;
        stack.join(&engine.options()).await?;
        stack.node_ready("edge1", PATIENCE).await?;
        let pods = Api::default_namespaced(stack.client());
        let maps = Api::default_namespaced(stack.client());
        let mut soak = Self { stack, engine, pods, maps, heal: None, restarts: BTreeMap::new() };
        soak.configure(0).await?;
        Ok(soak)
    }

    /// Takes one step.
    pub async fn take(&mut self, step: &Step) -> Result<()> {
        self.mend()?;
        match step {
            Step::Apply(number, wish) => {
                if wish.generation == 0 {
                    self.room().await?;
                }
                let pod = pods::pod(*number, *wish);
                let pods = self.pods.clone();
                self.apply(&pods, &pods::name(*number), &pod).await?;
            }
            Step::Configure(number) => self.configure(*number).await?,
            Step::Delete { pod, grace } => self.delete(*pod, *grace).await?,
            Step::Kill { pod, sandbox } => {
                let pods = self.pods.clone();
                let name = pods::name(*pod);
                let uid = self.asked(|| pods.get(&name)).await?.metadata.uid.unwrap_or_default();
                if let Some(pid) = host::process(&uid, *sandbox) {
                    kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
                }
            }
            Step::Cut(fault, time) => {
                self.stack.link.set(*fault);
                self.heal = Some(Instant::now() + *time);
            }
            Step::Crash(victim, time) => {
                match victim {
                    Victim::Agent => self.stack.edge_mut()?.kill(),
                    Victim::Runtime => self.engine.kill(),
                    Victim::Cloud => self.stack.cloud.kill(),
                }
                self.restarts.insert(*victim as u8, (*victim, Instant::now() + *time));
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(())
    }

    /// Waits until all that was broken has been mended.
    pub async fn calm(&mut self) -> Result<()> {
        while self.heal.is_some() || !self.restarts.is_empty() {
            self.mend()?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until everything is as it is wanted.
    pub async fn settled(&mut self, wanted: &BTreeMap<usize, Wish>) -> Result<()> {
        let looked = eventually("the machine holds what is wanted", SETTLE, || async {
            let api =
                self.pods.list(&ListParams::default()).await.map_err(|error| vec![error.to_string()])?;
            let host = Host { engine: &self.engine, dir: self.stack.dir() };
            match audit::differences(&host, &api.items, wanted) {
                Ok(wrong) if wrong.is_empty() => Ok(()),
                Ok(wrong) => Err(wrong),
                Err(error) => Err(vec![format!("{error:#}")]),
            }
        });
        looked.await
    }

    /// Asks for the end of a pod.
    pub async fn delete(&mut self, pod: usize, grace: Option<u32>) -> Result<()> {
        let params = DeleteParams { grace_period_seconds: grace, ..DeleteParams::default() };
        let (pods, name) = (self.pods.clone(), pods::name(pod));
        let gone = async || match pods.delete(&name, &params).await {
            // The cloud was killed between doing it and saying so.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop),
        };
        self.asked(gone).await
    }

    async fn configure(&mut self, number: u32) -> Result<()> {
        let maps = self.maps.clone();
        self.apply(&maps, pods::CONFIG, &pods::config(&number.to_string())).await
    }

    async fn apply<K>(&mut self, api: &Api<K>, name: &str, object: &Value) -> Result<()>
    where
        K: Clone + std::fmt::Debug + k8s_openapi::serde::de::DeserializeOwned,
    {
        let params = PatchParams::apply("soak").force();
        let patch = Patch::Apply(object);
        self.asked(|| api.patch(name, &params, &patch)).await.map(drop)
    }

    /// Asks the API, again and again while the cloud is away.
    async fn asked<T>(&mut self, ask: impl AsyncFn() -> kube::Result<T>) -> Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(kube::Error::Api(status)) if status.code < 500 => {
                    return Err(kube::Error::Api(status).into());
                }
                Err(error) => anyhow::ensure!(Instant::now() < end, "the API does not come back: {error}"),
            }
            self.mend()?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends what has lasted long enough.
    fn mend(&mut self) -> Result<()> {
        let now = Instant::now();
        if self.heal.is_some_and(|heal| heal <= now) {
            self.heal = None;
            self.stack.link.set(Fault::None);
        }
        let due: Vec<Victim> =
            self.restarts.values().filter(|(_, time)| *time <= now).map(|(victim, _)| *victim).collect();
        for victim in due {
            self.restarts.remove(&(victim as u8));
            match victim {
                Victim::Agent => self.stack.edge_mut()?.restart()?,
                Victim::Runtime => self.engine.respawn()?,
                Victim::Cloud => self.stack.cloud.restart()?,
            }
        }
        let agent = self.stack.edge_mut()?.exited();
        for (name, ended) in [("edgecore", agent), ("cloudcore", self.stack.cloud.exited())] {
            anyhow::ensure!(ended.is_none(), "{name} ended by itself: {ended:?}");
        }
        Ok(())
    }

    /// Waits until the API has room for one pod more.
    async fn room(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let pods = self.pods.clone();
        loop {
            self.mend()?;
            let present = self.asked(async || pods.list(&ListParams::default()).await).await?.items;
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
}
