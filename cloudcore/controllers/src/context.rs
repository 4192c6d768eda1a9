//! What every controller is handed: the client, the caches that all share, and who records events.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, ReplicationController, Service,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Client;
use tasks::TaskSet;

use crate::cache::{Cache, Pods};
use crate::events::{Events, Recorder, Reporter};

/// What an operator may choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a node may be silent before it counts as unreachable (KubeEdge's documentation: 40 s).
    pub node_monitor_grace: Duration,
    /// How often nodes are looked at besides when something happens (Kubernetes: 5 s).
    pub node_monitor_period: Duration,
    /// How long a new node may take to say something (Kubernetes: 60 s).
    pub node_startup_grace: Duration,
    /// How long a node's object must be gone before its pods are removed (Kubernetes: 40 s).
    pub node_quarantine: Duration,
    /// How often pods are looked for that nobody else will remove (Kubernetes: 20 s).
    pub pod_gc_period: Duration,
    /// The machine's name, for the events of the scheduler.
    pub host: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node_monitor_grace: Duration::from_secs(40),
            node_monitor_period: Duration::from_secs(5),
            node_startup_grace: Duration::from_secs(60),
            node_quarantine: Duration::from_secs(40),
            pod_gc_period: Duration::from_secs(20),
            host: "localhost".to_owned(),
        }
    }
}

/// Handed to every controller; cheap to clone.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) caches: Arc<Caches>,
    pub(crate) settings: Arc<Settings>,
    events: Events,
}

/// One watch and one copy of each kind that controllers look at.
pub(crate) struct Caches {
    pub(crate) controller_revisions: Cache<ControllerRevision>,
    pub(crate) cron_jobs: Cache<CronJob>,
    pub(crate) daemon_sets: Cache<DaemonSet>,
    pub(crate) deployments: Cache<Deployment>,
    pub(crate) endpoint_slices: Cache<EndpointSlice>,
    pub(crate) endpoints: Cache<Endpoints>,
    pub(crate) jobs: Cache<Job>,
    pub(crate) leases: Cache<Lease>,
    pub(crate) namespaces: Cache<Namespace>,
    pub(crate) nodes: Cache<Node>,
    pub(crate) persistent_volume_claims: Cache<PersistentVolumeClaim>,
    pub(crate) persistent_volumes: Cache<PersistentVolume>,
    pub(crate) pod_disruption_budgets: Cache<PodDisruptionBudget>,
    pub(crate) pods: Pods,
    pub(crate) replica_sets: Cache<ReplicaSet>,
    pub(crate) replication_controllers: Cache<ReplicationController>,
    pub(crate) services: Cache<Service>,
    pub(crate) stateful_sets: Cache<StatefulSet>,
    pub(crate) storage_classes: Cache<StorageClass>,
}

impl Context {
    /// Starts the caches and the writer of events.
    pub(crate) fn start(client: Client, settings: Settings, tasks: &TaskSet) -> Self {
        let caches = Caches {
            controller_revisions: Cache::start(&client, tasks),
            cron_jobs: Cache::start(&client, tasks),
            daemon_sets: Cache::start(&client, tasks),
            deployments: Cache::start(&client, tasks),
            endpoint_slices: Cache::start(&client, tasks),
            endpoints: Cache::start(&client, tasks),
            jobs: Cache::start(&client, tasks),
            leases: Cache::start(&client, tasks),
            namespaces: Cache::start(&client, tasks),
            nodes: Cache::start(&client, tasks),
            persistent_volume_claims: Cache::start(&client, tasks),
            persistent_volumes: Cache::start(&client, tasks),
            pod_disruption_budgets: Cache::start(&client, tasks),
            pods: Cache::start(&client, tasks),
            replica_sets: Cache::start(&client, tasks),
            replication_controllers: Cache::start(&client, tasks),
            services: Cache::start(&client, tasks),
            stateful_sets: Cache::start(&client, tasks),
            storage_classes: Cache::start(&client, tasks),
        };
        let events = Events::start(client.clone(), tasks);
        Self { client, caches: Arc::new(caches), settings: Arc::new(settings), events }
    }

    /// Records events as `component`, which `kubectl describe` shows in the column From.
    pub(crate) fn recorder(&self, component: &'static str) -> Recorder {
        self.events.recorder(component)
    }

    /// Records events in the newer style, as `component` on this machine.
    pub(crate) fn reporter(&self, component: &'static str) -> Reporter {
        self.events.reporter(component, &self.settings.host)
    }
}
