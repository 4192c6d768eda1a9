//! One client's connection: reads packets, hands them on, acknowledges what may be acknowledged, writes what waits.

mod answers;
mod end;
mod handshake;
mod output;
mod packets;
mod publish;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use mqtt_proto::TopicName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::frame::Frames;
use super::journal::{Journal, Ticket};
use super::login::Users;
use super::router::{Attached, Router};
use super::session::Session;
use super::speak::speak;
use super::{Limits, Sink};
use answers::Answers;
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

    fn session<R>(
        &self,
        attached: &Attached,
        work: impl FnOnce(&mut Session, &Limits, &mut Journal) -> R,
    ) -> Result<R, End> {
        self.router.with(attached, work).ok_or(End::TakenOver)
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
