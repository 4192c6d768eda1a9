//! A broker that somebody else runs, such as mosquitto on the same box.
//!
//! The session is kept by the broker while edgecore is away, and a message is acknowledged to it only when
//! devicetwin has it on disk.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesOrdered};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, Publish, QoS};
use tasks::{Backoff, Restart, TaskSet};
use tokio::{sync::oneshot, time::sleep};
use tracing::{info, warn};

use super::{
    settings::External,
    topic::{self, SUBSCRIPTIONS},
};
use crate::devicetwin::{self, Verdict};

/// Requests of ours that wait for the connection; the newest are dropped when it is full.
const QUEUE: usize = 1024;
/// Messages that wait for the disk; then no more are read.
const WAITING: usize = 256;
/// The longest packet, in and out.
const PACKET: usize = 1024 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Publishes what this node says.
pub(super) struct Publisher {
    client: AsyncClient,
    qos: QoS,
    retain: bool,
}

impl Publisher {
    pub(super) fn publish(&self, topic: &str, payload: &Bytes) {
        // While the broker is away the queue fills; what does not fit is old news by the time it is back.
        if self.client.try_publish(topic, self.qos, self.retain, payload.clone()).is_err() {
            warn!(topic, "answer dropped, the external broker does not keep up");
        }
    }
}

/// Connects, and connects again, on `tasks`.
pub(super) fn start(settings: External, twins: devicetwin::Handle, tasks: &TaskSet) -> Publisher {
    let mut options = MqttOptions::new(&settings.client, &settings.host, settings.port);
    options.set_keep_alive(KEEP_ALIVE).set_clean_session(false).set_manual_acks(true);
    options.set_max_packet_size(PACKET, PACKET);
    if let Some((name, password)) = &settings.login {
        options.set_credentials(name, password);
    }
    let (client, events) = AsyncClient::new(options, QUEUE);
    let qos = match settings.qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    };
    let publisher = Publisher { client: client.clone(), qos, retain: settings.retain };
    let broker = format!("{}:{}", settings.host, settings.port);
    let link = std::sync::Arc::new(tokio::sync::Mutex::new(Link { client, events, twins, broker }));
    tasks.spawn("external broker", Restart::on_failure(), move |token| {
        let link = std::sync::Arc::clone(&link);
        async move {
            token.run_until_cancelled(link.lock().await.run()).await;
            Ok::<(), Infallible>(())
        }
    });
    publisher
}

struct Link {
    client: AsyncClient,
    events: EventLoop,
    twins: devicetwin::Handle,
    broker: String,
}

impl Link {
    async fn run(&mut self) {
        let mut pauses = Backoff::default();
        let mut waiting = FuturesOrdered::new();
        let mut lost = false;
        loop {
            tokio::select! {
                Some((publish, verdict)) = waiting.next(), if !waiting.is_empty() => {
                    self.settle(&publish, verdict).await;
                }
                event = self.events.poll(), if waiting.len() < WAITING => match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        info!(broker = %self.broker, "connected to the external MQTT broker");
                        pauses.reset();
                        lost = false;
                        self.subscribe();
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        if let Some(request) = topic::request(&publish.topic, &publish.payload) {
                            let verdict = self.twins.submit(request).await;
                            waiting.push_back(settled(publish, verdict));
                        } else {
                            self.client.try_ack(&publish).ok();
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        if !std::mem::replace(&mut lost, true) {
                            warn!(
                                broker = %self.broker, %error,
                                "external MQTT broker cannot be reached, trying again; is it running, and is \
                                 modules.eventBus.mqttServerExternal right?"
                            );
                        }
                        sleep(pauses.pause()).await;
                    }
                }
            }
        }
    }

    /// The broker keeps subscriptions with the session, but it may have lost both.
    fn subscribe(&self) {
        for filter in SUBSCRIPTIONS {
            if self.client.try_subscribe(filter, QoS::AtLeastOnce).is_err() {
                warn!(filter, "not subscribed, too many requests wait for the external broker");
            }
        }
    }

    async fn settle(&mut self, publish: &Publish, verdict: Verdict) {
        match verdict {
            Verdict::Done => {
                self.client.try_ack(publish).ok();
            }
            Verdict::NotStored => {
                // Without an acknowledgement the broker sends it again on the next connection.
                warn!(topic = publish.topic, "message not stored, asking the external broker for it again");
                self.events.clean();
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn settled(publish: Publish, verdict: oneshot::Receiver<Verdict>) -> (Publish, Verdict) {
    let verdict = verdict.await.unwrap_or(Verdict::NotStored);
    (publish, verdict)
}
