//! The session's socket and clock: reads frames, runs the state machine, writes frames with a deadline.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, SplitSink, SplitStream};
use futures::{FutureExt, SinkExt, StreamExt};
use proto::message::{Message, MessageId};
use proto::pki::NodeName;
use proto::session::{Codec, Dialect, Item};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message as Frame};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{Farewell, Input, Output, Reply, Session, Settings, Upstream};
use crate::desired::{Desired, Subscription};
use crate::metrics::Metrics;

/// Frames that wait to be written. The state machine stays far below; reaching it means that a bound failed.
const OUTBOX: usize = 8192;
/// Malformed frames after which a peer is not worth listening to.
const MALFORMED_MAX: u32 = 16;
/// How long a goodbye may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// An accepted connection and who is at its other end.
pub struct Link<S> {
    /// The node that the client certificate names.
    pub node: NodeName,
    /// What was agreed during the handshake.
    pub dialect: Dialect,
    /// Turns items into frames and back.
    pub codec: Codec,
    /// The socket after the handshake.
    pub socket: WebSocketStream<S>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// cloudcore stops.
    #[error("cloudcore is stopping")]
    Stopping,
    /// The node connected again, or its node object was deleted.
    #[error("{0}")]
    Dismissed(&'static str),
    /// The peer said goodbye or vanished.
    #[error("the node closed the connection")]
    PeerClosed,
    /// The state machine ended it.
    #[error(transparent)]
    Farewell(#[from] Farewell),
    /// The socket failed, or the peer broke the websocket protocol or a size limit.
    #[error("the connection failed: {0}")]
    Socket(#[from] SocketError),
    /// The peer does not read what it is sent.
    #[error("a frame could not be written within {} s", .0.as_secs())]
    Stalled(Duration),
    /// More than [`OUTBOX`] frames wait to be written.
    #[error("more than {0} items wait to be written")]
    Overflow(usize),
    /// The peer sends what nobody can read.
    #[error("{0} malformed messages; the last: {1}")]
    Malformed(u32, String),
}

enum Outgoing {
    Item(Box<Item>),
    Ping,
}

/// What the writer has written since the conversation last looked.
#[derive(Default)]
struct Written {
    items: AtomicUsize,
    wake: Notify,
}

/// What every session shares.
pub struct Context<U> {
    /// Bounds and pauses.
    pub settings: Settings,
    /// What nodes should have.
    pub desired: Desired,
    /// Who deals with requests.
    pub upstream: Arc<U>,
    /// Counters.
    pub metrics: Metrics,
}

/// Holds the session until one side ends it. Never returns while something that it started still runs.
pub async fn serve<S, U>(
    link: Link<S>,
    context: &Context<U>,
    dismissed: CancellationToken,
    told: &mut mpsc::Receiver<Message>,
    stop: CancellationToken,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    U: Upstream,
{
    let Link { node, dialect, codec, socket } = link;
    let (sink, stream) = socket.split();
    let (outbox, frames) = mpsc::channel(OUTBOX);
    let written = Written::default();
    let mut writer =
        Writer { sink, codec: &codec, frames, written: &written, within: context.settings.write_within };
    let mut conversation = Conversation::new(&node, dialect, &codec, context, outbox, &written, stream);
    let ended = tokio::select! {
        ended = conversation.run(told) => ended,
        ended = writer.run() => ended,
        () = dismissed.cancelled() => Ended::Dismissed("the node connected again or was deleted"),
        () = stop.cancelled() => Ended::Stopping,
    };
    conversation.leave();
    writer.close(&ended).await;
    ended
}

// === the reading half ===

struct Conversation<'a, S, U> {
    node: &'a NodeName,
    codec: &'a Codec,
    context: &'a Context<U>,
    session: Session,
    keeps_record: bool,
    subscription: Subscription,
    outbox: mpsc::Sender<Outgoing>,
    written: &'a Written,
    stream: SplitStream<WebSocketStream<S>>,
    asked: FuturesUnordered<BoxFuture<'a, (MessageId, Reply)>>,
    began: Instant,
    in_flight: usize,
    malformed: u32,
}

impl<'a, S, U> Conversation<'a, S, U>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    U: Upstream,
{
    fn new(
        node: &'a NodeName,
        dialect: Dialect,
        codec: &'a Codec,
        context: &'a Context<U>,
        outbox: mpsc::Sender<Outgoing>,
        written: &'a Written,
        stream: SplitStream<WebSocketStream<S>>,
    ) -> Self {
        let keeps_record = dialect == Dialect::KubeEdge;
        let stored = if keeps_record { context.desired.stored(node) } else { Default::default() };
        Self {
            node,
            codec,
            context,
            session: Session::new(context.settings.clone(), dialect, stored),
            keeps_record,
            subscription: context.desired.subscribe(node),
            outbox,
            written,
            stream,
            asked: FuturesUnordered::new(),
            began: Instant::now(),
            in_flight: 0,
            malformed: 0,
        }
    }

    async fn run(&mut self, told: &mut mpsc::Receiver<Message>) -> Ended {
        loop {
            let inputs = tokio::select! {
                frame = self.stream.next(), if self.session.wants_input() => match frame {
                    None => return Ended::PeerClosed,
                    Some(Err(error)) => return error.into(),
                    Some(Ok(Frame::Close(_))) => return Ended::PeerClosed,
                    Some(Ok(frame)) => match self.read(frame) {
                        Ok(inputs) => inputs,
                        Err(ended) => return ended,
                    },
                },
                Some(message) = told.recv() => vec![Input::Tell(message)],
                changes = self.subscription.changes() => changes.into_iter().map(Input::Changed).collect(),
                Some((to, reply)) = self.asked.next(), if !self.asked.is_empty() => vec![Input::Answered { to, reply }],
                () = self.written.wake.notified() => vec![Input::Written(self.written.items.swap(0, Ordering::Relaxed))],
                () = tokio::time::sleep_until(self.began + self.session.wake_at().min(Duration::from_secs(3600))) => vec![Input::Tick],
            };
            for input in inputs {
                let outputs = self.session.step(input, self.began.elapsed());
                for output in outputs {
                    if let Err(ended) = self.act(output) {
                        return ended;
                    }
                }
            }
            self.count_in_flight();
        }
    }

    fn read(&mut self, frame: Frame) -> Result<Vec<Input>, Ended> {
        if frame.is_ping() || frame.is_pong() {
            return Ok(vec![Input::Heard]);
        }
        self.context.metrics.received_bytes.inc_by(frame.len() as u64);
        match self.codec.decode(frame) {
            Ok(items) => Ok(items.into_iter().map(Input::Received).collect()),
            Err(error) => {
                self.malformed += 1;
                self.context.metrics.malformed.inc();
                warn!(node = %self.node, "a malformed message was dropped: {error}");
                if self.malformed >= MALFORMED_MAX {
                    return Err(Ended::Malformed(self.malformed, error.to_string()));
                }
                Ok(vec![Input::Heard])
            }
        }
    }

    fn act(&mut self, output: Output) -> Result<(), Ended> {
        let metrics = &self.context.metrics;
        match output {
            Output::Send(item) => return self.put_out(Outgoing::Item(Box::new(item))),
            Output::Ping => return self.put_out(Outgoing::Ping),
            Output::Ask(request) => {
                metrics.requests.inc();
                let id = request.header.id.clone();
                let node = self.node;
                let handled = AssertUnwindSafe(self.context.upstream.handle(node, request)).catch_unwind();
                let answered = handled.map(move |reply| {
                    let reply = reply.unwrap_or_else(|_| {
                        error!(%node, "a request handler panicked; the node is told that it failed");
                        Reply::failed(
                            500,
                            "InternalError",
                            "cloudcore failed while it handled the request; its log has more",
                        )
                    });
                    (id, reply)
                });
                self.asked.push(answered.boxed());
            }
            Output::Offered(key, uid) => {
                if self.keeps_record {
                    self.context.desired.note_stored(self.node, &key, Some(&uid));
                }
            }
            Output::Stored(key, uid) => {
                metrics.confirmed.inc();
                if self.keeps_record {
                    self.context.desired.note_stored(self.node, &key, uid.as_deref());
                }
            }
            Output::Refused(key, reason) => {
                metrics.refused.inc();
                warn!(node = %self.node, object = %key, "the node refused an object: {reason}");
            }
            Output::Resent(key) => {
                metrics.resent.inc();
                debug!(node = %self.node, object = %key, "not confirmed; sent again");
            }
            Output::Close(farewell) => return Err(farewell.into()),
        }
        Ok(())
    }

    fn put_out(&self, outgoing: Outgoing) -> Result<(), Ended> {
        self.outbox.try_send(outgoing).map_err(|_| Ended::Overflow(OUTBOX))
    }

    fn count_in_flight(&mut self) {
        let now = self.session.in_flight();
        self.context.metrics.in_flight.inc_by(now as i64 - self.in_flight as i64);
        self.in_flight = now;
    }

    fn leave(&mut self) {
        self.context.metrics.in_flight.dec_by(self.in_flight as i64);
        self.in_flight = 0;
        self.asked.clear();
    }
}

// === the writing half ===

struct Writer<'a, S> {
    sink: SplitSink<WebSocketStream<S>, Frame>,
    codec: &'a Codec,
    frames: mpsc::Receiver<Outgoing>,
    written: &'a Written,
    within: Duration,
}

impl<S> Writer<'_, S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    async fn run(&mut self) -> Ended {
        let mut batch = Vec::new();
        loop {
            batch.clear();
            if self.frames.recv_many(&mut batch, 256).await == 0 {
                return Ended::Stopping;
            }
            let items: Vec<Item> = batch
                .drain(..)
                .filter_map(|outgoing| match outgoing {
                    Outgoing::Item(item) => Some(*item),
                    Outgoing::Ping => None,
                })
                .collect();
            let mut frames = self.encode(&items);
            if frames.is_empty() {
                frames.push(Frame::Ping(Default::default()));
            }
            for frame in frames {
                match tokio::time::timeout(self.within, self.sink.send(frame)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return error.into(),
                    Err(_) => return Ended::Stalled(self.within),
                }
            }
            self.written.items.fetch_add(items.len(), Ordering::Relaxed);
            self.written.wake.notify_one();
        }
    }

