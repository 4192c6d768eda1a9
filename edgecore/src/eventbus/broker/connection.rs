//! One client's connection: reads packets, hands them on, acknowledges what may be acknowledged, writes what waits.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, LastWill, PubAck, PubComp, PubRec, PubRel, SubAck, Subscribe, SubscribeReasonCode,
    UnsubAck,
};
use rumqttc::{ConnectReturnCode, Packet, Publish, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::filter::Filter;
use super::frame::{self, FrameError};
use super::router::{Attached, Router};
use super::{Outcome, Sink};
use crate::devicetwin::Verdict;

/// How long a new connection may take to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(10);
/// How long a write may make no progress.
const STALLED: Duration = Duration::from_secs(20);
/// How long a client whose message could not be stored is kept waiting before it is put out.
const BACK_PRESSURE: Duration = Duration::from_secs(1);
/// Acknowledgements that may wait for the store before the client is read again.
const UNACKNOWLEDGED: usize = 2048;
/// Bytes written in one go.
const CHUNK: usize = 16 * 1024;
/// A read buffer that grew beyond this for one packet is given back.
const KEPT: usize = 16 * 1024;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the client said goodbye")]
    Goodbye,
    #[error("the client closed the connection")]
    Closed,
    #[error("another connection took the session over")]
    TakenOver,
    #[error("the broker is shutting down")]
    Shutdown,
    #[error("nothing came for one and a half times the keep-alive")]
    Silent,
    #[error("the client did not introduce itself in time")]
    NoIntroduction,
    #[error("the client does not read")]
    Stalled,
    #[error("a message was not stored: it must be sent again")]
    NotStored,
    #[error("refused: {0:?}")]
    Refused(ConnectReturnCode),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("network: {0}")]
    Io(#[from] std::io::Error),
}

/// An acknowledgement that waits for the store, in the order in which the messages came (MQTT-4.6.0-2).
struct Pending {
    publish: (u16, QoS),
    outcome: Outcome,
}

pub(super) struct Connection<S> {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
    router: Router,
    sink: S,
    pending: VecDeque<Pending>,
}

impl<S: Sink> Connection<S> {
    pub(super) fn new(stream: TcpStream, router: Router, sink: S) -> Self {
        let (input, output) = (BytesMut::with_capacity(1024), BytesMut::with_capacity(1024));
        Self { stream, input, output, router, sink, pending: VecDeque::new() }
    }

    /// Serves the client until one side has had enough.
    pub(super) async fn run(mut self, token: CancellationToken) -> End {
        let connect = tokio::select! {
            connect = timeout(INTRODUCTION, self.introduction()) => match connect {
                Ok(Ok(connect)) => connect,
                Ok(Err(end)) => return end,
                Err(_) => return End::NoIntroduction,
            },
            () = token.cancelled() => return End::Shutdown,
        };
        let attached = match self.attach(&connect).await {
            Ok(attached) => attached,
            Err(end) => return end,
        };
        let end = match self.serve(&attached, connect.keep_alive, token).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        // What was said for the client is said before the door closes: an answer may be the reason why it closes.
        self.fill(&attached);
        let _ = timeout(Duration::from_secs(1), self.flush()).await;
        if matches!(end, End::NotStored) {
            // Time to read why, and a brake: the client comes back with the same message at once.
            sleep(BACK_PRESSURE).await;
        }
        let _ = timeout(Duration::from_secs(1), self.stream.shutdown()).await;
        self.router.detach(&attached);
        if let (Some(will), false) = (connect.last_will, matches!(end, End::Goodbye)) {
            self.speak_will(will).await;
        }
        end
    }

