//! MQTT: the embedded broker, a client of an external one, or both, as KubeEdge's `mqttMode` says.
//!
//! Owns: brokers, clients and topics. May call: devicetwin, with what devices say, and rules, with what is for the cloud. Called by: both,
//! which speak through the [`Publisher`]. A device's message is acknowledged to it only after devicetwin has it on disk.

pub mod broker;
mod external;
mod publisher;
mod settings;
mod sink;
pub mod topic;

use std::net::SocketAddr;
use std::sync::Arc;

use tasks::{Restart, TaskSet};
use tokio::sync::{Mutex, mpsc};

pub use publisher::Publisher;
pub use settings::{Settings, SettingsError};

use crate::metrics::Metrics;
use crate::{devicetwin, rules};
use broker::{Broker, Limits, ListenError, Plan, Router};
use external::External;
use publisher::{Internal, Outgoing};
use sink::Listeners;

/// The brokers, before they run. Made first, because the twins need its [`Publisher`] and it needs the twins.
#[derive(Debug)]
pub struct EventBus {
    publisher: Publisher,
    internal: Option<Plan>,
    external: Option<(settings::External, mpsc::Receiver<Outgoing>)>,
    metrics: Metrics,
}

impl EventBus {
    /// Nothing is bound or connected yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let internal = settings.internal.as_ref().map(|internal| {
            let limits = Limits { offline_messages: internal.offline_messages, ..Limits::default() };
            Internal { router: Router::new(limits), qos: internal.qos, retain: internal.retain }
        });
        let (sender, receiver) = mpsc::channel(external::QUEUE);
        let publisher = Publisher {
            node: settings.node.into(),
            internal,
            external: settings.external.as_ref().map(|_| sender),
            lost: settings.metrics.unheard(),
        };
        Self {
            publisher,
            internal: settings.internal.map(|internal| internal.plan),
            external: settings.external.map(|external| (external, receiver)),
            metrics: settings.metrics,
        }
    }

    /// For devicetwin to speak through.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Binds the embedded broker, connects to the external one, and serves both on `tasks`. An external broker that is
    /// away is no error. The address is where the embedded broker listens first.
    pub async fn start(
        self,
        twins: devicetwin::Handle,
        rules: Option<rules::Handle>,
        tasks: &TaskSet,
    ) -> Result<Option<SocketAddr>, ListenError> {
        let listeners = Listeners { twins, rules, metrics: self.metrics };
        if let Some((address, outgoing)) = self.external {
            let lost = Arc::clone(&self.publisher.lost);
            let external = External { address, listeners: listeners.clone(), outgoing, lost };
            let external = Arc::new(Mutex::new(external));
            tasks.spawn("external", Restart::on_failure(), move |token| {
                let external = Arc::clone(&external);
                async move { external.lock().await.run(token).await }
            });
        }
        let (Some(plan), Some(internal)) = (self.internal, self.publisher.internal) else {
            return Ok(None);
        };
        let broker = Broker::open(plan, internal.router).await?;
        let bound = broker.address();
        broker.serve(listeners, tasks);
        Ok(bound)
    }
}
