//! A small edge: connects in either dialect, acknowledges what it is sent, asks and reports.

use std::collections::VecDeque;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::pki::{Identity, NodeRequest};
use proto::resource::Resource;
use proto::session::{Ack, Codec, Dialect, Held, Inventory, Item, Limits, Outcome};
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message as Frame};

use super::https::{get, tls};
use super::{Cloud, node};

/// A connected edge.
pub struct Edge {
    pub name: String,
    pub dialect: Dialect,
    pub socket: WebSocketStream<TlsStream<TcpStream>>,
    codec: Codec,
    unread: VecDeque<Item>,
    /// Pushes that came while something else was waited for.
    pushes: VecDeque<Message>,
}

/// Gets a certificate as `keadm join` and edgecore do.
pub async fn join(cloud: &Cloud, name: &str) -> Identity {
    let authority = cloud.authority().await;
    let request = NodeRequest::new(&node(name)).expect("a request");
    let bearer = format!("Bearer {}", cloud.bearer().await);
    let headers = [("Nodename", name), ("Authorization", bearer.as_str())];
    let tls = tls(Some(authority.certificate()), None);
    let answer =
        get(cloud.app.https, tls, "/edge.crt", &headers, request.csr.clone()).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    request.accept(&answer.body, &node(name)).expect("a certificate")
}

/// Opens the channel with any identity and headers.
pub async fn dial(
    cloud: &Cloud,
    identity: &Identity,
    node_id: &str,
    dialect: Dialect,
) -> Result<WebSocketStream<TlsStream<TcpStream>>, SocketError> {
    let authority = cloud.authority().await;
    let address = cloud.app.websocket;
    let socket = TcpStream::connect(address).await?;
    let connector = TlsConnector::from(tls(Some(authority.certificate()), Some(identity)));
    let stream = connector.connect(ServerName::from(address.ip()), socket).await?;
    let url = format!("wss://{address}/e632aba927ea4ac2b575ec1603d56f10/{node_id}/events");
    let mut request = url.into_client_request()?;
    let headers = request.headers_mut();
    headers.insert("node_id", HeaderValue::from_str(node_id).expect("a name"));
    headers.insert("project_id", HeaderValue::from_static("e632aba927ea4ac2b575ec1603d56f10"));
    // KubeEdge's edge adds one more on every attempt.
    headers.append("connectionuse", HeaderValue::from_static("msg"));
    headers.append("connectionuse", HeaderValue::from_static("msg"));
    if dialect == Dialect::SkerryV1 {
        headers.insert("sec-websocket-protocol", HeaderValue::from_static(Dialect::SUBPROTOCOL));
    }
    Ok(tokio_tungstenite::client_async(request, stream).await?.0)
}

impl Edge {
    /// Joins, connects, and says that it holds nothing.
    pub async fn connect(cloud: &Cloud, name: &str, dialect: Dialect) -> Self {
        let identity = join(cloud, name).await;
        Self::reconnect(cloud, name, dialect, &identity, Vec::new()).await
    }

    pub async fn reconnect(
        cloud: &Cloud,
        name: &str,
        dialect: Dialect,
        identity: &Identity,
        held: Vec<Held>,
    ) -> Self {
        let socket = dial(cloud, identity, name, dialect).await.expect("connected");
        let codec = Codec::new(dialect, Limits::default());
        let mut edge = Self {
            name: name.into(),
            dialect,
            socket,
            codec,
            unread: VecDeque::new(),
            pushes: VecDeque::new(),
        };
        match dialect {
            Dialect::SkerryV1 => edge.send(Item::Inventory(Inventory { held, last: true })).await,
            Dialect::KubeEdge => edge.send(Item::Message(Message::keepalive())).await,
        }
        edge
    }

    /// Connects, registers its node, and waits until the node came back as a push.
    pub async fn registered(cloud: &Cloud, name: &str, dialect: Dialect) -> Self {
        let mut edge = Self::connect(cloud, name, dialect).await;
        let answer = edge.ask(&format!("null/node/{name}"), Operation::Insert, node_object(name)).await;
        assert!(proto::answer::parse(&answer.content).is_ok(), "{answer:?}");
        edge.pushed(&format!("null/node/{name}")).await;
        edge
    }

