//! One client's connection: reads packets, hands them on, acknowledges what may be acknowledged, writes what waits.

mod answers;
mod end;
mod handshake;
mod publish;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use mqtt_proto::v5::{
    Disconnect, DisconnectReasonCode, Packet, Pubrel, PubrelReasonCode, Subscribe, SubscribeReasonCode,
    Unsubscribe,
};
use mqtt_proto::{Pid, TopicName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::filter::Filter;
use super::frame::{FrameError, Frames, Version};
use super::journal::Ticket;
use super::login::Users;
use super::router::{Attached, Due, Router};
use super::session::{Ending, Subscription};
use super::{Outcome, Sink};
use answers::{Answer, Answers, Reply};
pub(super) use end::End;
use handshake::Introduced;

/// How long a new connection may take to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(10);
/// How long a write may make no progress, and how long a new session may wait for the disk.
const STALLED: Duration = Duration::from_secs(20);
/// How long a client whose message could not be stored is kept waiting before it is put out.
const BACK_PRESSURE: Duration = Duration::from_secs(1);
/// Acknowledgements that may wait for the store before the client is read again.
const UNACKNOWLEDGED: usize = 2048;
/// Publishes with a QoS that a client of MQTT 5 may have unsettled.
const RECEIVE_MAXIMUM: u16 = 2048;
/// Topic aliases that a client of MQTT 5 may set.
const TOPIC_ALIASES: u16 = 32;
/// Bytes written in one go.
const CHUNK: usize = 16 * 1024;
/// A read buffer that grew beyond this for one packet is given back.
const KEPT: usize = 16 * 1024;

/// What a client is connected by.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

pub(super) struct Connection<T, S> {
    stream: T,
    input: BytesMut,
    output: BytesMut,
    frames: Frames,
    router: Router,
    users: Option<Arc<Users>>,
    sink: S,
    answers: Answers,
    durable: watch::Receiver<Ticket>,
    aliases: HashMap<u16, TopicName>,
    /// It was said that the client publishes what it may not.
    denied: bool,
}

impl<T: Stream, S: Sink> Connection<T, S> {
    pub(super) fn new(stream: T, router: Router, users: Option<Arc<Users>>, sink: S) -> Self {
        Self {
            stream,
            input: BytesMut::with_capacity(1024),
            output: BytesMut::with_capacity(1024),
            frames: Frames::new(router.limits().packet_bytes),
            durable: router.durable(),
            router,
            users,
            sink,
            answers: Answers::default(),
            aliases: HashMap::new(),
            denied: false,
        }
    }

    /// Serves the client until one side has had enough.
    pub(super) async fn run(mut self, token: CancellationToken) -> End {
        let introduced = tokio::select! {
            introduced = self.introduction() => introduced,
            () = token.cancelled() => return End::Shutdown,
        };
        let Introduced { attached, keep_alive, mut expiry, window } = match introduced {
            Ok(introduced) => introduced,
            Err(end) => {
                let _ = timeout(Duration::from_secs(1), self.flush()).await;
                let _ = timeout(Duration::from_secs(1), self.stream.shutdown()).await;
                return end;
            }
        };
        let session = Serving { attached: &attached, window, expiry: &mut expiry };
        let end = match self.serve(session, keep_alive, token).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        // What was said for the client is said before the door closes: an answer may be the reason why it closes.
        self.fill(&attached, window);
        if let Some(reason) = end.reason() {
            self.say_why(reason, &end);
        }
        let _ = timeout(Duration::from_secs(1), self.flush()).await;
        if matches!(end, End::NotStored) {
            // Time to read why, and a brake: the client comes back with the same message at once.
            sleep(BACK_PRESSURE).await;
        }
        let _ = timeout(Duration::from_secs(1), self.stream.shutdown()).await;
        self.depart(&attached).await;
        // Whether a repetition on another connection is one depends on what becomes of the first.
        let _ = timeout(STALLED, self.answers.see_off()).await;
        end
    }

    /// The connection is over: what is to be said now of those who are gone is said.
    async fn depart(&mut self, attached: &Attached) {
        for will in self.router.detach(attached) {
            speak(&self.router, &self.sink, will).await;
        }
    }

    async fn serve(
        &mut self,
        mut session: Serving<'_>,
        keep_alive: u16,
        token: CancellationToken,
    ) -> Result<std::convert::Infallible, End> {
        let attached = session.attached;
        let patience = (keep_alive > 0).then(|| Duration::from_secs(u64::from(keep_alive)).mul_f32(1.5));
        let mut heard = Instant::now();
        loop {
            // Packets that came together are handled before anything is written: their acknowledgements share a write.
            while self.answers.len() < UNACKNOWLEDGED
                && let Some(packet) = self.frames.next(&mut self.input)?
            {
                heard = Instant::now();
                self.take(&mut session, packet).await?;
            }
            self.answer(attached)?;
            self.fill(attached, session.window);
            self.flush().await?;
            let reads = self.answers.len() < UNACKNOWLEDGED;
            if !reads {
                // Who is not read cannot be heard.
                heard = Instant::now();
            }
            let silence = patience.map(|patience| heard + patience);
            tokio::select! {
                biased;
                () = token.cancelled() => return Err(End::Shutdown),
                () = attached.kick.cancelled() => return Err(End::TakenOver),
                () = self.answers.hear() => {}
                changed = self.durable.changed() => {
                    // The sender lives in our own router.
                    let _ = changed;
                }
                () = attached.wake.notified() => {}
                read = read(&mut self.stream, &mut self.input), if reads => read?,
                () = until(silence) => return Err(End::Silent),
            }
        }
    }

    async fn take(&mut self, session: &mut Serving<'_>, packet: Packet) -> Result<(), End> {
        let attached = session.attached;
        match packet {
            Packet::Publish(publish) => self.publish(attached, publish).await,
            Packet::Puback(ack) => self.settled(attached, ack.pid, Ending::Acknowledged),
            Packet::Pubcomp(ack) => self.settled(attached, ack.pid, Ending::Completed),
            // MQTT5-4.4.0-2: a refusal ends it.
            Packet::Pubrec(ack) if ack.reason_code as u8 >= 0x80 => {
                self.settled(attached, ack.pid, Ending::Refused)
            }
            Packet::Pubrec(ack) => self.recorded(attached, ack.pid),
            Packet::Pubrel(release) => {
                let pid = release.pid;
                let (found, ticket) =
                    self.session(attached, |session, _, journal| session.complete(pid, journal))?;
                self.answers.push(Answer::settled(Reply::Completed { pid, found }, ticket));
                Ok(())
            }
            Packet::Subscribe(subscribe) => {
                self.subscribe(attached, subscribe).await;
                Ok(())
            }
            Packet::Unsubscribe(Unsubscribe { pid, topics, .. }) => {
                // MQTT 3.1.1 has no "no" to it: who reconnects asks again.
                if !self.may_note(attached).await {
                    return Err(End::NotStored);
                }
                let (codes, ticket) =
                    self.router.unsubscribe(attached, topics.iter().map(|filter| &**filter));
                self.answers.push(Answer::settled(Reply::Unsubscribed { pid, codes }, ticket));
                Ok(())
            }
            Packet::Pingreq => self.put(Packet::Pingresp).map(drop),
            Packet::Disconnect(disconnect) => Err(self.goodbye(session, &disconnect)),
            Packet::Connect(_) => Err(FrameError::Violation("MQTT-3.1.0-2: a second CONNECT").into()),
            _ => Err(FrameError::Violation("a packet that only a server sends").into()),
        }
    }

    fn goodbye(&mut self, serving: &mut Serving<'_>, disconnect: &Disconnect) -> End {
        if let Some(expiry) = disconnect.properties.session_expiry_interval {
            if *serving.expiry == 0 && expiry > 0 {
                return FrameError::Violation(
                    "MQTT5-3.14.2.2.2: a session that was to end cannot be made to last",
                )
                .into();
            }
            *serving.expiry = expiry;
            let _ = self.session(serving.attached, |session, _, journal| {
                session.expiry = expiry;
                session.note_itself(None, journal)
            });
        }
        match disconnect.reason_code {
            DisconnectReasonCode::NormalDisconnect => {
                // MQTT-3.1.2-10: who takes its leave has no will any more.
                self.router.renounce(serving.attached);
                End::Goodbye
            }
            _ => End::GoodbyeWithWill,
        }
    }

    fn settled(&mut self, attached: &Attached, pid: Pid, ending: Ending) -> Result<(), End> {
        self.session(attached, |session, _, journal| session.settled(pid, ending, journal))
    }

    fn recorded(&mut self, attached: &Attached, pid: Pid) -> Result<(), End> {
        match self.session(attached, |session, _, journal| session.recorded(pid, journal))? {
            Some(ticket) => {
                self.answers.push(Answer::settled(Reply::Release { pid }, ticket));
                Ok(())
            }
            None => self.put(Pubrel::new(pid, PubrelReasonCode::PacketIdentifierNotFound).into()).map(drop),
        }
    }

    /// Whether changes of the session find room on their way to the disk, or need none.
    async fn may_note(&mut self, attached: &Attached) -> bool {
        let lasts = self.router.with(attached, |session, _, _| session.lasts()).unwrap_or(false);
        !lasts || self.router.has_room().await
    }

    async fn subscribe(&mut self, attached: &Attached, subscribe: Subscribe) {
        let identifier = subscribe.properties.subscription_id;
        let room = self.may_note(attached).await;
        let wanted = subscribe.topics.into_iter().map(|(text, options)| {
            if !room {
                return Err(SubscribeReasonCode::QuotaExceeded);
            }
            let (shared, filter) =
                Filter::shared(&text).map_err(|_| SubscribeReasonCode::TopicFilterInvalid)?;
            Ok(Subscription { text: (&*text).into(), filter, shared, options, identifier })
        });
        // The SUBACK goes out before the retained messages that the subscription queues.
        let (codes, ticket) = self.router.subscribe(attached, wanted.collect());
        self.answers.push(Answer::settled(Reply::Subscribed { pid: subscribe.pid, codes }, ticket));
    }

    /// Says what may be said: the outcome is known, and what it promises is on disk.
    fn answer(&mut self, attached: &Attached) -> Result<(), End> {
        while let Some((answer, stored)) = self.answers.heard() {
            if !stored {
                // MQTT 3.1.1 has no "no", and who hears one from MQTT 5 gives the message up: only a client that
                // reconnects sends it again.
                return Err(End::NotStored);
            }
            let ticket = match answer.reply {
                Reply::Received { pid } => {
                    self.session(attached, |session, _, journal| session.kept(pid, journal))?
                }
                _ => 0,
            };
            self.answers.wait_for_disk(answer, ticket);
        }
        let durable = *self.durable.borrow_and_update();
        while let Some(reply) = self.answers.due(durable) {
            self.put(reply.packet())?;
        }
        Ok(())
    }

    fn session<R>(
        &self,
        attached: &Attached,
        work: impl FnOnce(&mut super::session::Session, &super::Limits, &mut super::journal::Journal) -> R,
    ) -> Result<R, End> {
        self.router.with(attached, work).ok_or(End::TakenOver)
    }

    /// Moves what waits for the client into the output, up to a chunk.
    fn fill(&mut self, attached: &Attached, window: usize) {
        if self.answers.holds_deliveries() {
            return;
        }
        let durable = *self.durable.borrow();
        while self.output.len() < CHUNK {
            let next = |session: &mut super::session::Session, _: &_, journal: &mut _| {
                session.next(window, durable, journal, Instant::now())
            };
            let Some(Some(packet)) = self.router.with(attached, next) else { break };
            let pid = match &packet {
                Packet::Publish(publish) => publish.qos_pid.pid(),
                _ => None,
            };
            // MQTT5-3.1.2-24, -25: what is too long for the client counts as delivered.
            if let (Ok(false), Some(pid)) = (self.put(packet), pid) {
                let _ = self.settled(attached, pid, Ending::TooLong);
            }
        }
        if self.output.len() >= CHUNK {
            attached.wake.notify_one();
        }
    }

    fn say_why(&mut self, reason: DisconnectReasonCode, end: &End) {
        let mut disconnect = Disconnect::new(reason);
        disconnect.properties.reason_string = Some(end.to_string().into());
        if self.frames.version() == Some(Version::V5)
            && let Ok(false) = self.put(disconnect.into())
        {
            // MQTT5-3.14.2-3: what is too long with words goes without.
            let _ = self.put(Disconnect::new(reason).into());
        }
    }

    fn put(&mut self, packet: Packet) -> Result<bool, End> {
        Ok(self.frames.put(packet, &mut self.output)?)
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all_buf(&mut self.output).await?;
            self.stream.flush().await
        };
        timeout(STALLED, write).await.map_err(|_| End::Stalled)??;
        if self.output.capacity() > 4 * CHUNK {
            self.output = BytesMut::with_capacity(1024);
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), End> {
        read(&mut self.stream, &mut self.input).await
    }
}

/// What is being served.
struct Serving<'a> {
    attached: &'a Attached,
    /// Publishes with a QoS that may be on their way to the client at a time.
    window: usize,
    expiry: &'a mut u32,
}

/// Says a will: to everybody, and to this process. What this process could not store it is told again after a restart.
pub(super) async fn speak<S: Sink>(router: &Router, sink: &S, will: Due) {
    router.say(&will);
    let Due { number, message, .. } = will;
    let heard = match sink.take(&message.topic, message.payload).await {
        Outcome::Settled => true,
        Outcome::Waiting(verdict) => verdict.await.is_ok_and(|verdict| verdict.is_settled()),
    };
    router.spoken(number, heard);
    debug!(topic = %message.topic, heard, "a will was spoken");
}

/// Reads what is there. The buffer only grows by what the packet at hand declares, within the limit.
async fn read(stream: &mut (impl AsyncRead + Unpin), input: &mut BytesMut) -> Result<(), End> {
    if input.is_empty() && input.capacity() > KEPT {
        *input = BytesMut::with_capacity(1024);
    }
    input.reserve(1024);
    match stream.read_buf(input).await? {
        0 => Err(End::Closed),
        _ => Ok(()),
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
