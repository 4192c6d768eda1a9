//! The shell around a session: socket, store, outboxes and clock. All it starts dies with it.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, SinkExt, StreamExt};
use proto::message::{Message, MessageId};
use proto::session::{Codec, Item};
use tasks::TaskSet;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Error, Message as Frame};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::dial::Channel;
use super::handle::{Link, Request};
use super::keepers::Keepers;
use super::outbox::Outbox;
use super::session::{Input, Output, Session, Ticket};
use super::{RequestError, Settings, courier};
use crate::metamanager;

/// Decoded frames that may wait for the session.
const FRAMES_IN: usize = 8;
/// Items that go out as one batch.
const BATCH: usize = 256;
/// How long a goodbye may take.
const GOODBYE: std::time::Duration = std::time::Duration::from_millis(500);

/// What comes from the tasks of this connection.
#[expect(
    clippy::large_enum_variant,
    reason = "moved once through a short queue: a box would cost more than it saves"
)]
#[derive(Debug)]
pub(super) enum Event {
    Input(Input),
    /// The socket is closed or broken; the reason is for people.
    Ended(String),
}

/// Something to say, in order.
#[expect(
    clippy::large_enum_variant,
    reason = "moved once through a short queue: a box would cost more than it saves"
)]
#[derive(Debug)]
enum Saying {
    Item(Item),
    Ping(u64),
}

/// Work of the store that the session waits for.
type Job = Pin<Box<dyn Future<Output = Event> + Send>>;

/// Serves the channel until it ends; says why it did.
pub(super) async fn serve(
    settings: &Settings,
    channel: Channel,
    store: &Keepers,
    outboxes: &[Arc<dyn Outbox>],
    link: &mut Link,
    tasks: &TaskSet,
    token: &CancellationToken,
) -> String {
    let Channel { socket, dialect, received } = channel;
    let codec = Codec::new(dialect, settings.limits);
    let (sink, stream) = socket.split();
    let (events, mut inbox) = mpsc::channel(FRAMES_IN);
    let (writer, frames) = mpsc::channel::<Vec<Frame>>(1);
    let from_socket = events.clone();
    tasks.spawn_once("reader", move |_| read(stream, codec, from_socket));
    let (from_writer, write_timeout) = (events.clone(), settings.write_timeout);
    tasks.spawn_once("writer", move |_| write(sink, frames, write_timeout, from_writer));
    let mut session_settings = settings.session.clone();
    if dialect == proto::session::Dialect::KubeEdge {
        session_settings.rate = Some(settings.kubeedge_rate);
    }
    let couriers = courier::spawn(outboxes, session_settings.window, &events, tasks);

    let mut shell = Shell {
        session: Session::new(&session_settings, dialect, outboxes.len(), Instant::now()),
        store: store.clone(),
        couriers,
        codec,
        sayings: VecDeque::new(),
        waiting: HashMap::new(),
        next_ticket: 0,
        jobs: FuturesUnordered::new(),
        end: None,
    };
    shell.jobs.push(inventory(store.objects.clone()));
    let mut rebuilds = store.objects.rebuilds();
    rebuilds.mark_unchanged();
    let mut heard = 0;
    shell.step(Input::Tick);
    loop {
        if let Some(reason) = shell.end {
            return reason;
        }
        let tick = shell.session.next_tick();
        tokio::select! {
            biased;
            () = token.cancelled() => {
                let _ = timeout(GOODBYE, writer.send(vec![Frame::Close(None)])).await;
                // The writer drops the socket when it has said goodbye.
                let _ = timeout(GOODBYE, writer.closed()).await;
                return "edgecore is shutting down".into();
            }
            permit = writer.reserve(), if !shell.sayings.is_empty() => match permit {
                Ok(permit) => permit.send(shell.next_batch()),
                Err(_) => return "the connection broke while writing".into(),
            },
            Some(event) = shell.jobs.next(), if !shell.jobs.is_empty() => shell.happened(event),
            Some(event) = inbox.recv(), if shell.session.can_receive() => shell.happened(event),
            Some(request) = link.requests.recv(), if shell.session.can_request() => shell.ask(request),
            Ok(()) = rebuilds.changed() => return "the store was rebuilt: the cloud must compare anew".into(),
            () = sleep_until(tick) => {
                let bytes = received.load(Ordering::Relaxed);
                let more = bytes != heard;
                heard = bytes;
                shell.step(if more { Input::Heard } else { Input::Tick });
            }
        }
    }
}

struct Shell {
    session: Session,
    store: Keepers,
    couriers: Vec<courier::Courier>,
    codec: Codec,
    /// Bounded by what the session has in flight: reports, requests, and acknowledgements of what it took.
    sayings: VecDeque<Saying>,
    waiting: HashMap<Ticket, oneshot::Sender<Result<Message, RequestError>>>,
    next_ticket: Ticket,
    /// At most one store order and one inventory.
    jobs: FuturesUnordered<Job>,
    end: Option<String>,
}

impl Shell {
    fn happened(&mut self, event: Event) {
        match event {
            Event::Input(input) => self.step(input),
            Event::Ended(reason) => self.end = Some(reason),
        }
    }

