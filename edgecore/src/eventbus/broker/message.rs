//! A published message on its way through the broker, and its form on disk: a PUBLISH packet of MQTT 5.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mqtt_proto::v5::{Packet, Publish, PublishProperties, VarByteInt};
use mqtt_proto::{Pid, QoS, QosPid, TopicName};
use tokio::time::Instant;

/// What was published. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) topic: TopicName,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// What MQTT 5 passes on unaltered; `None` if there is nothing.
    extras: Option<Arc<PublishProperties>>,
    /// From when on nobody wants it any more.
    pub(super) expires: Option<Instant>,
}

/// How one receiver gets a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivered {
    pub(super) qos_pid: QosPid,
    pub(super) dup: bool,
    pub(super) retain: bool,
    pub(super) subscription: Option<VarByteInt>,
}

impl Delivered {
    /// How it is written when it is kept and on its way to nobody yet.
    pub(super) fn to_nobody(message: &Message) -> Self {
        // The identifier says nothing here; a packet of that quality has one.
        let qos_pid = match message.qos {
            QoS::Level0 => QosPid::Level0,
            QoS::Level1 => QosPid::Level1(Pid::default()),
            QoS::Level2 => QosPid::Level2(Pid::default()),
        };
        Self { qos_pid, dup: false, retain: message.retain, subscription: None }
    }
}

impl Message {
    /// A message of this process.
    pub(super) fn new(topic: TopicName, payload: Bytes, qos: QoS, retain: bool) -> Self {
        Self { topic, payload, qos, retain, extras: None, expires: None }
    }

    /// What a client published, with any topic alias resolved.
    pub(super) fn received(publish: Publish) -> Self {
        let qos = publish.qos_pid.qos();
        Self::with(publish.topic_name, publish.payload, qos, publish.retain, publish.properties)
    }

    pub(super) fn with(
        topic: TopicName,
        payload: Bytes,
        qos: QoS,
        retain: bool,
        mut properties: PublishProperties,
    ) -> Self {
        properties.topic_alias = None;
        properties.subscription_id = None;
        let extras = (properties != PublishProperties::default()).then(|| Arc::new(properties));
        Self { topic, payload, qos, retain, extras, expires: None }.begun()
    }

