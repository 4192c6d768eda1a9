use std::time::Duration;

use anyhow::{Context, Result, bail};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::device;

/// A sensor that goes on only when the broker has acknowledged what it published, and tries again for as long as
/// the broker is away.
pub struct Sensor {
    client: AsyncClient,
    events: EventLoop,
    reports: u64,
}

/// How long a report may stay without an answer before it is published again, as after a crash of the node.
const PATIENCE: Duration = Duration::from_secs(2);

impl Sensor {
    /// A sensor named `id` of the node whose broker listens on `port` of loopback. It connects when it first
    /// publishes.
    pub fn new(id: &str, port: u16) -> Self {
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(10)).set_clean_session(true);
        let (client, events) = AsyncClient::new(options, 10);
        Self { client, events, reports: 0 }
    }

    /// Publishes with QoS 1 and returns when the broker has acknowledged it.
    ///
    /// # Errors
    /// When that does not happen within `limit`.
    pub async fn publish(&mut self, topic: &str, payload: &str, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await?;
        while Instant::now() < end {
            match timeout(Duration::from_secs(1), self.events.poll()).await {
                Ok(Ok(Event::Incoming(Packet::PubAck(_)))) => return Ok(()),
                Ok(Ok(_)) | Err(_) => {}
                // The event loop keeps what is not acknowledged and sends it again on the next connection.
                Ok(Err(_)) => sleep(Duration::from_millis(30)).await,
            }
        }
        bail!("{topic}: {payload} was not acknowledged within {limit:?}")
    }

    /// Reports `value` for `property` of the device `name` in `default` and returns when the node has answered on
    /// `twin/update/result` that it has it. As long as the node does not know the device, tries again.
    ///
    /// # Errors
    /// When the node refuses the value, with its reason, or does not take it within `limit`.
    pub async fn report(&mut self, name: &str, property: &str, value: &str, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        let mut last = Value::Null;
        while Instant::now() < end {
            self.reports += 1;
            let event = format!("{name}-{}", self.reports);
            let twin = json!({ "event_id": event, "timestamp": 0, "twin": { property: { "actual": { "value": value } } } });
            let topic = device::update_topic(name);
            self.client.subscribe(format!("{topic}/result"), QoS::AtLeastOnce).await?;
            self.client.publish(&topic, QoS::AtLeastOnce, false, twin.to_string()).await?;
            let Some(answer) = self.answer(&event, PATIENCE.min(limit)).await else { continue };
            match answer["code"].as_u64() {
                None => return Ok(()),
                Some(404) => sleep(Duration::from_millis(50)).await,
                Some(_) => bail!("{name}/{property}={value}: {}", answer["reason"]),
            }
            last = answer;
        }
        Err(anyhow::anyhow!("last answer: {last}"))
            .context(format!("{name}/{property}={value} not taken within {limit:?}"))
    }

    async fn answer(&mut self, event: &str, limit: Duration) -> Option<Value> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            match timeout(end - Instant::now(), self.events.poll()).await {
                Ok(Ok(Event::Incoming(Packet::Publish(publish)))) => {
                    let answer: Value = serde_json::from_slice(&publish.payload).unwrap_or_default();
                    if answer["event_id"] == event {
                        return Some(answer);
                    }
                }
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(_)) => sleep(Duration::from_millis(30)).await,
            }
        }
        None
    }
}
