//! All modules of a running cloudcore and how they hold together. Read [`App::start`] to know who talks to whom.
//!
//! Owns: the tasks. May call: everything. Called by: `main.rs` and the tests, which both hand it a Kubernetes client.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use kube::Client;
use proto::config::{CloudCore, RouterMode};
use proto::message::{Group, Message, Operation};
use proto::pki::NodeName;
use proto::resource::Resource;
use tasks::{Backoff, Report, Restart, TaskSet};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::cloudhub::https::Endpoint;
use crate::cloudhub::pki::{Pki, SetupError};
use crate::cloudhub::session::{Context, Reply, Upstream};
use crate::cloudhub::{Sessions, websocket};
use crate::desired::Desired;
use crate::devicecontroller::DeviceController;
use crate::edgecontroller::{EdgeController, Settings};
use crate::listen::{BindError, bind};
use crate::metrics::Metrics;
use crate::router::rest::{Guard, Token, TokenError};
use crate::router::{Router, rest};
use crate::taskmanager::{Grants, TaskManager};

/// A running cloudcore.
pub struct App {
    tasks: TaskSet,
    /// Where edges connect.
    pub websocket: SocketAddr,
    /// Where edges get certificates.
    pub https: SocketAddr,
    /// Where Prometheus reads.
    pub monitor: SocketAddr,
    /// Where programs call nodes by rules, if they may.
    pub rest: Option<SocketAddr>,
    /// The CA's fingerprint.
    pub fingerprint: String,
    /// Who is connected.
    pub sessions: Sessions,
    /// What nodes should have.
    pub desired: Desired,
    /// What was counted.
    pub metrics: Metrics,
}

