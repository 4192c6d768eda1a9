//! One client's connection.
//!
//! Packets reach the router in the order in which they came. A publish for devicetwin goes there first and on to the
//! router, which acknowledges it, once it is on disk; several may wait at a time, so that devicetwin can write them
//! together. When one cannot be stored, the connection ends without an acknowledgement: a client with QoS 1 sends
//! it again.

use std::{collections::VecDeque, future::pending, io, time::Duration};

use bytes::{Bytes, BytesMut};
use rumqttd::{
    Notification,
    local::{LinkError, LinkRx, LinkTx},
    protocol::{
        ConnAck, Connect, ConnectReturnCode, Disconnect, DisconnectReasonCode, LastWill, Packet, Protocol,
        Publish, SubAck, SubscribeReasonCode, v4::V4,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, warn};

use super::{
    super::topic,
    clients::{Place, Refused},
    listener::Shared,
    names,
};
use crate::devicetwin::Verdict;

/// Packets of one client that wait for the disk; then its socket is not read.
const WAITING: usize = 256;
/// The longest packet.
const PACKET: usize = 1024 * 1024;
/// How long a new connection may take to say CONNECT.
const GREETING: Duration = Duration::from_secs(5);
/// How long a client may take to receive what is sent to it.
const WRITE: Duration = Duration::from_secs(15);
/// How long a client whose message could not be stored is kept waiting before it is disconnected.
const BACK_PRESSURE: Duration = Duration::from_secs(1);
/// Notifications of the router that are written together.
const TOGETHER: usize = 64;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the client is gone: {0}")]
    Io(#[from] io::Error),
    #[error("the client broke MQTT 3.1.1: {0}")]
    Protocol(String),
    #[error("the client was silent for one and a half times its keep-alive")]
    Silent,
    #[error("the client did not receive within {WRITE:?}")]
    Deaf,
    #[error("the router is gone: {0}")]
    Router(#[from] Box<LinkError>),
    #[error("a newer connection of the same client took over")]
    Replaced,
    #[error("what the client published could not be stored")]
    NotStored,
    #[error("no more clients are let in")]
    Full,
    #[error("the client said goodbye")]
    Goodbye,
    #[error("shutting down")]
    Shutdown,
}

/// A packet on its way to the router.
enum Held {
    Free(Packet),
    /// Waits until devicetwin has it on disk.
    Waiting(Packet, oneshot::Receiver<Verdict>),
}

struct Session<'a> {
    wire: Wire,
    shared: &'a Shared,
    to_router: LinkTx,
    from_router: LinkRx,
    held: VecDeque<Held>,
    keep_alive: Option<Duration>,
    heard: Instant,
}

/// Serves the connection until it ends; the reason is never `Ok`.
pub(super) async fn serve(socket: TcpStream, shared: &Shared, token: CancellationToken) -> Result<(), End> {
    socket.set_nodelay(true)?;
    let mut wire = Wire { socket, read: BytesMut::new(), write: BytesMut::new() };
    let (connect, will) = timeout(GREETING, wire.greeting()).await.map_err(|_| End::Silent)??;
    let client = match connect.client_id.as_str() {
        "" if !connect.clean_session => {
            return wire
                .refuse(ConnectReturnCode::ClientIdentifierNotValid, End::Protocol("no client id".into()))
                .await;
        }
        "" => format!("unnamed-{:016x}", fastrand::u64(..)),
        given => given.to_owned(),
    };
    Span::current().record("client", client.as_str());
    let place = match shared.clients.enter(&client, !connect.clean_session).await {
        Ok(place) => place,
        Err(Refused::Full) => return wire.refuse(ConnectReturnCode::ServiceUnavailable, End::Full).await,
    };
    let (to_router, from_router, greeting) = shared.links.link(&place.name, connect.clean_session)?;
    let mut session = Session {
        wire,
        shared,
        to_router,
        from_router,
        held: VecDeque::new(),
        keep_alive: (connect.keep_alive > 0)
            .then(|| Duration::from_millis(u64::from(connect.keep_alive) * 1500)),
        heard: Instant::now(),
    };
    let end = session.run(greeting, &place, &token).await;
    session.leave(will.filter(|_| !matches!(end, Err(End::Goodbye)))).await;
    end
}

impl Session<'_> {
    async fn run(
        &mut self,
        greeting: Notification,
        place: &Place,
        token: &CancellationToken,
    ) -> Result<(), End> {
        self.tell(greeting).await?;
        self.parse().await?;
        loop {
            self.forward().await?;
            self.wire.flush().await?;
            let silent_at = self.keep_alive.map(|limit| self.heard + limit);
            tokio::select! {
                verdict = verdict(&mut self.held) => self.settle(verdict).await?,
                note = self.from_router.next() => {
                    if let Some(note) = note.map_err(Box::new)? {
                        self.tell(note).await?;
                    }
                    self.tell_more().await?;
                }
                read = self.wire.read(), if self.held.len() < WAITING => {
                    read?;
                    self.heard = Instant::now();
                    self.parse().await?;
                }
                () = until(silent_at) => return Err(End::Silent),
                () = place.end.cancelled() => return Err(End::Replaced),
                () = token.cancelled() => return Err(End::Shutdown),
            }
        }
    }

    /// Takes all packets that have arrived whole.
    async fn parse(&mut self) -> Result<(), End> {
        while self.held.len() < WAITING
            && let Some(packet) = self.wire.packet()?
        {
            match packet {
                Packet::Publish(publish, _) => self.publish(publish).await?,
                Packet::Subscribe(mut subscribe, _) => {
                    if let Some(wrong) =
                        subscribe.filters.iter().find(|filter| !names::is_filter(&filter.path))
                    {
                        return Err(End::Protocol(format!("{:?} is no topic filter", wrong.path)));
                    }
                    if subscribe.filters.iter().all(|filter| self.shared.filters.admit(&filter.path)) {
                        for filter in &mut subscribe.filters {
                            filter.path = names::inside(&filter.path);
                        }
                        self.held.push_back(Held::Free(Packet::Subscribe(subscribe, None)));
                    } else {
                        warn!("subscription refused, too many different topic filters");
                        let return_codes = vec![SubscribeReasonCode::Failure; subscribe.filters.len()];
                        self.wire.put(Packet::SubAck(SubAck { pkid: subscribe.pkid, return_codes }, None))?;
                    }
                }
                Packet::Unsubscribe(mut unsubscribe, _) => {
                    for filter in &mut unsubscribe.filters {
                        *filter = names::inside(filter);
                    }
                    self.held.push_back(Held::Free(Packet::Unsubscribe(unsubscribe, None)));
                }
                Packet::Disconnect(..) => {
                    self.drain().await?;
                    return Err(End::Goodbye);
                }
                packet @ (Packet::PubAck(..)
                | Packet::PubRec(..)
                | Packet::PubRel(..)
                | Packet::PubComp(..)
                | Packet::PingReq(_)) => self.held.push_back(Held::Free(packet)),
                other => return Err(End::Protocol(format!("unexpected {}", kind(&other)))),
            }
        }
        Ok(())
    }

    async fn publish(&mut self, mut publish: Publish) -> Result<(), End> {
        let name = std::str::from_utf8(&publish.topic).ok().filter(|name| names::is_topic(name)).ok_or_else(
            || End::Protocol("a topic to publish to is not UTF-8, or has wildcards".to_owned()),
        )?;
        let request = topic::request(name, &publish.payload);
        let name = if self.shared.topics.admit(name) {
            names::inside(name)
        } else {
            debug!(topic = name, "publish reaches no subscriber, too many different topics");
            names::inside("skerry/overflow")
        };
        publish.topic = Bytes::from(name);
        let packet = Packet::Publish(publish, None);
        let held = match request {
            Some(request) => Held::Waiting(packet, self.shared.twins.submit(request).await),
            None => Held::Free(packet),
        };
        self.held.push_back(held);
        Ok(())
    }

    /// Hands the router everything that waits for nothing.
    async fn forward(&mut self) -> Result<(), End> {
        while matches!(self.held.front(), Some(Held::Free(_))) {
            if let Some(Held::Free(packet)) = self.held.pop_front() {
                self.to_router.send(packet).await.map_err(Box::new)?;
            }
        }
        Ok(())
    }

    async fn settle(&mut self, verdict: Verdict) -> Result<(), End> {
        let head = self.held.pop_front();
        match (verdict, head) {
            (Verdict::Done, Some(Held::Waiting(packet, _))) => {
                self.to_router.send(packet).await.map_err(Box::new)?;
                Ok(())
            }
            (Verdict::NotStored, _) => {
                // The sensor is told why on its result topic first.
                let until = Instant::now() + BACK_PRESSURE;
                while let Ok(Ok(Some(note))) = timeout(until - Instant::now(), self.from_router.next()).await
                {
                    self.tell(note).await?;
                    self.wire.flush().await?;
                }
                Err(End::NotStored)
            }
            (Verdict::Done, _) => Ok(()),
        }
    }

    /// Before a goodbye: what was published is stored and forwarded.
    async fn drain(&mut self) -> Result<(), End> {
        while !self.held.is_empty() {
            self.forward().await?;
            if matches!(self.held.front(), Some(Held::Waiting(..))) {
                let verdict = verdict(&mut self.held).await;
                self.settle(verdict).await?;
            }
        }
        Ok(())
    }

    /// Writes what the router has for the client.
    async fn tell(&mut self, note: Notification) -> Result<(), End> {
        let Some(mut packet): Option<Packet> = note.into() else {
            // The router waits until the client has received what it was sent.
            self.wire.flush().await?;
            self.from_router.wake().await.map_err(Box::new)?;
            return Ok(());
        };
        match &mut packet {
            Packet::Publish(publish, properties) => {
                publish.topic = names::outside(&publish.topic);
                *properties = None;
            }
            Packet::Disconnect(..) => return Err(End::Protocol("the router refuses a packet".to_owned())),
            _ => {}
        }
        self.wire.put(packet)
    }

    async fn tell_more(&mut self) -> Result<(), End> {
        for _ in 0..TOGETHER {
            match timeout(Duration::ZERO, self.from_router.next()).await {
                Ok(Ok(Some(note))) => self.tell(note).await?,
                Ok(Err(error)) => return Err(Box::new(error).into()),
                Ok(Ok(None)) | Err(_) => break,
            }
        }
        Ok(())
    }

    /// Tells the router that the client is gone; its will is published if it did not say goodbye.
    async fn leave(&mut self, will: Option<LastWill>) {
        if let Some(will) = will
            && let Ok(name) = std::str::from_utf8(&will.topic)
            && names::is_topic(name)
        {
            if let Some(request) = topic::request(name, &will.message) {
                self.shared.twins.submit(request).await.await.ok();
            }
            let publish = Publish::new(Bytes::from(names::inside(name)), will.message, will.retain);
            self.to_router.send(Packet::Publish(publish, None)).await.ok();
        }
        let goodbye = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        self.to_router.send(Packet::Disconnect(goodbye, None)).await.ok();
        timeout(BACK_PRESSURE, self.wire.flush()).await.ok();
    }
}

