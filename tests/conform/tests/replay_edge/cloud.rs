//! The recorded cloud's side of the link: it lets the edge in, answers its requests with the recorded answers, and keeps
//! what it hears until someone asks for it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use conform::{Direction, Line};
use futures::{SinkExt, StreamExt};
use jiff::Timestamp;
use proto::devices;
use proto::message::{Content, Group, Message, Operation, Source};
use proto::pki::{Authority, Identity, NodeRequest, ServerNames};
use proto::resource::{Resource, ResourceKind};
use proto::session::{Codec, Dialect, Item, Limits};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tasks::TaskSet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderMap;

const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn codec() -> Codec {
    Codec::new(Dialect::KubeEdge, Limits::default())
}

pub(crate) fn decode(msg: &Value) -> Message {
    match codec().decode(Frame::text(msg.to_string())).unwrap().pop() {
        Some(Item::Message(message)) => message,
        other => panic!("expected a message, got {other:?}"),
    }
}

pub(crate) struct Cloud {
    authority: Authority,
    listener: TcpListener,
    tls: TlsAcceptor,
    tasks: TaskSet,
    link: Option<Link>,
}

struct Link {
    say: mpsc::Sender<Message>,
    hear: mpsc::Receiver<Message>,
    heard: Vec<Message>,
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        // Only the first call of a process installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let now = Timestamp::now();
        let authority = Authority::generate(now).unwrap();
        let ips = [IpAddr::V4(Ipv4Addr::LOCALHOST)].into();
        let server = authority.issue_server(&ServerNames { ips, ..ServerNames::default() }, now).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![server.certificate], server.key.rustls())
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Self { authority, listener, tls: Arc::new(config).into(), tasks: TaskSet::new("cloud"), link: None }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    pub(crate) fn ca_pem(&self) -> String {
        self.authority.pem()
    }

    /// A certificate of the node, so that it need not ask for one.
    pub(crate) fn identity(&self) -> Identity {
        let node = "edge1".parse().unwrap();
        let request = NodeRequest::new(&node).unwrap();
        let certificate = self.authority.issue_edge(&node, &request.csr, DAY, Timestamp::now()).unwrap();
        request.accept(&certificate, &node).unwrap()
    }

    /// Waits for the edge, and answers its requests with the answers in `lines` from then on.
    pub(crate) async fn peer(&mut self, lines: &[Line], log: String) -> HeaderMap {
        let arrival = async {
            let (tcp, _) = self.listener.accept().await.unwrap();
            let tls = self.tls.accept(tcp).await.unwrap();
            let mut headers = HeaderMap::new();
            #[expect(clippy::result_large_err, reason = "the shape that tungstenite asks for")]
            let look = |request: &Request, response: Response| {
                headers = request.headers().clone();
                // No subprotocol is selected: a KubeEdge cloud knows none.
                Ok(response)
            };
            (tokio_tungstenite::accept_hdr_async(tls, look).await.unwrap(), headers)
        };
        let arrived = tokio::time::timeout(Duration::from_secs(15), arrival).await;
        let (socket, headers) = arrived.unwrap_or_else(|_| panic!("the edge never came: {log}"));
        let (say, said) = mpsc::channel(64);
        let (told, hear) = mpsc::channel(4096);
        let answers = Answers::new(lines);
        self.tasks.spawn_once("link", move |_| run(socket, answers, said, told));
        self.link = Some(Link { say, hear, heard: Vec::new() });
        headers
    }

    pub(crate) async fn say(&self, message: Message) {
        self.link.as_ref().unwrap().say.send(message).await.unwrap();
    }

    /// The first message that fits, of those heard and those to come; it is taken out.
    pub(crate) async fn hear(&mut self, fits: impl Fn(&Message) -> bool, limit: Duration) -> Option<Message> {
        let link = self.link.as_mut().unwrap();
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            if let Some(at) = link.heard.iter().position(&fits) {
                return Some(link.heard.remove(at));
            }
            let next = tokio::time::timeout_at(deadline, link.hear.recv()).await.ok()??;
            link.heard.push(next);
        }
    }

    /// What was heard and not yet asked for.
    pub(crate) fn heard(&self) -> impl Iterator<Item = &Message> {
        self.link.iter().flat_map(|link| link.heard.iter())
    }
}

async fn run(
    mut socket: WebSocketStream<TlsStream<TcpStream>>,
    mut answers: Answers,
    mut said: mpsc::Receiver<Message>,
    told: mpsc::Sender<Message>,
) {
    loop {
        let out = tokio::select! {
            message = said.recv() => match message {
                Some(message) => Some(message),
                None => break,
            },
            frame = socket.next() => {
                let Some(Ok(frame)) = frame else { break };
                let Some(Item::Message(message)) = codec().decode(frame).unwrap().pop() else { continue };
                let answer = answers.to(&message);
                // Nobody listens any more when the test is at its end.
                let _ = told.send(message).await;
                answer
            }
        };
        if let Some(message) = out {
            let frames = codec().encode(&[Item::Message(message)]).unwrap();
            for frame in frames {
                if socket.send(frame).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The recorded answers, by what was asked.
struct Answers {
    recorded: Vec<(Operation, Resource, Message)>,
    version: u64,
}

impl Answers {
    fn new(lines: &[Line]) -> Self {
        let spoken: Vec<(Direction, Message)> =
            lines.iter().filter_map(|line| Some((line.dir, decode(line.msg.as_ref()?)))).collect();
        let asked = |answer: &Message| {
            let request = spoken.iter().find(|(_, m)| Some(&m.header.id) == answer.header.parent.as_ref());
            request.map(|(_, m)| (m.route.operation.clone(), m.route.resource.clone()))
        };
        let answers = spoken.iter().filter(|(dir, m)| *dir == Direction::Down && m.header.parent.is_some());
        let recorded =
            answers.filter_map(|(_, m)| asked(m).map(|(op, resource)| (op, resource, m.clone()))).collect();
        Self { recorded, version: 9000 }
    }

    fn to(&mut self, request: &Message) -> Option<Message> {
        let route = &request.route;
        if request.is_answer() || matches!(route.operation, Operation::Keepalive | Operation::Get) {
            return None;
        }
        if route.resource.device().is_some() {
            return Some(devices::confirm(request));
        }
        let kind = route.resource.object().map(|key| key.kind.clone());
        if kind == Some(ResourceKind::Event) {
            return None;
        }
        let mut answer = request.respond_as(Source::EdgeController, Group::Resource, Content::ok());
        if kind == Some(ResourceKind::Lease) && route.operation != Operation::Query {
            // The lease as it was asked for, one version on: the edge builds the next one on it.
            let mut lease: Value = request.content.parse().unwrap();
            self.version += 1;
            lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
            lease["metadata"]["uid"] = json!("7c8ff0a9-0000-4000-8000-000000000001");
            answer.content = proto::answer::Answer::object(&lease).unwrap();
            return Some(answer);
        }
        let recorded =
            self.recorded.iter().find(|(op, of, _)| *op == route.operation && *of == route.resource)?;
        answer.content = recorded.2.content.clone();
        answer.header.resource_version = recorded.2.header.resource_version.clone();
        Some(answer)
    }
}