    /// The first packet, which must be CONNECT (MQTT-3.1.0-1).
    async fn introduction(&mut self) -> Result<Connect, End> {
        let not_connect = || End::Frame(FrameError::Violation("MQTT-3.1.0-1: the first packet is CONNECT"));
        loop {
            if self.input.first().is_some_and(|first| *first != 0x10) {
                return Err(not_connect());
            }
            match frame::next(&mut self.input, self.router.limits().packet_bytes) {
                Ok(Some(Packet::Connect(connect))) => return Ok(connect),
                Ok(Some(_)) => return Err(not_connect()),
                Ok(None) => self.read().await?,
                Err(error @ FrameError::Level(_)) => {
                    self.refuse(ConnectReturnCode::RefusedProtocolVersion).await?;
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn refuse(&mut self, code: ConnectReturnCode) -> Result<(), End> {
        self.put(&Packet::ConnAck(ConnAck::new(code, false)))?;
        self.flush().await
    }

    async fn attach(&mut self, connect: &Connect) -> Result<Attached, End> {
        if connect.client_id.is_empty() && !connect.clean_session {
            self.refuse(ConnectReturnCode::BadClientId).await?;
            return Err(End::Refused(ConnectReturnCode::BadClientId));
        }
        let made;
        let id = if connect.client_id.is_empty() {
            made = format!("auto-{}", uuid::Uuid::new_v4());
            &made
        } else {
            &connect.client_id
        };
        let Ok(attached) = self.router.attach(id, connect.clean_session) else {
            self.refuse(ConnectReturnCode::ServiceUnavailable).await?;
            return Err(End::Refused(ConnectReturnCode::ServiceUnavailable));
        };
        self.put(&Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, attached.session_present)))?;
        for packet in &attached.repeat {
            self.put(packet)?;
        }
        debug!(client = %attached.id, "MQTT client connected");
        Ok(attached)
    }

    async fn serve(
        &mut self,
        attached: &Attached,
        keep_alive: u16,
        token: CancellationToken,
    ) -> Result<std::convert::Infallible, End> {
        let patience = (keep_alive > 0).then(|| Duration::from_secs(u64::from(keep_alive)).mul_f32(1.5));
        let mut heard = Instant::now();
        loop {
            // Packets that came together are handled before anything is written: their acknowledgements share a write.
            while self.pending.len() < UNACKNOWLEDGED
                && let Some(packet) = frame::next(&mut self.input, self.router.limits().packet_bytes)?
            {
                self.take(attached, packet).await?;
            }
            self.fill(attached);
            self.flush().await?;
            let silence = patience.map(|patience| heard + patience);
            tokio::select! {
                biased;
                () = token.cancelled() => return Err(End::Shutdown),
                () = attached.kick.cancelled() => return Err(End::TakenOver),
                settled = next_settled(&mut self.pending) => self.acknowledge(attached, settled)?,
                () = attached.wake.notified() => {}
                read = read(&mut self.stream, &mut self.input), if self.pending.len() < UNACKNOWLEDGED => {
                    read?;
                    heard = Instant::now();
                }
                () = until(silence) => return Err(End::Silent),
            }
        }
    }

    async fn take(&mut self, attached: &Attached, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.publish(attached, publish).await,
            Packet::PubAck(PubAck { pkid }) | Packet::PubComp(PubComp { pkid }) => {
                self.session(attached, |session, _| session.settled(pkid))
            }
            Packet::PubRec(PubRec { pkid }) => {
                self.session(attached, |session, _| session.recorded(pkid))?;
                self.put(&Packet::PubRel(PubRel::new(pkid)))
            }
            Packet::PubRel(PubRel { pkid }) => {
                self.session(attached, |session, _| session.release(pkid))?;
                self.put(&Packet::PubComp(PubComp::new(pkid)))
            }
            Packet::Subscribe(subscribe) => self.subscribe(attached, subscribe),
            Packet::Unsubscribe(unsubscribe) => {
                self.session(attached, |session, _| {
                    unsubscribe.topics.iter().for_each(|filter| session.unsubscribe(filter));
                })?;
                self.put(&Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid)))
            }
            Packet::PingReq => self.put(&Packet::PingResp),
            Packet::Disconnect => Err(End::Goodbye),
            Packet::Connect(_) => Err(FrameError::Violation("MQTT-3.1.0-2: a second CONNECT").into()),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(FrameError::Violation("a packet that only a server sends").into())
            }
        }
    }

    async fn publish(&mut self, attached: &Attached, publish: Publish) -> Result<(), End> {
        let (identifier, qos) = (publish.pkid, publish.qos);
        let repeated =
            qos == QoS::ExactlyOnce && !self.session(attached, |session, _| session.receive(identifier))?;
        let outcome = if repeated {
            Outcome::Settled
        } else {
            // Subscribers see the message before they see what we answer to it.
            self.router.publish(&publish.topic, &publish.payload, qos, publish.retain);
            self.sink.take(&publish.topic, publish.payload).await
        };
        // Without a QoS nobody waits for the outcome; the sink has told the sender what went wrong.
        if qos != QoS::AtMostOnce {
            self.pending.push_back(Pending { publish: (identifier, qos), outcome });
        }
        Ok(())
    }

    fn acknowledge(&mut self, attached: &Attached, settled: Vec<((u16, QoS), bool)>) -> Result<(), End> {
        for ((identifier, qos), stored) in settled {
            match (qos, stored) {
                (QoS::ExactlyOnce, true) => self.put(&Packet::PubRec(PubRec::new(identifier)))?,
                (_, true) => self.put(&Packet::PubAck(PubAck::new(identifier)))?,
                (_, false) => {
                    self.session(attached, |session, _| session.release(identifier))?;
                    // MQTT 3.1.1 has no "no": only a client that reconnects sends again.
                    return Err(End::NotStored);
                }
            }
        }
        Ok(())
    }

    fn subscribe(&mut self, attached: &Attached, subscribe: Subscribe) -> Result<(), End> {
        let mut filters = Vec::with_capacity(subscribe.filters.len());
        for wanted in subscribe.filters {
            let filter = Filter::new(&wanted.path)
                .map_err(|_| FrameError::Violation("MQTT-4.7.1: wildcards of a topic filter"))?;
            filters.push((filter, wanted.qos));
        }
        let granted: Vec<QoS> = filters.iter().map(|(_, qos)| *qos).collect();
        // The SUBACK goes out before the retained messages that the subscription queues.
        let taken = self.router.subscribe(attached, filters);
        let codes = granted.into_iter().zip(taken).map(|(qos, taken)| match taken {
            true => SubscribeReasonCode::Success(qos),
            false => SubscribeReasonCode::Failure,
        });
        self.put(&Packet::SubAck(SubAck::new(subscribe.pkid, codes.collect())))
    }

    async fn speak_will(&mut self, will: LastWill) {
        self.router.publish(&will.topic, &will.message, will.qos, will.retain);
        if let Outcome::Waiting(verdict) = self.sink.take(&will.topic, will.message).await {
            // Nobody is left to be told.
            let _ = verdict.await;
        }
    }

    fn session<T>(
        &self,
        attached: &Attached,
        work: impl FnOnce(&mut super::session::Session, &super::Limits) -> T,
    ) -> Result<T, End> {
        self.router.with(attached, work).ok_or(End::TakenOver)
    }

    /// Moves what waits for the client into the output, up to a chunk.
    fn fill(&mut self, attached: &Attached) {
        while self.output.len() < CHUNK
            && let Some(Some(packet)) = self.router.with(attached, |session, limits| session.next(limits))
        {
            if self.put(&packet).is_err() {
                break;
            }
        }
        if self.output.len() >= CHUNK {
            attached.wake.notify_one();
        }
    }

    fn put(&mut self, packet: &Packet) -> Result<(), End> {
        packet.write(&mut self.output, usize::MAX).map_err(FrameError::Malformed)?;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        timeout(STALLED, self.stream.write_all_buf(&mut self.output)).await.map_err(|_| End::Stalled)??;
        if self.output.capacity() > 4 * CHUNK {
            self.output = BytesMut::with_capacity(1024);
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), End> {
        read(&mut self.stream, &mut self.input).await
    }
}