/// What became of the first packet, if it waits.
async fn verdict(held: &mut VecDeque<Held>) -> Verdict {
    match held.front_mut() {
        // A dropped sender: devicetwin is restarting, so nothing was stored.
        Some(Held::Waiting(_, verdict)) => verdict.await.unwrap_or(Verdict::NotStored),
        _ => pending().await,
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}

fn kind(packet: &Packet) -> &'static str {
    match packet {
        Packet::Connect(..) => "CONNECT: the client is connected",
        _ => "packet that only servers send",
    }
}

/// The socket and MQTT's framing.
struct Wire {
    socket: TcpStream,
    read: BytesMut,
    write: BytesMut,
}

impl Wire {
    async fn greeting(&mut self) -> Result<(Connect, Option<LastWill>), End> {
        loop {
            match self.packet()? {
                Some(Packet::Connect(connect, _, will, _, _)) => return Ok((connect, will)),
                Some(_) => return Err(End::Protocol("the first packet is not CONNECT".to_owned())),
                None => self.read().await?,
            }
        }
    }

    /// The next packet that has arrived whole.
    fn packet(&mut self) -> Result<Option<Packet>, End> {
        use rumqttd::protocol::Error;
        // The codec takes it for granted that packets are of one of the fourteen types.
        if self.read.first().is_some_and(|first| matches!(first >> 4, 0 | 15)) {
            return Err(End::Protocol("a packet of a reserved type".to_owned()));
        }
        match V4.read_mut(&mut self.read, PACKET) {
            Ok(packet) => Ok(Some(packet)),
            Err(Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(End::Protocol(error.to_string())),
        }
    }

    async fn read(&mut self) -> Result<(), End> {
        self.read.reserve(4 * 1024);
        match self.socket.read_buf(&mut self.read).await? {
            0 => Err(End::Io(io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(()),
        }
    }

    fn put(&mut self, packet: Packet) -> Result<(), End> {
        V4.write(packet, &mut self.write).map(drop).map_err(|error| End::Protocol(error.to_string()))
    }

    async fn flush(&mut self) -> Result<(), End> {
        if !self.write.is_empty() {
            let bytes = self.write.split();
            timeout(WRITE, self.socket.write_all(&bytes)).await.map_err(|_| End::Deaf)??;
        }
        Ok(())
    }

    async fn refuse(&mut self, code: ConnectReturnCode, end: End) -> Result<(), End> {
        self.put(Packet::ConnAck(ConnAck { session_present: false, code }, None))?;
        self.flush().await?;
        sleep(Duration::from_millis(100)).await;
        Err(end)
    }
}
