//! A cloud of a test's own: certificate service and websocket on real sockets with real TLS, and nothing behind.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgecore::edgehub::{self, Connection, Hub, Settings};
use edgecore::{metamanager, taskmanager};
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use proto::config::EdgeCore;
use proto::pki::{Authority, Identity, JoinToken, NodeName, ServerNames};
use proto::session::{Codec, Dialect, Item, Limits};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tasks::TaskSet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Upgrade, Response as Upgraded};

pub(crate) const NODE: &str = "edge1";
const SOON: Duration = Duration::from_secs(10);

/// How the certificate service behaves.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) names: ServerNames,
    /// Its clock, seen from the test's.
    pub(crate) clock: SignedDuration,
    /// Answers this to every request for a certificate.
    pub(crate) refusal: Option<(u16, &'static str)>,
    /// How long a certificate of a node lives.
    pub(crate) life: Duration,
    pub(crate) dialect: Dialect,
}

impl Default for Service {
    fn default() -> Self {
        let ips = [IpAddr::V4(Ipv4Addr::LOCALHOST)].into();
        Self {
            names: ServerNames { ips, ..ServerNames::default() },
            clock: SignedDuration::ZERO,
            refusal: None,
            life: Duration::from_secs(365 * 86_400),
            dialect: Dialect::SkerryV1,
        }
    }
}

pub(crate) struct Cloud {
    pub(crate) authority: Arc<Authority>,
    pub(crate) https: u16,
    pub(crate) websocket: u16,
    pub(crate) peers: mpsc::Receiver<Peer>,
    service: Service,
    identity: Identity,
    tasks: TaskSet,
}

/// The cloud's end of one connection.
pub(crate) struct Peer {
    pub(crate) headers: hyper::HeaderMap,
    socket: WebSocketStream<TlsStream<TcpStream>>,
    codec: Codec,
    heard: std::collections::VecDeque<Item>,
}

pub(crate) fn node() -> NodeName {
    NODE.parse().unwrap()
}

impl Cloud {
    pub(crate) async fn start(service: Service) -> Self {
        let there = Timestamp::now() + service.clock;
        let authority = Arc::new(Authority::generate(there).unwrap());
        let identity = authority.issue_server(&service.names, there).unwrap();
        Self::listen(service, authority, identity, 0, 0).await
    }

    /// Ends all connections and comes back on the same ports with the same certificates.
    pub(crate) async fn restart(self, away: Duration) -> Self {
        let Self { authority, https, websocket, service, identity, tasks, .. } = self;
        assert!(tasks.shutdown(Duration::from_millis(50)).await.stuck.is_empty());
        tokio::time::sleep(away).await;
        Self::listen(service, authority, identity, https, websocket).await
    }

    async fn listen(
        service: Service,
        authority: Arc<Authority>,
        identity: Identity,
        https: u16,
        websocket: u16,
    ) -> Self {
        let tasks = TaskSet::new("cloud");
        let certificates = TcpListener::bind((Ipv4Addr::LOCALHOST, https)).await.unwrap();
        let channel = TcpListener::bind((Ipv4Addr::LOCALHOST, websocket)).await.unwrap();
        let (https, websocket) =
            (certificates.local_addr().unwrap().port(), channel.local_addr().unwrap().port());
        let (found, peers) = mpsc::channel(4);
        let optional = acceptor(&authority, &identity, true);
        let required = acceptor(&authority, &identity, false);
        let (issuer, rules) = (Arc::clone(&authority), service.clone());
        tasks.spawn_once("https", move |_| serve_certificates(certificates, optional, issuer, rules));
        let dialect = service.dialect;
        tasks.spawn_once("websocket", move |_| serve_channel(channel, required, dialect, found));
        Self { authority, https, websocket, peers, service, identity, tasks }
    }

    pub(crate) fn token(&self) -> JoinToken {
        self.authority.mint_token(Duration::from_secs(3600), None, Timestamp::now() + self.service.clock)
    }

