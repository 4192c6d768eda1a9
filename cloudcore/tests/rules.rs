//! Rules over real TLS, in the shapes that KubeEdge's edge says and hears.

#![allow(missing_docs, unreachable_pub, reason = "a test has no users")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests fail by panicking")]

mod cloud;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use cloud::edge::Edge;
use cloud::{Cloud, create, eventually};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject};
use proto::config::RouterMode;
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::resource::Resource;
use proto::session::{Dialect, Item, Outcome};
use serde_json::{Value, json};

async fn start() -> Cloud {
    let cloud = Cloud::start_with(|config| {
        let router = &mut config.modules.router;
        (router.enable, router.mode, router.port) = (true, RouterMode::Plain, 0);
        router.address = [127, 0, 0, 1].into();
    })
    .await;
    for (name, spec) in [
        ("web", json!({"ruleEndpointType": "rest", "properties": {}})),
        ("mqtt", json!({"ruleEndpointType": "eventbus"})),
        ("program", json!({"ruleEndpointType": "servicebus", "properties": {"service_port": "8080"}})),
    ] {
        create(&endpoints(&cloud), object("RuleEndpoint", name, spec)).await;
    }
    cloud
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "rules.kubeedge.io/v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn endpoints(cloud: &Cloud) -> Api<DynamicObject> {
    cloud.api("rules.kubeedge.io/v1", "RuleEndpoint", "ruleendpoints", Some("default"))
}

fn rules(cloud: &Cloud) -> Api<DynamicObject> {
    cloud.api("rules.kubeedge.io/v1", "Rule", "rules", Some("default"))
}

async fn rule(cloud: &Cloud, name: &str, spec: Value) {
    create(&rules(cloud), object("Rule", name, spec)).await;
}

/// A target that answers `seen` and keeps what it was posted.
#[allow(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
async fn target() -> (SocketAddr, Arc<Mutex<Vec<Bytes>>>) {
    let seen: Arc<Mutex<Vec<Bytes>>> = Arc::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let record = Arc::clone(&seen);
    let routes = axum::Router::new().fallback(move |body: Bytes| async move {
        record.lock().unwrap().push(body);
        "seen"
    });
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (address, seen)
}

async fn call(cloud: &Cloud, path: &str, body: &'static str) -> (u16, axum::http::HeaderMap, Bytes) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let url = format!("http://{}{path}", cloud.app.rest.unwrap());
    let request = axum::http::Request::post(url).body(Full::new(Bytes::from(body))).unwrap();
    let (head, body) = client.request(request).await.unwrap().into_parts();
    #[allow(clippy::disallowed_methods, reason = "a test's own request")]
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, body)
}

fn upload(source: Source, resource: &str, content: Content) -> Message {
    Message::new(Route::new(source, Group::User, Operation::Upload, Resource::from(resource)), content)
}

fn said(message: &Message) -> (Source, Group, Operation, bool) {
    let Route { source, group, operation, .. } = message.route.clone();
    (source, group, operation, message.header.parent.is_none())
}

