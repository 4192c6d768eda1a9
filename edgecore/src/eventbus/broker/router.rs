//! rumqttd's router, and the broker's own link to it.

use bytes::Bytes;
use rumqttd::{
    Notification, Router, RouterConfig,
    local::{LinkBuilder, LinkError, LinkRx, LinkTx},
    protocol::{Packet, Publish},
};
use tracing::warn;

use super::{clients::CONNECTIONS, names};

/// Messages that the router holds per filter: two segments of this size, in bytes.
const SEGMENT: usize = 64 * 1024;
/// Messages on their way to one client before the router waits for acknowledgements.
const OUTGOING: u64 = 200;

type Make = dyn Fn(&str, bool) -> Result<(LinkTx, LinkRx, Notification), Box<LinkError>> + Send + Sync;

/// Makes links to one router. Its thread lives as long as the process.
pub(super) struct Links {
    make: Box<Make>,
}

/// Publishes what this node says.
pub(in super::super) struct Publisher {
    link: LinkTx,
}

impl Links {
    pub(super) fn new() -> Self {
        let config = RouterConfig {
            max_connections: CONNECTIONS + 8,
            max_outgoing_packet_count: OUTGOING,
            max_segment_size: SEGMENT,
            max_segment_count: 2,
            initialized_filters: Some(names::ROOTS.map(str::to_owned).to_vec()),
            ..RouterConfig::default()
        };
        // The type of the router's inbox cannot be named outside rumqttd, so a closure keeps it.
        let inbox = Router::new(0, config).spawn();
        let make = move |client: &str, clean: bool| {
            LinkBuilder::new(client, inbox.clone()).clean_session(clean).build().map_err(Box::new)
        };
        Self { make: Box::new(make) }
    }

    /// A link for `client`; the notification is the router's CONNACK.
    pub(super) fn link(
        &self,
        client: &str,
        clean: bool,
    ) -> Result<(LinkTx, LinkRx, Notification), Box<LinkError>> {
        (self.make)(client, clean)
    }
}

impl Publisher {
    pub(super) fn new(link: LinkTx) -> Self {
        Self { link }
    }

    pub(in super::super) async fn publish(&mut self, topic: &str, payload: &Bytes) {
        let publish = Publish::new(Bytes::from(names::inside(topic)), payload.clone(), false);
        if let Err(error) = self.link.send(Packet::Publish(publish, None)).await {
            warn!(topic, %error, "answer not published, the broker's router is gone");
        }
    }
}