    /// Settings of an edge that would join this cloud, with all files in `directory`.
    pub(crate) fn settings(&self, directory: &Path, token: &str) -> Settings {
        let mut config = EdgeCore::default();
        config.modules.edged.hostname_override = NODE.into();
        let hub = &mut config.modules.edge_hub;
        hub.http_server = format!("https://127.0.0.1:{}", self.https);
        hub.websocket.server = format!("127.0.0.1:{}", self.websocket).parse().unwrap();
        hub.tls_ca_file = directory.join("ca/rootCA.crt");
        hub.tls_cert_file = directory.join("certs/server.crt");
        hub.tls_private_key_file = directory.join("certs/server.key");
        hub.bootstrap_file = directory.join("bootstrap-edgecore.conf");
        hub.token = token.into();
        let mut settings = Settings::from_config(&config, None).unwrap();
        settings.handshake_timeout = Duration::from_secs(2);
        settings.session.ping_every = Duration::from_millis(300);
        settings.session.dead_after = Duration::from_millis(900);
        settings
    }

    /// The next edge that connects.
    pub(crate) async fn peer(&mut self) -> Peer {
        tokio::time::timeout(SOON, self.peers.recv()).await.expect("no edge connects").unwrap()
    }
}

impl Peer {
    pub(crate) async fn say(&mut self, items: &[Item]) {
        for frame in self.codec.encode(items).unwrap() {
            self.socket.send(frame).await.unwrap();
        }
    }

    pub(crate) async fn say_frame(&mut self, frame: Frame) {
        self.socket.send(frame).await.unwrap();
    }

    /// The next message of KubeEdge's dialect as the JSON that it is on the wire.
    pub(crate) async fn hear_json(&mut self) -> serde_json::Value {
        loop {
            let frame = tokio::time::timeout(SOON, self.socket.next()).await.expect("the edge is silent");
            if let Frame::Text(text) = frame.expect("the edge hung up").unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// The next item, whatever it is; `None` when the edge hung up.
    pub(crate) async fn hear(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.heard.pop_front() {
                return Some(item);
            }
            let frame =
                tokio::time::timeout(SOON, self.socket.next()).await.expect("the edge is silent")?.ok()?;
            self.heard.extend(self.codec.decode(frame).unwrap());
        }
    }

    /// The next item that `pick` takes; others are passed over.
    pub(crate) async fn hear_that<T>(&mut self, mut pick: impl FnMut(Item) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.hear().await.expect("the edge hung up")) {
                return found;
            }
        }
    }
}

/// An edge's link and store, and what it takes to stop them.
pub(crate) struct Edge {
    pub(crate) hub: edgehub::Handle,
    pub(crate) store: metamanager::Handle,
    tasks: TaskSet,
}

impl Edge {
    pub(crate) async fn start(settings: Settings, directory: &Path) -> Self {
        Self::run(settings, directory, false).await
    }

    /// An edge that takes tasks too, and has no runtime to do them with.
    pub(crate) async fn start_with_jobs(settings: Settings, directory: &Path) -> Self {
        Self::run(settings, directory, true).await
    }

    async fn run(settings: Settings, directory: &Path, with_jobs: bool) -> Self {
        let tasks = TaskSet::new("edge");
        let (hub, link) = edgehub::channel();
        let store_settings = metamanager::Settings::new(directory.join("edgecore.db"), NODE);
        let store = metamanager::open(store_settings, hub.clone(), &tasks).await.unwrap();
        let mut outboxes: Vec<Arc<dyn edgehub::Outbox>> = vec![Arc::new(store.clone())];
        let mut jobs = None;
        if with_jobs {
            let settings = taskmanager::Settings::beside(&directory.join("edgecore.db"), NODE);
            let tools =
                taskmanager::Tools { images: None, store: store.clone(), connection: hub.connection() };
            let handle = taskmanager::open(settings, tools, &tasks).await;
            outboxes.push(Arc::new(handle.clone()));
            jobs = Some(handle);
        }
        edgehub::run(Hub { settings, link, store: store.clone(), jobs, rules: None, outboxes }, &tasks);
        Self { hub, store, tasks }
    }