fn up(address: SocketAddr) -> Value {
    json!({
        "source": "mqtt", "sourceResource": {"topic": "/room/t/", "node_name": "edge1"},
        "target": "web", "targetResource": {"resource": format!("http://{address}/in")},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn kubeedges_edge_is_told_to_subscribe_again_on_every_session_and_what_it_uploads_is_posted() {
    let (cloud, (address, seen)) = (start().await, target().await);
    rule(&cloud, "up", up(address)).await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::KubeEdge).await;
    let subscribe = edge.pushed("default/room/t").await;
    assert_eq!(said(&subscribe), (Source::RouterEventBus, Group::User, Operation::Subscribe, true));
    assert!(subscribe.content.is_null());
    edge.send(Item::Message(upload(Source::Bus, "default/room/t", Content::text("{\"v\":1}")))).await;
    eventually("it is posted", || async {
        (seen.lock().unwrap().as_slice() == [&b"{\"v\":1}"[..]]).then_some(())
    })
    .await;

    // Deleted while it is away: it is told on the next session.
    drop(edge);
    eventually("the session ends", || async { cloud.app.sessions.is_empty().then_some(()) }).await;
    rules(&cloud).delete("up", &DeleteParams::default()).await.unwrap();
    let mut edge = Edge::connect(&cloud, "edge1", Dialect::KubeEdge).await;
    let unsubscribe = edge.pushed("default/room/t").await;
    assert_eq!(unsubscribe.route.operation, Operation::Unsubscribe);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skerry_edge_is_told_everything_at_once_and_hears_what_became_of_its_messages() {
    let (cloud, (address, seen)) = (start().await, target().await);
    rule(&cloud, "up", up(address)).await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::SkerryV1).await;
    let orders = edge.pushed("rules").await;
    assert_eq!(said(&orders), (Source::RouterEventBus, Group::User, Operation::Update, true));
    assert_eq!(orders.content.parse::<Value>().unwrap(), json!({"topics": ["default/room/t"], "urls": []}));

    let message = upload(Source::Bus, "default/room/t", Content::text("x"));
    for _ in 0..2 {
        // The second time the acknowledgement had been lost: it is not posted again.
        let Item::Ack(ack) = edge.deliver(message.clone()).await else { panic!("no acknowledgement") };
        assert_eq!(ack.outcome, Outcome::Done);
    }
    assert_eq!(seen.lock().unwrap().len(), 1);
    let strange = upload(Source::Bus, "default/other", Content::text("x"));
    let Item::Ack(ack) = edge.deliver(strange).await else { panic!("no acknowledgement") };
    assert!(matches!(ack.outcome, Outcome::Rejected(_)), "{ack:?}");

    // Another node has no part in it.
    let mut other = Edge::registered(&cloud, "edge2", Dialect::SkerryV1).await;
    let forged = upload(Source::Bus, "default/room/t", Content::text("forged"));
    let Item::Ack(ack) = other.deliver(forged).await else { panic!("no acknowledgement") };
    assert!(matches!(ack.outcome, Outcome::Rejected(_)), "{ack:?}");
    assert_eq!(seen.lock().unwrap().len(), 1);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_and_called_on_kubeedges_edge_has_its_shapes() {
    let cloud = start().await;
    rule(&cloud, "down", json!({
        "source": "web", "sourceResource": {"path": "cmd"}, "target": "mqtt", "targetResource": {"topic": "lights"},
    }))
    .await;
    rule(&cloud, "call", json!({
        "source": "web", "sourceResource": {"path": "api"}, "target": "program", "targetResource": {"path": "/app"},
    }))
    .await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::KubeEdge).await;
    let mut other = Edge::registered(&cloud, "edge2", Dialect::KubeEdge).await;
    eventually("the rule works", || async {
        (call(&cloud, "/edge2/default/cmd", "x").await.0 == 200).then_some(())
    })
    .await;

    let (status, _, body) = call(&cloud, "/edge1/default/cmd/kitchen", "on").await;
    assert_eq!((status, &body[..]), (200, &b"message delivered"[..]));
    let publish = edge.pushed("lights/kitchen").await;
    assert_eq!(said(&publish), (Source::RouterEventBus, Group::User, Operation::Publish, true));
    assert_eq!(publish.content.as_str().unwrap(), "on");

    let answered = async {
        let request = edge.pushed("8080:/app/x").await;
        assert_eq!(said(&request), (Source::RouterServiceBus, Group::User, Operation::from("POST"), true));
        let content: Value = request.content.parse().unwrap();
        assert_eq!(
            (&content["body"], &content["method"], &content["url"]),
            (&json!("b24="), &json!("POST"), &json!(""))
        );
        let answer = |body: &[u8], code: u16| {
            let content = json!({"header": {"X-A": ["1", "2"]}, "status_code": code, "body": BASE64_STANDARD.encode(body)});
            let mut answer = upload(Source::ServiceBus, "", Content::json(&content).unwrap());
            answer.header.parent = Some(request.header.id.clone());
            answer
        };
        // Only the node that was asked can answer.
        other.send(Item::Message(answer(b"forged", 200))).await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        edge.send(Item::Message(answer(b"gone", 410))).await;
    };
    let ((status, headers, body), ()) = tokio::join!(call(&cloud, "/edge1/default/api/x", "on"), answered);
    assert_eq!((status, &body[..]), (410, &b"gone"[..]));
    assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_on_kubeedges_edge_hears_what_the_target_says() {
    let (cloud, (address, seen)) = (start().await, target().await);
    rule(
        &cloud,
        "ask",
        json!({
            "source": "program", "sourceResource": {"target_url": "http://x/y", "node_name": "edge1"},
            "target": "web", "targetResource": {"resource": format!("http://{address}/y")},
        }),
    )
    .await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::KubeEdge).await;
    let start = edge.pushed("http://x/y").await;
    assert_eq!(said(&start), (Source::RouterServiceBus, Group::User, Operation::Start, true));
    let text = r#"{"method":"POST","targetURL":"http://x/y","payload":1}"#;
    let question = upload(Source::ServiceBus, "http://x/y", Content::text(&BASE64_STANDARD.encode(text)));
    let Item::Message(answer) = edge.deliver(question).await else { panic!("no answer") };
    assert_eq!(said(&answer), (Source::RouterServiceBus, Group::User, Operation::Response, false));
    assert_eq!(answer.content.as_str().unwrap(), "seen");
    assert_eq!(seen.lock().unwrap().as_slice(), [text.as_bytes()]);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_never_answers_costs_its_callers_their_time_and_others_a_bounded_room() {
    let cloud = Cloud::start_with(|config| {
        let router = &mut config.modules.router;
        (router.enable, router.mode, router.port) = (true, RouterMode::Plain, 0);
        router.address = [127, 0, 0, 1].into();
        router.rest_timeout = proto::config::Seconds(3);
    })
    .await;
    for (name, kind) in [("web", "rest"), ("program", "servicebus")] {
        let spec = json!({"ruleEndpointType": kind, "properties": {"service_port": "8080"}});
        create(&endpoints(&cloud), object("RuleEndpoint", name, spec)).await;
    }
    rule(&cloud, "call", json!({
        "source": "web", "sourceResource": {"path": "api"}, "target": "program", "targetResource": {"path": "/app"},
    }))
    .await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::SkerryV1).await;
    eventually("the rule works", || async {
        (call(&cloud, "/edge9/default/api", "x").await.0 == 500).then_some(())
    })
    .await;
    let calls = futures::future::join_all((0..300).map(|_| call(&cloud, "/edge1/default/api", "x")));
    let reading = async {
        loop {
            if edge.next().await.is_none() {
                return;
            }
        }
    };
    let answers = tokio::select! {
        answers = calls => answers,
        () = reading => panic!("the session ends"),
    };
    let count = |status: u16| answers.iter().filter(|(answer, ..)| *answer == status).count();
    assert_eq!(
        count(504) + count(503),
        300,
        "{:?}",
        answers.iter().map(|answer| answer.0).collect::<Vec<_>>()
    );
    assert!((1..=256).contains(&count(504)) && count(503) >= 44, "{} {}", count(504), count(503));
    // All room is free again.
    assert_eq!(call(&cloud, "/edge9/default/api", "x").await.0, 500);
    cloud.stop().await;
}
