//! One pod, one worker: look, decide ([`plan::step`]), do, report; then sleep until something changes.
//!
//! Everything that must survive a restart is in the runtime (labels, annotations), on disk (volumes) or in the store
//! (object, last status). A worker may be dropped at any await and started again.

mod admit;
mod claims;
mod gather;
mod observe;
mod report;
mod start;
mod stop;
mod waits;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod, PodStatus};
use proto::resource::ResourceKind;
use tasks::Backoff;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::observed::Observed;
use super::plan::{self, Action, Goal, Memory, View};
use super::{policy, status};
use crate::edged::context::Context;
use crate::edged::leftovers;
use crate::edged::objects::Objects;
use crate::edged::probes::{self, Healths, Prober};
use crate::edged::runtime::{Container, ContainerId, RuntimeError, SandboxId};
use crate::edgehub::Connection;
use crate::metamanager::StoreError;

use waits::LONGEST_SLEEP;

/// What the store says about a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Desired {
    /// The object is there; it may ask for deletion.
    Present(Arc<Pod>),
    /// The object is gone: what is left of the pod goes too.
    Removed,
}

/// Why a round had to be given up; repeated after a pause.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot give back what the pod had on disk: {0}")]
    Teardown(std::io::Error),
}

/// Drives one pod.
pub struct Worker {
    ctx: Arc<Context>,
    desired: watch::Receiver<Desired>,
    nudge: Arc<Notify>,
    pod: Arc<Pod>,
    present: bool,
    memory: Memory,
    prober: Prober,
    healths: Healths,
    prior: Option<PodStatus>,
    /// Whether it was asked if the pod may begin.
    admitted: bool,
    /// What is to be told together with the next status.
    untold: Option<Event>,
    /// The version of the pod's object that was last contradicted.
    objected: Option<String>,
    objects: Arc<Objects>,
    /// Config maps, secrets or the pod itself may have changed since the last look.
    stale: bool,
    /// When a token is to be renewed.
    renew: Option<Timestamp>,
    seen: Observed,
    /// When it was last looked, on the clock that does not jump.
    looked: Option<Timestamp>,
    /// Details of containers in states that do not change any more by themselves.
    known: BTreeMap<ContainerId, Container>,
    /// Addresses of the sandbox they were asked for.
    addresses: Option<(SandboxId, Vec<std::net::IpAddr>)>,
    /// The container whose back-off was last told in an event, by name.
    told: BTreeMap<String, ContainerId>,
}

impl Worker {
    /// A worker for a pod; `pod` is what is known of it, at least name, namespace and uid.
    pub fn new(
        ctx: Arc<Context>,
        pod: Arc<Pod>,
        desired: watch::Receiver<Desired>,
        nudge: Arc<Notify>,
    ) -> Self {
        Self {
            prober: Prober::new(Arc::clone(&ctx), Arc::clone(&nudge)),
            healths: Healths::default(),
            ctx,
            desired,
            nudge,
            pod,
            present: true,
            memory: Memory::default(),
            prior: None,
            admitted: false,
            untold: None,
            objected: None,
            objects: Arc::default(),
            stale: true,
            renew: None,
            seen: Observed::default(),
            looked: None,
            known: BTreeMap::new(),
            addresses: None,
            told: BTreeMap::new(),
        }
    }

    /// Runs until the pod's object and everything of it are gone, or until cancelled.
    pub async fn run(mut self, token: CancellationToken) -> Result<(), StoreError> {
        tokio::select! {
            () = token.cancelled() => Ok(()),
            ended = self.live() => ended,
        }
    }

    async fn live(&mut self) -> Result<(), StoreError> {
        let mut config_maps = self.ctx.store.changes(ResourceKind::ConfigMap);
        let mut secrets = self.ctx.store.changes(ResourceKind::Secret);
        let mut connection = self.ctx.connection.clone();
        let mut evictions = self.ctx.evictions.subscribe();
        let mut retry = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        self.refresh();
        self.prior = self.last_status().await?;
        self.write_down().await;
        self.recall_condemned();
        loop {
            self.refresh();
            let sleep = match self.round().await {
                Ok(None) => return Ok(()),
                Ok(Some(sleep)) => {
                    retry.reset();
                    sleep
                }
                Err(error) => {
                    let sleep = retry.pause();
                    tracing::warn!("{error}; again in {sleep:.1?}");
                    sleep
                }
            };
            if sleep.is_zero() {
                continue;
            }
            let incomplete = !self.objects.complete();
            tokio::select! {
                () = changed(&mut self.desired) => self.stale = true,
                () = self.nudge.notified() => {}
                () = changed(&mut config_maps) => self.refetch(),
                () = changed(&mut secrets) => self.refetch(),
                () = changed(&mut evictions) => {}
                () = connected(&mut connection), if incomplete => self.refetch(),
                () = tokio::time::sleep(sleep.min(LONGEST_SLEEP)) => {}
            }
        }
    }

