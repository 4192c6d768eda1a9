//! Publishes what the twins and rules say on the brokers in use. Never waits for one: the twins go on without MQTT.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use mqtt_proto::QoS;
use tokio::sync::mpsc;
use tracing::warn;

use super::broker::Router;
use super::topic;
use crate::devicetwin::Voice;
use crate::devicetwin::engine::Notice;

/// A message for the external broker.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) topic: String,
    pub(super) payload: Bytes,
}

/// Speaks for the twins. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    pub(super) node: Arc<str>,
    pub(super) internal: Option<Internal>,
    pub(super) external: Option<mpsc::Sender<Outgoing>>,
    pub(super) lost: Arc<AtomicU64>,
}

/// The embedded broker, and how KubeEdge's settings say to publish there.
#[derive(Debug, Clone)]
pub(super) struct Internal {
    pub(super) router: Router,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

impl Publisher {
    /// Messages that found no room on their way to the external broker.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Publishes on the brokers in use.
    pub fn publish(&self, topic: &str, payload: Bytes) {
        if let Some(Internal { router, qos, retain }) = &self.internal {
            router.publish(topic, &payload, *qos, *retain);
        }
        if let Some(external) = &self.external {
            let outgoing = Outgoing { topic: topic.to_owned(), payload };
            if external.try_send(outgoing).is_err() && self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
                warn!("the external MQTT broker is away or slow: messages to devices are dropped");
            }
        }
    }
}

impl Voice for Publisher {
    fn say(&self, notice: &Notice) {
        self.publish(&topic::of(&notice.to, &self.node), notice.payload.clone());
    }
}
