//! The recorded edge's side of the link: it says the recorded lines, confirms every push at once as the Go edge does, and
//! keeps what it hears until someone asks for it.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use proto::message::{Content, Group, Message, Operation, Source};
use proto::resource::{Resource, ResourceKind};
use proto::session::{Codec, Dialect, Item, Limits};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;

/// Longest wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Edge {
    say: mpsc::Sender<Message>,
    hear: mpsc::Receiver<Message>,
    heard: Vec<Message>,
    link: JoinHandle<()>,
}

impl Edge {
    pub(crate) fn new(socket: WebSocketStream<TlsStream<TcpStream>>) -> Self {
        let (say, said) = mpsc::channel(64);
        let (told, hear) = mpsc::channel(4096);
        #[expect(
            clippy::disallowed_methods,
            reason = "joined in close, aborted with the test's runtime otherwise"
        )]
        let link = tokio::spawn(run(socket, said, told));
        Self { say, hear, heard: Vec::new(), link }
    }

    pub(crate) async fn say(&self, message: Message) {
        self.say.send(message).await.unwrap();
    }

    /// The first message that fits, of those heard and those to come; it is taken out.
    pub(crate) async fn hear(&mut self, fits: impl Fn(&Message) -> bool) -> Option<Message> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.heard.iter().position(&fits) {
                return Some(self.heard.remove(at));
            }
            let next = tokio::time::timeout_at(deadline, self.hear.recv()).await.ok()??;
            assert_legal(&next);
            self.heard.push(next);
        }
    }

    /// What was heard and not yet asked for.
    pub(crate) fn heard(&self) -> impl Iterator<Item = &Message> {
        self.heard.iter()
    }

    pub(crate) async fn close(self) {
        drop(self.say);
        self.link.await.unwrap();
    }
}

async fn run(
    mut socket: WebSocketStream<TlsStream<TcpStream>>,
    mut said: mpsc::Receiver<Message>,
    told: mpsc::Sender<Message>,
) {
    let codec = Codec::new(Dialect::KubeEdge, Limits::default());
    loop {
        let out = tokio::select! {
            message = said.recv() => match message {
                Some(message) => vec![message],
                None => break,
            },
            frame = socket.next() => {
                let Some(Ok(frame)) = frame else { break };
                let mut acks = Vec::new();
                for item in codec.decode(frame).unwrap() {
                    let Item::Message(message) = item else { panic!("not KubeEdge's dialect") };
                    acks.extend(acknowledgement(&message));
                    // Nobody listens any more when the test is at its end.
                    let _ = told.send(message).await;
                }
                acks
            }
        };
        let items: Vec<Item> = out.into_iter().map(Item::Message).collect();
        for frame in codec.encode(&items).unwrap() {
            if socket.send(frame).await.is_err() {
                return;
            }
        }
    }
    let _ = socket.close(None).await;
}

/// As recorded: everything in group `resource` is confirmed, answers too; devices in the name of `meta` to group `twin`.
fn acknowledgement(message: &Message) -> Option<Message> {
    if message.route.group != Group::Resource || message.route.operation == Operation::Error {
        return None;
    }
    let device = message.route.resource.object().is_some_and(|key| {
        matches!(key.kind, ResourceKind::Device | ResourceKind::DeviceModel)
            && message.route.operation != Operation::Update
    });
    Some(match device {
        true => message.respond_as(Source::Meta, Group::Twin, Content::ok()),
        false => message.respond(Content::ok()),
    })
}

/// What every message to a Go edge must be, whatever it answers.
fn assert_legal(message: &Message) {
    let route = &message.route;
    assert_ne!(route.source, Source::MetaManager, "{message:?}");
    if message.header.parent.is_some() {
        assert!(matches!(route.operation, Operation::Response | Operation::Error), "{message:?}");
        assert!(matches!(route.group, Group::Resource | Group::User | Group::Twin), "{message:?}");
        return;
    }
    match route.group {
        Group::Twin => assert_eq!(route.source, Source::DeviceController, "{message:?}"),
        Group::Resource => {
            let sources = [
                Source::EdgeController,
                Source::DeviceController,
                Source::DynamicController,
                Source::PolicyController,
            ];
            assert!(sources.contains(&route.source), "{message:?}");
            assert!(
                matches!(route.operation, Operation::Insert | Operation::Update | Operation::Delete),
                "{message:?}"
            );
            assert!(matches!(route.resource, Resource::Object(_)), "{message:?}");
            assert!(message.content.get().starts_with('{'), "{message:?}");
        }
        _ => panic!("a Go edge has nobody for {message:?}"),
    }
}