    /// Connects a node that may be registered already.
    pub async fn connect_or_register(cloud: &Cloud, name: &str, dialect: Dialect) -> Self {
        let mut edge = Self::connect(cloud, name, dialect).await;
        if cloud.nodes().get_opt(name).await.expect("the API answers").is_none() {
            edge.ask(&format!("null/node/{name}"), Operation::Insert, node_object(name)).await;
        }
        edge
    }

    pub async fn send(&mut self, item: Item) {
        for frame in self.codec.encode(&[item]).expect("encodes") {
            self.socket.send(frame).await.expect("sent");
        }
    }

    /// The next item, or `None` if the cloud closed the connection.
    pub async fn next(&mut self) -> Option<Item> {
        let item = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                if let Some(item) = self.unread.pop_front() {
                    return Some(item);
                }
                match self.socket.next().await? {
                    Ok(Frame::Close(_)) | Err(_) => return None,
                    Ok(frame) => self.unread.extend(self.codec.decode(frame).expect("decodes")),
                }
            }
        });
        item.await.expect("something comes within 10 s")
    }

    async fn acknowledge(&mut self, message: &Message, outcome: Outcome) {
        let item = match self.dialect {
            Dialect::SkerryV1 => Item::Ack(Ack::of(message, outcome)),
            Dialect::KubeEdge => Item::Message(message.respond(Content::ok())),
        };
        self.send(item).await;
    }

    /// Sends a message and waits for its answer or acknowledgement; pushes in between are acknowledged.
    pub async fn deliver(&mut self, message: Message) -> Item {
        let id = message.header.id.clone();
        self.send(Item::Message(message)).await;
        loop {
            let item = self.next().await.expect("the connection lives");
            match &item {
                Item::Message(answer) if answer.header.parent.as_ref() == Some(&id) => return item,
                Item::Ack(ack) if ack.of == id => return item,
                Item::Message(push) if push.header.parent.is_none() => {
                    let push = push.clone();
                    self.acknowledge(&push, Outcome::Done).await;
                    self.pushes.push_back(push);
                }
                _ => {}
            }
        }
    }

    pub fn message(&self, resource: &str, operation: Operation, content: Content) -> Message {
        Message::new(Route::new(Source::Edged, Group::Meta, operation, Resource::from(resource)), content)
    }

    /// A request and its answer.
    pub async fn ask(&mut self, resource: &str, operation: Operation, content: Value) -> Message {
        let content = Content::json(&content).expect("json");
        match self.deliver(self.message(resource, operation, content)).await {
            Item::Message(answer) => answer,
            other => panic!("expected an answer to {resource}, got {other:?}"),
        }
    }

    /// A device report and what became of it.
    pub async fn report(&mut self, resource: &str, content: Value) -> Item {
        let content = Content::json(&content).expect("json");
        let route = Route::new(Source::Twin, Group::Resource, Operation::Update, Resource::from(resource));
        self.deliver(Message::new(route, content)).await
    }

    /// All pushes that have come and come until there is silence this long; acknowledged, in their order.
    pub async fn pushed_within(&mut self, silence: Duration) -> Vec<Message> {
        let mut pushes: Vec<Message> = std::mem::take(&mut self.pushes).into();
        while let Ok(item) = tokio::time::timeout(silence, self.next()).await {
            let Some(item) = item else { break };
            if let Item::Message(push) = item
                && push.header.parent.is_none()
            {
                self.acknowledge(&push, Outcome::Done).await;
                pushes.push(push);
            }
        }
        pushes
    }

    /// Waits for a push about this object; acknowledges it and all before it.
    pub async fn pushed(&mut self, resource: &str) -> Message {
        if let Some(at) = self.pushes.iter().position(|push| push.route.resource.to_string() == resource) {
            return self.pushes.remove(at).expect("it is there");
        }
        loop {
            let Some(Item::Message(push)) = self.next().await else { panic!("no push of {resource}") };
            if push.header.parent.is_some() {
                continue;
            }
            self.acknowledge(&push.clone(), Outcome::Done).await;
            if push.route.resource.to_string() == resource {
                return push;
            }
            self.pushes.push_back(push);
        }
    }
}

pub fn node_object(name: &str) -> Value {
    serde_json::json!({
        "metadata": {"name": name, "creationTimestamp": null, "labels": {
            "kubernetes.io/hostname": name, "node-role.kubernetes.io/edge": "", "node-role.kubernetes.io/agent": ""}},
        "spec": {},
        "status": {"capacity": {"cpu": "4"}, "conditions": [{"type": "Ready", "status": "False",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    })
}