    /// Its life time begins now: that of a will when it is said, not when it is laid down (MQTT 5 §3.1.3.2.4).
    pub(super) fn begun(mut self) -> Self {
        let lifetime = self.extras.as_ref().and_then(|extras| extras.message_expiry_interval);
        self.expires =
            lifetime.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds.into())));
        self
    }

    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        let extras = self.extras.as_ref().map_or(0, |extras| {
            let texts = extras.user_properties.iter().map(|user| user.name.len() + user.value.len() + 32);
            texts.sum::<usize>()
                + extras.content_type.as_ref().map_or(0, |text| text.len())
                + extras.correlation_data.as_ref().map_or(0, Bytes::len)
                + extras.response_topic.as_ref().map_or(0, |topic| topic.len())
                + size_of::<PublishProperties>()
        });
        self.topic.len() + self.payload.len() + extras
    }

    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Holds its own copy of the payload: it may be a small part of a large network buffer.
    pub(super) fn compact(mut self) -> Self {
        self.payload = Bytes::copy_from_slice(&self.payload);
        self
    }

    /// The packet for one receiver. What is left of its life time is told (MQTT5-3.3.2-6).
    pub(super) fn packet(&self, to: Delivered, now: Instant) -> Publish {
        let mut properties = self.extras.as_deref().cloned().unwrap_or_default();
        if let Some(expires) = self.expires {
            let left = expires.saturating_duration_since(now).as_secs_f64().ceil();
            // At most the u32 that it came with.
            properties.message_expiry_interval = Some(left as u32);
        }
        properties.subscription_id = to.subscription;
        Publish {
            dup: to.dup,
            retain: to.retain,
            properties,
            ..Publish::new(to.qos_pid, self.topic.clone(), self.payload.clone())
        }
    }

    /// What is written to disk, with the time of day (Unix milliseconds) at which it expires.
    pub(super) fn stored(&self, to: Delivered, now: Instant, unix_ms: i64) -> Option<(Vec<u8>, Option<i64>)> {
        let mut publish = self.packet(to, now);
        publish.properties.message_expiry_interval =
            self.extras.as_ref().and_then(|extras| extras.message_expiry_interval);
        let expires = self.expires.map(|expires| {
            let left = expires.saturating_duration_since(now).as_millis();
            unix_ms.saturating_add(i64::try_from(left).unwrap_or(i64::MAX))
        });
        match Packet::from(publish).encode().ok()? {
            mqtt_proto::VarBytes::Dynamic(bytes) => Some((bytes, expires)),
            _ => None,
        }
    }

    /// Reads what [`stored`](Self::stored) wrote. A clock that was set back prolongs no life beyond the original.
    pub(super) fn restored(
        bytes: &[u8],
        expires: Option<i64>,
        now: Instant,
        unix_ms: i64,
    ) -> Option<(Self, Delivered)> {
        let Ok(Some(Packet::Publish(publish))) = Packet::decode(bytes) else { return None };
        let to = Delivered {
            qos_pid: publish.qos_pid,
            dup: publish.dup,
            retain: publish.retain,
            subscription: publish.properties.subscription_id,
        };
        let longest = publish.properties.message_expiry_interval.map(|seconds| i64::from(seconds) * 1000);
        let mut message = Self::received(publish);
        message.expires = expires.zip(longest).and_then(|(at, longest)| {
            let left = at.saturating_sub(unix_ms).clamp(0, longest);
            now.checked_add(Duration::from_millis(left.unsigned_abs()))
        });
        Some((message, to))
    }
}

#[cfg(test)]
mod tests {
    use mqtt_proto::v5::UserProperty;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_stored_is_restored(
            topic in "[a-z/$é]{1,20}", payload in proptest::collection::vec(any::<u8>(), 0..100),
            user in proptest::collection::vec(("[a-z]{0,8}", "[a-zé]{0,8}"), 0..3), life in proptest::option::of(1u32..100_000),
            retain in any::<bool>(), identifier in proptest::option::of(1u32..1_000_000), pid in 1u16..,
            late in 0i64..200_000_000,
        ) {
            let properties = PublishProperties {
                message_expiry_interval: life,
                user_properties: user
                    .iter()
                    .map(|(name, value)| UserProperty { name: name.as_str().into(), value: value.as_str().into() })
                    .collect(),
                ..PublishProperties::default()
            };
            let topic = TopicName::try_from(topic.as_str()).unwrap();
            let message = Message::with(topic, payload.into(), QoS::Level1, retain, properties);
            let to = Delivered {
                qos_pid: QosPid::Level1(Pid::try_from(pid).unwrap()),
                dup: false,
                retain,
                subscription: identifier.map(|identifier| VarByteInt::try_from(identifier).unwrap()),
            };
            let now = Instant::now();
            let (bytes, expires) = message.stored(to, now, 1_000).unwrap();
            let (again, how) = Message::restored(&bytes, expires, now, 1_000 + late).unwrap();
            prop_assert_eq!(again.is_expired(now), life.is_some_and(|life| i64::from(life) * 1000 <= late));
            prop_assert_eq!(how.subscription, to.subscription);
            let packet = |message: &Message| message.packet(to, now);
            let (mut first, mut second) = (packet(&message), packet(&again));
            first.properties.message_expiry_interval = None;
            second.properties.message_expiry_interval = None;
            prop_assert_eq!(first, second);
        }

        #[test]
        fn no_bytes_make_the_restoring_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), at in any::<i64>()) {
            let _ = Message::restored(&bytes, Some(at), Instant::now(), i64::MAX);
        }
    }
}
