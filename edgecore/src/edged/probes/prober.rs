//! The probes of one pod.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container as Spec, ContainerStatus, Pod, PodStatus, Probe};
use tasks::TaskSet;
use tokio::sync::{Notify, watch};

use super::Kind;
use super::board::{Board, Health, Healths};
use super::handler::{Handler, Place};
use super::runner::Runner;
use super::schedule::Schedule;
use crate::edged::context::Context;
use crate::edged::pod::observed::Observed;
use crate::edged::pod::policy;
use crate::edged::runtime::{Container, ContainerId, ContainerState};

/// Asks the containers of a pod how they are, each for as long as it runs.
pub struct Prober {
    ctx: Arc<Context>,
    nudge: Arc<Notify>,
    board: Arc<Board>,
    asked: BTreeMap<ContainerId, Asked>,
}

/// The probes of a container; they end when this is dropped.
type Asked = Vec<(Kind, TaskSet)>;

/// What a pod's worker knows now.
#[derive(Clone, Copy)]
pub struct Round<'a> {
    /// The object.
    pub pod: &'a Arc<Pod>,
    /// What the runtime holds.
    pub seen: &'a Observed,
    /// The status that was said last, also by an earlier run of the agent.
    pub prior: Option<&'a PodStatus>,
    /// The pod is to end: nothing of it is started anew any more.
    pub ending: bool,
}

impl Prober {
    /// Asks nobody yet; the worker is woken through `nudge` when something is decided.
    pub fn new(ctx: Arc<Context>, nudge: Arc<Notify>) -> Self {
        Self { ctx, nudge, board: Arc::default(), asked: BTreeMap::new() }
    }

    /// Begins to ask those who run now, leaves those alone who do not any more, and says how all are.
    pub fn look(&mut self, round: Round<'_>) -> Healths {
        let runs = |id: &ContainerId| round.seen.containers.iter().any(|one| one.id == *id && one.running());
        let board = &self.board;
        self.asked.retain(|id, _| {
            let stays = runs(id);
            if !stays {
                board.remove(id);
            }
            stays
        });
        if round.ending {
            for asked in self.asked.values_mut() {
                asked.retain(|(kind, _)| *kind == Kind::Readiness);
            }
            return self.board.read();
        }
        let sidecars = policy::inits(round.pod).iter().filter(|init| policy::is_sidecar(init));
        for spec in sidecars.chain(&policy::spec(round.pod).containers) {
            let Some(container) = round.seen.latest(&spec.name) else { continue };
            let ContainerState::Running { started } = container.state else { continue };
            if kinds(spec).next().is_none() || self.asked.contains_key(&container.id) {
                continue;
            }
            let Some(address) = self.address(round) else { continue };
            let began = round.seen.began.get(&container.id).copied().unwrap_or(started);
            self.begin(round, spec, container, Place { container: container.id.clone(), address }, began);
        }
        self.board.read()
    }

    fn address(&self, round: Round<'_>) -> Option<IpAddr> {
        if policy::host_network(round.pod) {
            return Some(self.ctx.settings.node_address);
        }
        round.seen.addresses.first().copied()
    }

    fn begin(
        &mut self,
        round: Round<'_>,
        spec: &Spec,
        container: &Container,
        place: Place,
        began: jiff::Timestamp,
    ) {
        let health = beginning(spec, container, round.prior);
        self.board.add(container.id.clone(), health);
        let (started, _) = watch::channel(health.started);
        let mut asked = Asked::new();
        for (kind, probe) in kinds(spec) {
            if kind == Kind::Startup && health.started {
                continue;
            }
            let runner = Runner {
                ctx: Arc::clone(&self.ctx),
                pod: Arc::clone(round.pod),
                name: spec.name.clone(),
                place: place.clone(),
                kind,
                schedule: Schedule::from(probe),
                handler: Handler::of_probe(probe, spec, place.address),
                began,
                board: Arc::clone(&self.board),
                nudge: Arc::clone(&self.nudge),
                started: started.clone(),
            };
            let set = TaskSet::new("probes");
            set.spawn_once(format!("{}/{kind}", spec.name), |token| async move {
                tokio::select! {
                    () = token.cancelled() => {}
                    () = runner.run() => {}
                }
            });
            asked.push((kind, set));
        }
        self.asked.insert(container.id.clone(), asked);
    }
}

fn kinds(spec: &Spec) -> impl Iterator<Item = (Kind, &Probe)> {
    let all = [
        (Kind::Startup, &spec.startup_probe),
        (Kind::Liveness, &spec.liveness_probe),
        (Kind::Readiness, &spec.readiness_probe),
    ];
    all.into_iter().filter_map(|(kind, probe)| Some((kind, probe.as_ref()?)))
}

/// Before the first answer: what was said of the same container before the agent was started anew, else not yet well.
fn beginning(spec: &Spec, container: &Container, prior: Option<&PodStatus>) -> Health {
    let same = |status: &&ContainerStatus| {
        let id = status.container_id.as_deref().and_then(|id| id.split_once("://"));
        id.is_some_and(|(_, id)| id == container.id.0)
            && status.state.as_ref().is_some_and(|state| state.running.is_some())
    };
    let lists = prior.map(|prior| [&prior.container_statuses, &prior.init_container_statuses]);
    let before = lists.into_iter().flatten().flatten().flatten().find(same);
    let started = spec.startup_probe.is_none() || before.is_some_and(|before| before.started == Some(true));
    let ready = spec.readiness_probe.is_none() || before.is_some_and(|before| before.ready);
    Health { started, ready, failed: None }
}
