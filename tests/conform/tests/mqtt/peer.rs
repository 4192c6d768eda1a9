//! A client of MQTT 5 that says exactly what a test wants. Its codec is another than the broker's.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectProperties, ConnectReturnCode, Disconnect, DisconnectReasonCode, Filter,
    LastWill, Packet, PubAck, PubComp, PubRec, PubRecReason, PubRel, Publish, PublishProperties, Subscribe,
    SubscribeProperties, SubscribeReasonCode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest that an answer takes.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Peer {
    stream: TcpStream,
    input: BytesMut,
    next: u16,
}

/// How to come in. The default is a clean session that ends with the connection.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) properties: ConnectProperties,
    pub(crate) will: Option<LastWill>,
}

impl Default for Manner {
    fn default() -> Self {
        Self { clean: true, keep_alive: 60, properties: ConnectProperties::new(), will: None }
    }
}

impl Manner {
    /// A session that goes on, and lasts for `seconds`.
    pub(crate) fn lasting(seconds: u32) -> Self {
        let mut manner = Self { clean: false, ..Self::default() };
        manner.properties.session_expiry_interval = Some(seconds);
        manner
    }
}

impl Peer {
    pub(crate) async fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, input: BytesMut::new(), next: 0 }
    }

    /// Comes in as `id`.
    pub(crate) async fn connect(port: u16, id: &str) -> Self {
        Self::enter(port, id, Manner::default()).await.0
    }

    pub(crate) async fn enter(port: u16, id: &str, manner: Manner) -> (Self, ConnAck) {
        let (peer, answer) = Self::try_enter(port, id, manner).await;
        assert_eq!(answer.code, ConnectReturnCode::Success, "{id}: {answer:?}");
        (peer, answer)
    }

    pub(crate) async fn try_enter(port: u16, id: &str, manner: Manner) -> (Self, ConnAck) {
        let mut peer = Self::open(port).await;
        let connect = Connect {
            keep_alive: manner.keep_alive,
            client_id: id.to_owned(),
            clean_start: manner.clean,
            properties: Some(manner.properties),
        };
        peer.send(Packet::Connect(connect, manner.will, None)).await;
        match peer.next().await {
            Some(Packet::ConnAck(answer)) => (peer, answer),
            other => panic!("{id}: a CONNACK, not {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        self.bytes(&bytes).await;
    }

    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        // A peer that closed already is what some tests wait for.
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next packet; `None` when the broker closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        timeout(PATIENCE, self.read()).await.expect("a packet or the end in time")
    }

    async fn read(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.input, None) {
                Ok(packet) => return Some(packet),
                Err(rumqttc::v5::mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("the broker sends {error}: {:?}", &self.input[..]),
            }
            if self.stream.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn silent(&mut self) -> bool {
        timeout(Duration::from_millis(300), self.read()).await.is_err()
    }

    /// Subscribes; the answer's codes.
    pub(crate) async fn subscribe(
        &mut self,
        filters: impl IntoIterator<Item = Filter>,
        identifier: Option<usize>,
    ) -> Vec<SubscribeReasonCode> {
        let properties =
            identifier.map(|id| SubscribeProperties { id: Some(id), user_properties: Vec::new() });
        let mut subscribe = Subscribe::new_many(filters, properties);
        subscribe.pkid = 77;
        self.send(Packet::Subscribe(subscribe)).await;
        match self.next().await {
            Some(Packet::SubAck(ack)) if ack.pkid == 77 => ack.return_codes,
            other => panic!("a SUBACK, not {other:?}"),
        }
    }

    pub(crate) async fn publish(&mut self, publish: Publish) {
        self.send(Packet::Publish(publish)).await;
    }

    /// Publishes with QoS 1 and waits for the PUBACK.
    pub(crate) async fn says(&mut self, topic: &str, payload: &str) {
        self.tells(message(topic, QoS::AtLeastOnce, payload)).await;
    }

    pub(crate) async fn tells(&mut self, mut publish: Publish) {
        self.next += 1;
        publish.pkid = self.next;
        let pkid = publish.pkid;
        self.publish(publish).await;
        assert_eq!(self.next().await, Some(Packet::PubAck(PubAck::new(pkid, None))));
    }

    /// The next message, acknowledged.
    pub(crate) async fn hears(&mut self) -> Publish {
        let publish = self.receives().await;
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.send(Packet::PubAck(PubAck::new(publish.pkid, None))).await,
            QoS::ExactlyOnce => {
                self.send(Packet::PubRec(PubRec::new(publish.pkid, None))).await;
                assert_eq!(self.next().await, Some(Packet::PubRel(PubRel::new(publish.pkid, None))));
                self.send(Packet::PubComp(PubComp::new(publish.pkid, None))).await;
            }
        }
        publish
    }

    /// Takes everything that comes until it is silent for two seconds, and settles it.
    pub(crate) async fn hears_all(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        while let Ok(Some(packet)) = timeout(Duration::from_secs(2), self.read()).await {
            match packet {
                Packet::Publish(publish) => {
                    heard.push(String::from_utf8(publish.payload.to_vec()).unwrap());
                    match publish.qos {
                        QoS::AtMostOnce => {}
                        QoS::AtLeastOnce => self.send(Packet::PubAck(PubAck::new(publish.pkid, None))).await,
                        QoS::ExactlyOnce => self.send(Packet::PubRec(PubRec::new(publish.pkid, None))).await,
                    }
                }
                Packet::PubRel(release) => self.send(Packet::PubComp(PubComp::new(release.pkid, None))).await,
                other => panic!("a message, not {other:?}"),
            }
        }
        heard
    }

    /// The next message, without a word about it.
    pub(crate) async fn receives(&mut self) -> Publish {
        match self.next().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("a PUBLISH, not {other:?}"),
        }
    }

    /// The broker says why, and closes.
    pub(crate) async fn is_put_out(&mut self) -> DisconnectReasonCode {
        loop {
            match self.next().await {
                Some(Packet::Disconnect(Disconnect { reason_code, .. })) => {
                    assert_eq!(self.next().await, None, "and closes");
                    return reason_code;
                }
                Some(_) => {}
                None => panic!("closed without a reason"),
            }
        }
    }

    pub(crate) async fn leave(mut self) {
        self.bytes(&[0xe0, 0]).await;
        assert_eq!(self.next().await, None);
    }
}

pub(crate) fn message(topic: &str, qos: QoS, payload: &str) -> Publish {
    let mut publish = Publish::new(topic, qos, Bytes::copy_from_slice(payload.as_bytes()), None);
    publish.pkid = u16::from(qos != QoS::AtMostOnce);
    publish
}

pub(crate) fn with(mut publish: Publish, properties: PublishProperties) -> Publish {
    publish.properties = Some(properties);
    publish
}

pub(crate) fn retained(topic: &str, payload: &str) -> Publish {
    Publish { retain: true, ..message(topic, QoS::AtLeastOnce, payload) }
}

pub(crate) fn refuses(pkid: u16) -> Packet {
    Packet::PubRec(PubRec { pkid, reason: PubRecReason::UnspecifiedError, properties: None })
}