    fn ask(&mut self, request: Request) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(ticket, request.answer);
        self.step(Input::Request { ticket, message: request.message, deadline: request.deadline });
    }

    fn step(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.session.step(input, Instant::now(), &mut outputs);
        for output in outputs {
            self.act(output);
        }
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Send(item) => self.sayings.push_back(Saying::Item(item)),
            Output::Ping(number) => self.sayings.push_back(Saying::Ping(number)),
            Output::Store(messages) => {
                let store = self.store.clone();
                let job = async move { Event::Input(Input::Stored(store.accept(messages).await)) };
                self.jobs.push(job.boxed());
            }
            Output::Answer { ticket, answer } => {
                if let Some(waiting) = self.waiting.remove(&ticket) {
                    // Whoever asked may have given up.
                    let _ = waiting.send(answer);
                }
            }
            Output::Pull { outbox, limit, in_flight } => {
                self.carry(outbox, courier::Order::Pull { limit, in_flight });
            }
            Output::Confirm { outbox, row, version } => {
                self.carry(outbox, courier::Order::Confirm { row, version });
            }
            Output::Reject { outbox, row, version, reason } => {
                self.carry(outbox, courier::Order::Reject { row, version, reason });
            }
            Output::Close(reason) => self.end = Some(reason.into()),
        }
    }

    fn carry(&mut self, outbox: usize, order: courier::Order) {
        let given = self.couriers.get(outbox).is_some_and(|courier| courier.give(order));
        if !given {
            // Nothing is lost: what was not confirmed is sent again on the next connection.
            self.end = Some(format!("outbox {outbox} does not keep up with its confirmations"));
        }
    }

    /// The next sayings as frames. What cannot be encoded is dropped loudly, and whoever waits for it is told.
    fn next_batch(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut items = Vec::new();
        for saying in self.sayings.drain(..self.sayings.len().min(BATCH)).collect::<Vec<_>>() {
            match saying {
                Saying::Item(item) => items.push(item),
                Saying::Ping(number) => {
                    self.encode(std::mem::take(&mut items), &mut frames);
                    frames.push(Frame::Ping(Bytes::copy_from_slice(&number.to_be_bytes())));
                }
            }
        }
        self.encode(items, &mut frames);
        frames
    }

    fn encode(&mut self, items: Vec<Item>, frames: &mut Vec<Frame>) {
        if items.is_empty() {
            return;
        }
        if let Ok(encoded) = self.codec.encode(&items) {
            frames.extend(encoded);
            return;
        }
        for item in items {
            match self.codec.encode(std::slice::from_ref(&item)) {
                Ok(encoded) => frames.extend(encoded),
                Err(reason) => {
                    error!("a message cannot be sent: {reason}");
                    if let Some(id) = id(&item) {
                        self.step(Input::Unsendable { id, reason: reason.to_string() });
                    }
                }
            }
        }
    }
}

fn id(item: &Item) -> Option<MessageId> {
    match item {
        Item::Message(message) => Some(message.header.id.clone()),
        Item::Ack(_) | Item::Inventory(_) => None,
    }
}

fn inventory(store: metamanager::Handle) -> Job {
    async move {
        match store.inventory().await {
            Ok(held) => Event::Input(Input::Inventory(held)),
            // Without it the cloud would wait for ever; the next connection tries again.
            Err(reason) => Event::Ended(format!("the store cannot be listed: {reason}")),
        }
    }
    .boxed()
}

/// Decodes what comes until the socket ends.
async fn read<S>(mut stream: S, codec: Codec, events: mpsc::Sender<Event>)
where
    S: futures::Stream<Item = Result<Frame, Error>> + Unpin,
{
    let ended = loop {
        let event = match stream.next().await {
            None => break "the cloud closed the connection".to_owned(),
            Some(Err(Error::Io(reason))) if reason.kind() == ErrorKind::UnexpectedEof => {
                break "the cloud is gone without a goodbye".to_owned();
            }
            Some(Err(reason)) => break format!("the connection broke: {reason}"),
            Some(Ok(Frame::Close(frame))) => {
                let words = frame.map(|frame| format!(": {} {}", u16::from(frame.code), frame.reason));
                break format!("the cloud closed the connection{}", words.unwrap_or_default());
            }
            Some(Ok(Frame::Pong(number))) => match <[u8; 8]>::try_from(number.as_ref()) {
                Ok(number) => Input::Pong(u64::from_be_bytes(number)),
                Err(_) => Input::Heard,
            },
            Some(Ok(frame @ (Frame::Text(_) | Frame::Binary(_)))) => match codec.decode(frame) {
                Ok(items) => Input::Received(items),
                // One bad message does not end the link, as it does in KubeEdge: the rest is good.
                Err(reason) => {
                    warn!("the cloud sent something that cannot be read: {reason}");
                    Input::Heard
                }
            },
            Some(Ok(Frame::Ping(_) | Frame::Frame(_))) => Input::Heard,
        };
        if events.send(Event::Input(event)).await.is_err() {
            return;
        }
    };
    let _ = events.send(Event::Ended(ended)).await;
}

/// Writes what it is given, each batch within the timeout.
async fn write<S>(
    mut sink: S,
    mut batches: mpsc::Receiver<Vec<Frame>>,
    within: std::time::Duration,
    events: mpsc::Sender<Event>,
) where
    S: futures::Sink<Frame, Error = Error> + Unpin,
{
    let ended = loop {
        let Some(batch) = batches.recv().await else { return };
        let goodbye = batch.iter().any(Frame::is_close);
        let all = async {
            for frame in batch {
                sink.feed(frame).await?;
            }
            sink.flush().await
        };
        match timeout(within, all).await {
            Ok(Ok(())) if goodbye => return,
            Ok(Ok(())) => {}
            Ok(Err(reason)) => break format!("the connection broke while writing: {reason}"),
            Err(_) => break format!("the cloud took nothing for {} s", within.as_secs()),
        }
    };
    debug!("{ended}");
    let _ = events.send(Event::Ended(ended)).await;
}