    pub(crate) async fn connected(&self) -> Connection {
        let mut connection = self.hub.connection();
        let up = connection.wait_for(|connection| connection.is_up());
        match tokio::time::timeout(SOON, up).await {
            Ok(up) => *up.unwrap(),
            Err(_) => panic!("not connected: {:?}", *self.hub.trouble().borrow()),
        }
    }

    pub(crate) async fn disconnected(&self) {
        let mut connection = self.hub.connection();
        tokio::time::timeout(SOON, connection.wait_for(|connection| !connection.is_up()))
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn trouble(&self) -> String {
        let mut trouble = self.hub.trouble();
        let told =
            tokio::time::timeout(SOON, trouble.wait_for(Option::is_some)).await.expect("no trouble").unwrap();
        told.clone().unwrap()
    }

    pub(crate) async fn stop(self) {
        assert_eq!(self.tasks.shutdown(SOON).await, tasks::Report::default());
    }
}

fn acceptor(authority: &Authority, identity: &Identity, anonymous: bool) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let verifier = if anonymous { verifier.allow_unauthenticated() } else { verifier }.build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![identity.certificate.clone()], identity.key.rustls())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve_certificates(
    listener: TcpListener,
    tls: TlsAcceptor,
    authority: Arc<Authority>,
    service: Service,
) {
    let connections = TaskSet::new("certificates");
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let (tls, authority, service) = (tls.clone(), Arc::clone(&authority), service.clone());
        connections.spawn_once("connection", move |_| async move {
            let Ok(stream) = tls.accept(tcp).await else { return };
            let proven = stream.get_ref().1.peer_certificates().is_some();
            let service =
                service_fn(move |request| answer(request, proven, Arc::clone(&authority), service.clone()));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    proven: bool,
    authority: Arc<Authority>,
    service: Service,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let there = Timestamp::now() + service.clock;
    let date = jiff::fmt::rfc2822::to_string(&there.to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
    let reply = |status: u16, body: Vec<u8>| {
        let date = date.replace("+0000", "GMT");
        Ok(Response::builder().status(status).header("date", date).body(Full::new(body.into())).unwrap())
    };
    if request.uri().path() == "/ca.crt" {
        return reply(200, authority.certificate().to_vec());
    }
    if let Some((status, text)) = service.refusal {
        return reply(status, text.into());
    }
    let header = |name| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let node: NodeName = header("nodename").parse().unwrap();
    let bearer = header("authorization");
    if !proven && let Err(error) = authority.verify_bearer(bearer.trim_start_matches("Bearer "), &node, there)
    {
        return reply(401, error.to_string().into_bytes());
    }
    #[allow(clippy::disallowed_methods, reason = "limited")]
    let csr = Limited::new(request.into_body(), 1 << 20).collect().await.unwrap().to_bytes();
    reply(200, authority.issue_edge(&node, &csr, service.life, there).unwrap().to_vec())
}

async fn serve_channel(listener: TcpListener, tls: TlsAcceptor, dialect: Dialect, found: mpsc::Sender<Peer>) {
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let Ok(stream) = tls.accept(tcp).await else { continue };
        let mut headers = None;
        #[allow(clippy::result_large_err, reason = "tungstenite's callback has this type")]
        let upgrade = |request: &Upgrade, mut response: Upgraded| {
            headers = Some(request.headers().clone());
            if dialect == Dialect::SkerryV1 {
                let chosen = Dialect::SUBPROTOCOL.parse().unwrap();
                response.headers_mut().insert("sec-websocket-protocol", chosen);
            }
            Ok(response)
        };
        let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, upgrade).await else { continue };
        let codec = Codec::new(dialect, Limits::default());
        let peer = Peer { headers: headers.unwrap(), socket, codec, heard: Default::default() };
        if found.send(peer).await.is_err() {
            return;
        }
    }
}