    /// So that what the pod leaves behind is found even if this agent is killed, and how long it has been here is known whatever the
    /// clock says.
    async fn write_down(&mut self) {
        let (uid, ctx) = (self.identity().2, Arc::clone(&self.ctx));
        let start = self.prior.as_ref().and_then(|prior| prior.start_time.as_ref()).map(|time| time.0);
        let noted = tokio::task::spawn_blocking(move || leftovers::note(&uid, start, &ctx.settings));
        match noted.await.map_err(std::io::Error::other).and_then(|result| result) {
            Ok(age) => self.memory.began = start.and(self.ctx.clock.now().checked_sub(age).ok()),
            Err(error) => {
                tracing::warn!(
                    "what the pod leaves behind may stay there: it cannot be written down: {error}"
                );
            }
        }
    }

    /// Objects have changed: what failed for want of them is tried again at once.
    fn refetch(&mut self) {
        self.stale = true;
        self.memory.mounting = None;
        self.memory.containers.retain(|_, trouble| trouble.reason != "CreateContainerConfigError");
    }

    /// Takes up what the store says now.
    fn refresh(&mut self) {
        match &*self.desired.borrow_and_update() {
            Desired::Present(pod) => {
                self.stale |= !Arc::ptr_eq(pod, &self.pod);
                self.pod = Arc::clone(pod);
                self.present = true;
            }
            Desired::Removed => self.present = false,
        }
    }

    /// What was reported last: by this node, or, if the node has lost its store, as the cloud remembers it.
    async fn last_status(&self) -> Result<Option<PodStatus>, StoreError> {
        let (namespace, name, uid) = self.identity();
        let own = self.ctx.store.pod_status(&namespace, &name, &uid).await?;
        Ok(own.or_else(|| self.pod.status.clone().filter(|status| status.start_time.is_some())))
    }

    fn identity(&self) -> (String, String, String) {
        let meta = &self.pod.metadata;
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        (text(&meta.namespace), text(&meta.name), text(&meta.uid))
    }

    fn goal(&self) -> Goal {
        match self.present && self.pod.metadata.deletion_timestamp.is_none() {
            true => Goal::Run,
            false => Goal::Stop { grace: policy::grace(&self.pod) },
        }
    }

    fn view(&self, now: Timestamp) -> View<'_> {
        View {
            pod: &self.pod,
            goal: self.goal(),
            seen: &self.seen,
            prior: self.prior.as_ref(),
            memory: &self.memory,
            healths: &self.healths,
            now,
            wall: Timestamp::now(),
        }
    }

    /// One look and what follows from it. `None`: the pod is gone for good. Otherwise, how long to sleep; zero when
    /// something was done and the next look is due.
    async fn round(&mut self) -> Result<Option<Duration>, RoundError> {
        self.observe().await?;
        self.heed_eviction();
        self.ask_for_admission();
        let now = self.ctx.clock.now();
        let runs = self.goal() == Goal::Run && !plan::has_ended(self.view(now));
        self.healths = self.prober.look(probes::Round {
            pod: &self.pod,
            seen: &self.seen,
            prior: self.prior.as_ref(),
            ending: !runs,
        });
        if runs {
            self.prepare().await;
        }
        self.flip(now).await;
        let now = self.ctx.clock.now();
        let plan = plan::step(self.view(now));
        // That the pod has to go is on disk before anything of it ends: an agent that is killed meanwhile goes on with it.
        let to_go = self.memory.evicted.is_some() && status::sent_away(self.prior.as_ref()).is_none();
        if plan.actions.is_empty() || self.prior.is_none() || to_go {
            self.report(now).await?;
        }
        if plan.actions.is_empty() {
            if !self.present && self.memory.finished {
                return Ok(None);
            }
            self.tell_back_off().await;
            return Ok(Some(self.sleep(&plan, now)));
        }
        let mut actions = plan.actions.into_iter().peekable();
        while let Some(action) = actions.next() {
            if let Action::StopContainer { .. } = action {
                let mut stops = vec![action];
                while let Some(more) = actions.next_if(|next| matches!(next, Action::StopContainer { .. })) {
                    stops.push(more);
                }
                self.stop(stops).await?;
            } else {
                self.act(action).await?;
            }
        }
        Ok(Some(Duration::ZERO))
    }

    async fn act(&mut self, action: Action) -> Result<(), RoundError> {
        tracing::debug!(?action);
        let runtime = Arc::clone(&self.ctx.runtime);
        match action {
            Action::StopContainer { .. } => {}
            Action::StopSandbox(id) => runtime.stop_sandbox(&id).await?,
            Action::RemoveSandbox(id) => runtime.remove_sandbox(&id).await?,
            Action::RemoveContainer(id) => {
                runtime.remove_container(&id).await?;
                self.remove_log(&id).await;
            }
            Action::CreateSandbox { attempt } => self.create_sandbox(attempt).await?,
            Action::StartContainer { name, restarts, back_off, sandbox } => {
                self.start(&name, restarts, back_off, &sandbox).await?;
            }
            Action::ReleaseVolumes => self.release_volumes().await?,
            Action::Finish => self.finish().await?,
        }
        Ok(())
    }
}

/// The next change; never, when nobody is left to change it.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The next time that the cloud can be asked.
async fn connected(receiver: &mut watch::Receiver<Connection>) {
    changed(receiver).await;
    if receiver.wait_for(|connection| connection.is_up()).await.is_err() {
        std::future::pending::<()>().await;
    }
}
