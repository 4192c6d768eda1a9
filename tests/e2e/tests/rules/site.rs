//! An installation with rules, and a target in the cloud that writes down what it is sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use e2e::{EdgeOptions, Stack, StackOptions, disk, eventually, free_ports};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

#[derive(Clone, Default)]
struct Record {
    seen: Arc<Mutex<Vec<Seen>>>,
    status: Arc<AtomicU16>,
    slow: Arc<AtomicBool>,
}

/// A real HTTP server: a program on a node, or a target in the cloud. It answers with what it was sent.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    record: Record,
    task: Option<AbortOnDropHandle<()>>,
}

impl Server {
    pub(crate) async fn start() -> Result<Self> {
        let mut server =
            Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), record: Record::default(), task: None };
        server.answer_with(200);
        server.resume().await?;
        Ok(server)
    }

    /// Listens again on the same port.
    #[allow(clippy::disallowed_methods, reason = "the handle aborts the task")]
    pub(crate) async fn resume(&mut self) -> Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        self.address = listener.local_addr()?;
        let routes = axum::Router::new().fallback(note).with_state(self.record.clone());
        let served = tokio::spawn(async move {
            axum::serve(listener, routes).await.ok();
        });
        self.task = Some(AbortOnDropHandle::new(served));
        Ok(())
    }

    /// Refuses connections from now on; open ones end with the next request.
    pub(crate) async fn pause(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            task.await.ok();
        }
    }

    pub(crate) fn answer_with(&self, status: u16) {
        self.record.status.store(status, Ordering::SeqCst);
    }

    /// Whether it takes half a minute to answer.
    pub(crate) fn take_its_time(&self, slow: bool) {
        self.record.slow.store(slow, Ordering::SeqCst);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.record.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.body).collect()
    }
}

async fn note(State(record): State<Record>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    #[allow(clippy::disallowed_methods, reason = "a test's own requests")]
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("?").to_owned()));
    let seen = Seen {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    record.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    if record.slow.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    let status = StatusCode::from_u16(record.status.load(Ordering::SeqCst)).unwrap_or(StatusCode::OK);
    (status, [("x-answer", "yes")], body).into_response()
}

/// What a call was answered with.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: String,
}

pub(crate) async fn call(method: &str, url: &str, body: &[u8]) -> Result<Said> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = axum::http::Request::builder().method(method).uri(url).header("x-mine", "1");
    let response = client.request(request.body(Full::new(Bytes::copy_from_slice(body)))?).await?;
    let (head, body) = response.into_parts();
    #[allow(clippy::disallowed_methods, reason = "a test's own requests")]
    let body = body.collect().await?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Said { status: head.status.as_u16(), headers: head.headers, body })
}

/// The installation: node edge1, REST port and ServiceBus.
pub(crate) struct Site {
    pub(crate) stack: Stack,
    pub(crate) rest: u16,
    pub(crate) programs: u16,
}

impl Site {
    pub(crate) async fn start(router: Value) -> Result<Self> {
        Self::start_on(router, None).await
    }

    /// As [`Site::plain`], with the node's stores on a disk of so many bytes, in the folder `disk`.
    pub(crate) async fn on_a_small_disk(size: &str) -> Result<Self> {
        Self::start_on(json!({ "mode": "plain" }), Some(size)).await
    }

    async fn start_on(router: Value, size: Option<&str>) -> Result<Self> {
        let [rest, programs] = free_ports()?;
        let mut overlay = json!({ "modules": { "router": {
            "enable": true, "address": "127.0.0.1", "port": rest, "restTimeout": 5,
        } } });
        for (key, value) in router.as_object().into_iter().flatten() {
            overlay["modules"]["router"][key] = value.clone();
        }
        let mut stack =
            Stack::start(StackOptions { cloud_overlay: overlay, ..StackOptions::default() }).await?;
        let mut edge =
            json!({ "modules": { "serviceBus": { "enable": true, "port": programs, "timeout": 5 } } });
        if let Some(size) = size {
            let at = stack.dir().join("disk");
            disk::small(&at, size)?;
            edge["database"] = json!({ "dataSource": at.join("edgecore.db") });
        }
        stack.join(&EdgeOptions { overlay: edge, ..EdgeOptions::default() }).await?;
        let site = Self { stack, rest, programs };
        site.stack.apply(ENDPOINTS)?;
        Ok(site)
    }