    /// One item that cannot be encoded (too large, say) must not take the others with it.
    fn encode(&self, items: &[Item]) -> Vec<Frame> {
        if items.is_empty() {
            return Vec::new();
        }
        match self.codec.encode(items) {
            Ok(frames) => frames,
            Err(_) => items
                .iter()
                .filter_map(|item| match self.codec.encode(std::slice::from_ref(item)) {
                    Ok(frames) => Some(frames),
                    Err(error) => {
                        error!("an item cannot be sent and is left out: {error}");
                        None
                    }
                })
                .flatten()
                .collect(),
        }
    }

    async fn close(&mut self, ended: &Ended) {
        let code = match ended {
            Ended::PeerClosed | Ended::Socket(_) => return,
            Ended::Stopping => CloseCode::Restart,
            Ended::Dismissed(_) => CloseCode::Policy,
            Ended::Malformed(..) => CloseCode::Invalid,
            Ended::Farewell(_) | Ended::Stalled(_) | Ended::Overflow(_) => CloseCode::Error,
        };
        let mut reason = ended.to_string();
        // A close frame's payload is at most 125 bytes, two of them the code.
        while reason.len() > 123 {
            reason.pop();
        }
        let goodbye = Frame::Close(Some(CloseFrame { code, reason: reason.into() }));
        if tokio::time::timeout(CLOSE_WITHIN, self.sink.send(goodbye)).await.is_err() {
            info!("the goodbye could not be written");
        }
    }
}