/// cloudcore could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The identity.
    #[error(transparent)]
    Pki(#[from] SetupError),
    /// The token of the REST port.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The operating system.
    #[error("the address of a listener cannot be read: {0}")]
    Address(#[from] io::Error),
}

/// Hands each request to the controller whose objects it is about.
struct Controllers {
    edge: EdgeController,
    devices: DeviceController,
    tasks: TaskManager,
    rules: Router,
}

impl Upstream for Controllers {
    fn handle(&self, node: &NodeName, request: Message) -> impl Future<Output = Reply> + Send {
        let resource = &request.route.resource;
        // First: a topic may look like anything.
        if request.route.group == Group::User && request.route.operation == Operation::Upload {
            Either::Right(Either::Left(self.rules.handle(node, request)))
        } else if resource.device().is_some()
            || matches!(resource, Resource::MembershipDetail | Resource::Mappers | Resource::Seen)
        {
            Either::Left(Either::Left(self.devices.handle(node, &request)))
        } else if matches!(resource, Resource::Task { .. }) {
            Either::Left(Either::Right(self.tasks.handle(node, &request)))
        } else {
            Either::Right(Either::Right(self.edge.handle(node, request)))
        }
    }

    async fn connected(&self, node: &NodeName) {
        self.tasks.connected();
        self.rules.connected();
        self.edge.connected(node).await;
    }
}

// === impl App ===

impl App {
    /// Takes the ports, sets up the identity and starts all modules.
    ///
    /// # Errors
    /// If a port is taken or the identity cannot be used. While the Kubernetes API cannot be reached, it waits.
    pub async fn start(config: &CloudCore, client: Client) -> Result<Self, StartError> {
        let hub = &config.modules.cloud_hub;
        let channel = bind(
            SocketAddr::new(hub.websocket.address, hub.websocket.port),
            "the node channel",
            "modules.cloudHub.websocket.port",
        );
        let certificates = bind(
            SocketAddr::new(hub.https.address, hub.https.port),
            "the certificate endpoint",
            "modules.cloudHub.https.port",
        );
        let monitor = &config.common_config.monitor_server;
        let monitor =
            bind(monitor.bind_address, "the metrics endpoint", "commonConfig.monitorServer.bindAddress");
        let (channel, certificates, monitor) = (channel.await?, certificates.await?, monitor.await?);
        let router = &config.modules.router;
        let rest = match router.enable {
            true => {
                let address = SocketAddr::new(router.address, router.port);
                Some(bind(address, "the REST port of rules", "modules.router.port").await?)
            }
            false => None,
        };
        let rest_address = rest.as_ref().map(TcpListener::local_addr).transpose()?;
        let addresses = (channel.local_addr()?, certificates.local_addr()?, monitor.local_addr()?);

        let pki = identity(&client, config).await?;
        let address = hub.advertise_address.first().map_or_else(String::new, IpAddr::to_string);
        let (desired, metrics) = (Desired::default(), Metrics::new());
        let sessions = Sessions::new(usize::try_from(hub.node_limit).unwrap_or(usize::MAX));
        let dismissed = sessions.clone();
        let grants = Grants::default();
        let edge = EdgeController::new(
            client.clone(),
            desired.clone(),
            grants.clone(),
            metrics.clone(),
            Settings { address: address.clone() },
            Arc::new(move |node| dismissed.dismiss(node)),
        );
        let devices =
            DeviceController::new(client.clone(), desired.clone(), sessions.clone(), metrics.clone());
        let enabled = config.modules.task_manager.enable;
        let jobs =
            TaskManager::new(client.clone(), sessions.clone(), grants.clone(), metrics.clone(), enabled);
        let rules = Router::new(
            client.clone(),
            sessions.clone(),
            metrics.clone(),
            router.enable,
            Some(router.rest_timeout.get()).filter(|timeout| !timeout.is_zero()).unwrap_or(REST_TIMEOUT),
        );
        let context = Context {
            settings: websocket::settings(hub),
            desired: desired.clone(),
            upstream: Arc::new(Controllers {
                edge: edge.clone(),
                devices: devices.clone(),
                tasks: jobs.clone(),
                rules: rules.clone(),
            }),
            metrics: metrics.clone(),
        };
        let server = websocket::Server::new(sessions.clone(), context, hub.max_message_bytes);
        let endpoint = Endpoint::new(
            client,
            pki.clone(),
            sessions.clone(),
            desired.clone(),
            metrics.clone(),
            hub.edge_cert_signing_duration,
            address,
        );

        let tasks = TaskSet::new("cloudcore");
        if config.modules.edge_controller.enable {
            tasks.spawn("edgecontroller", forever(), move |stop| {
                let edge = edge.clone();
                async move { edge.run(stop).await }
            });
        }
        if config.modules.device_controller.enable {
            tasks.spawn("devicecontroller", forever(), move |stop| {
                let devices = devices.clone();
                async move { devices.run(stop).await }
            });
        }
        if enabled {
            tasks.spawn("taskmanager", forever(), move |stop| {
                let jobs = jobs.clone();
                async move { jobs.run(stop).await }
            });
        } else {
            grants.complete();
        }
        if let Some(listener) = rest {
            let guard = match router.mode {
                RouterMode::Secure => Guard::Secure(pki.tls(false)?, Token::load(&router.token_file)?),
                RouterMode::Plain => {
                    warn!("modules.router.mode is plain: whoever reaches the REST port may call nodes");
                    Guard::Open
                }
            };
            let (engine, connections) = (rules.clone(), tasks.child("rest"));
            tasks.spawn_once("rest", move |stop| async move {
                rest::serve(rules, listener, guard, &connections, stop).await;
                log_unclean(&connections.shutdown(CONNECTIONS_END_WITHIN).await);
            });
            tasks.spawn("router", forever(), move |stop| {
                let engine = engine.clone();
                async move { engine.run(stop).await }
            });
        }
        if hub.enable && hub.https.enable {
            let (tls, connections) = (pki.tls(false)?, tasks.child("https"));
            tasks.spawn_once("https", move |stop| async move {
                endpoint.run(&certificates, tls, &connections, stop).await;
                log_unclean(&connections.shutdown(CONNECTIONS_END_WITHIN).await);
            });
        }
        if hub.enable && hub.websocket.enable {
            let (tls, connections) = (pki.tls(true)?, tasks.child("websocket"));
            tasks.spawn_once("websocket", move |stop| async move {
                server.run(&channel, tls, &connections, stop).await;
                log_unclean(&connections.shutdown(CONNECTIONS_END_WITHIN).await);
            });
        }
        let fingerprint = pki.fingerprint();
        tasks.spawn("identity", forever(), move |stop| {
            let pki = pki.clone();
            async move { pki.keep_fresh(stop).await }
        });
        let routes = metrics.routes();
        tasks.spawn_once("metrics", move |stop| async move { serve_metrics(monitor, routes, stop).await });

        let (websocket, https, monitor) = addresses;
        info!("nodes connect at wss://{websocket}");
        info!("certificates are issued at https://{https}");
        info!("metrics are at http://{monitor}/metrics");
        if let Some(rest) = rest_address {
            let scheme = if router.mode == RouterMode::Plain { "http" } else { "https" };
            info!("programs call nodes by rules at {scheme}://{rest}");
        }
        info!("the CA's SHA-256 fingerprint is {fingerprint}");
        Ok(Self {
            tasks,
            websocket,
            https,
            monitor,
            rest: rest_address,
            fingerprint,
            sessions,
            desired,
            metrics,
        })
    }

    /// Ends all sessions and tasks within `grace`.
    pub async fn shutdown(self, grace: Duration) -> Report {
        self.tasks.shutdown(grace).await
    }
}

/// How long callers of the REST port wait when the file says 0, as with KubeEdge.
const REST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long sessions may take to say goodbye.
const CONNECTIONS_END_WITHIN: Duration = Duration::from_secs(3);
/// How often the API is tried while it cannot be reached.
const API_PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Nothing can be done without an identity, so an API that is not there yet is waited for.
async fn identity(client: &Client, config: &CloudCore) -> Result<Pki, SetupError> {
    let mut backoff = Backoff::new(API_PAUSES.0, API_PAUSES.1);
    loop {
        match Pki::set_up(client.clone(), &config.modules.cloud_hub).await {
            Err(error) if error.is_passing() => {
                warn!("waiting for the Kubernetes API: {error}");
                tokio::time::sleep(backoff.pause()).await;
            }
            done => return done,
        }
    }
}

async fn serve_metrics(
    listener: TcpListener,
    routes: axum::Router,
    stop: tokio_util::sync::CancellationToken,
) {
    let served = axum::serve(listener, routes).with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = served.await {
        warn!("the metrics endpoint failed: {error}");
    }
}

fn forever() -> Restart {
    Restart::on_failure()
}

fn log_unclean(report: &Report) {
    if !report.is_clean() {
        warn!(aborted = ?report.aborted, stuck = ?report.stuck, "connections did not end in time");
    }
}