/// Reads what is there. The buffer only grows by what the packet at hand declares, within the limit.
async fn read(stream: &mut TcpStream, input: &mut BytesMut) -> Result<(), End> {
    if input.is_empty() && input.capacity() > KEPT {
        *input = BytesMut::with_capacity(1024);
    }
    input.reserve(1024);
    match stream.read_buf(input).await? {
        0 => Err(End::Closed),
        _ => Ok(()),
    }
}

/// All acknowledgements at the front whose outcome is known; waits for the first.
async fn next_settled(pending: &mut VecDeque<Pending>) -> Vec<((u16, QoS), bool)> {
    poll_fn(|context| {
        let mut settled = Vec::new();
        while let Some(front) = pending.front_mut() {
            let stored = match &mut front.outcome {
                Outcome::Settled => true,
                Outcome::Waiting(verdict) => match poll_receiver(verdict, context) {
                    Poll::Ready(stored) => stored,
                    Poll::Pending => break,
                },
            };
            settled.push((front.publish, stored));
            pending.pop_front();
        }
        if settled.is_empty() { Poll::Pending } else { Poll::Ready(settled) }
    })
    .await
}

fn poll_receiver(
    verdict: &mut oneshot::Receiver<Verdict>,
    context: &mut std::task::Context<'_>,
) -> Poll<bool> {
    std::pin::Pin::new(verdict).poll(context).map(|verdict| verdict.is_ok_and(|verdict| verdict.is_settled()))
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