    pub(crate) async fn plain() -> Result<Self> {
        Self::start(json!({ "mode": "plain" })).await
    }

    pub(crate) fn rule(&self, name: &str, spec: Value) -> Result<()> {
        let rule = json!({
            "apiVersion": "rules.kubeedge.io/v1", "kind": "Rule",
            "metadata": { "name": name, "namespace": "default" }, "spec": spec,
        });
        self.stack.apply(&rule.to_string())?;
        Ok(())
    }

    /// A rule for `room/t` of edge1.
    pub(crate) fn up(&self, name: &str, topic: &str, target: &Server) -> Result<()> {
        self.rule(
            name,
            json!({
                "source": "mqtt", "sourceResource": { "topic": topic, "node_name": "edge1" },
                "target": "web", "targetResource": { "resource": format!("http://{}/in", target.address) },
            }),
        )
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.rest)
    }

    /// Waits until the node's rules want so many topics and URLs of it.
    pub(crate) async fn wanted(&self, topics: usize, urls: usize) -> Result<()> {
        let line = format!("rules want {topics} topics and {urls} URLs of this node");
        let edge = self.stack.edge.as_ref().context("no edge")?;
        eventually(&line, LIMIT, || {
            let output = edge.output();
            let last = output.lines().rev().find(|text| text.contains("rules want ")).map(ToOwned::to_owned);
            let is = last.as_ref().is_some_and(|text| text.contains(&line));
            async move { if is { Ok(()) } else { Err(last) } }
        })
        .await
    }

    pub(crate) async fn status(&self, name: &str) -> Result<Value> {
        let text = self.stack.kubectl(&["get", "rule", name, "-o", "json"])?;
        Ok(serde_json::from_str::<Value>(&text)?["status"].clone())
    }
}

const ENDPOINTS: &str = r#"
{"apiVersion":"v1","kind":"List","items":[
{"apiVersion":"rules.kubeedge.io/v1","kind":"RuleEndpoint","metadata":{"name":"web","namespace":"default"},"spec":{"ruleEndpointType":"rest","properties":{}}},
{"apiVersion":"rules.kubeedge.io/v1","kind":"RuleEndpoint","metadata":{"name":"mqtt","namespace":"default"},"spec":{"ruleEndpointType":"eventbus","properties":{}}}
]}"#;

/// A client that hears what is published below `filter`.
pub(crate) struct Ear {
    events: rumqttc::EventLoop,
    _client: AsyncClient,
}

impl Ear {
    pub(crate) async fn on(port: u16, filter: &str) -> Result<Self> {
        let name = format!("ear-{}", filter.split('/').next().unwrap_or_default());
        let (client, mut events) = AsyncClient::new(MqttOptions::new(name, "127.0.0.1", port), 10);
        client.subscribe(filter, QoS::AtLeastOnce).await?;
        let subscribed = async {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::SubAck(_))) => return,
                    Ok(_) => {}
                    // The node has just been started.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(LIMIT, subscribed).await?;
        Ok(Self { events, _client: client })
    }

    pub(crate) async fn next(&mut self) -> Result<(String, Vec<u8>)> {
        let heard = async {
            loop {
                if let Event::Incoming(Packet::Publish(publish)) = self.events.poll().await? {
                    return anyhow::Ok((publish.topic, publish.payload.to_vec()));
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), heard).await.context("nothing was published")?
    }
}
