//! What the link does with a real socket: resume, notice silence, acknowledge, tell what the cloud has not confirmed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "shared by several test binaries")]
mod cloud;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use cloud::{Cloud, Edge, Peer, Service};
use edgecore::edgehub::Connection;
use edgecore::metamanager::FetchError;
use k8s_openapi::api::core::v1::PodStatus;
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::resource::{ObjectKey, Resource, ResourceKind};
use proto::session::{Ack, Dialect, Inventory, Item, Outcome};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as RawFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

struct World {
    cloud: Cloud,
    edge: Edge,
    directory: tempfile::TempDir,
}

impl World {
    async fn new(dialect: Dialect) -> Self {
        let cloud = Cloud::start(Service { dialect, ..Service::default() }).await;
        let directory = tempfile::tempdir().unwrap();
        let edge =
            Edge::start(cloud.settings(directory.path(), &cloud.token().to_string()), directory.path()).await;
        Self { cloud, edge, directory }
    }
}

fn push(operation: Operation, resource: &str, content: &Value) -> Message {
    let route = Route::new(Source::EdgeController, Group::Resource, operation, resource.into());
    Message::new(route, Content::json(content).unwrap())
}

fn config_map(name: &str, version: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"},
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "resourceVersion": version.to_string()}})
}

fn phase(phase: &str) -> PodStatus {
    PodStatus { phase: Some(phase.into()), ..PodStatus::default() }
}

/// The next report about a pod.
async fn pod_patch(peer: &mut Peer) -> Message {
    peer.hear_that(|item| match item {
        Item::Message(message) => match &message.route.resource {
            Resource::Object(key) if key.kind == ResourceKind::PodPatch => Some(message),
            _ => None,
        },
        _ => None,
    })
    .await
}

async fn ack(peer: &mut Peer) -> Ack {
    peer.hear_that(|item| match item {
        Item::Ack(ack) => Some(ack),
        _ => None,
    })
    .await
}

async fn inventory(peer: &mut Peer) -> Inventory {
    peer.hear_that(|item| match item {
        Item::Inventory(inventory) => Some(inventory),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_restarted_cloud_has_its_node_back_within_two_seconds() {
    let mut world = World::new(Dialect::SkerryV1).await;
    world.cloud.peer().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut cloud = world.cloud.restart(Duration::from_secs(1)).await;
    let since = Instant::now();
    cloud.peer().await;
    assert!(since.elapsed() < Duration::from_secs(2), "it took {:?}", since.elapsed());
    world.edge.connected().await;
    world.edge.stop().await;
}

#[tokio::test]
async fn a_cloud_that_goes_silent_is_noticed_and_dialled_again() {
    let mut world = World::new(Dialect::SkerryV1).await;
    // Held and never read: TCP stands, pings are not answered.
    let _silent = world.cloud.peer().await;
    world.edge.connected().await;
    let since = Instant::now();
    world.edge.disconnected().await;
    assert!(since.elapsed() < Duration::from_secs(2), "it took {:?}", since.elapsed());
    assert!(world.edge.trouble().await.contains("silent"));
    world.cloud.peer().await;
    world.edge.stop().await;
}

#[tokio::test]
async fn a_push_is_stored_acknowledged_and_listed_on_the_next_connection() {
    let mut world = World::new(Dialect::SkerryV1).await;
    let mut peer = world.cloud.peer().await;
    assert_eq!(inventory(&mut peer).await, Inventory { held: Vec::new(), last: true });
    let message = push(Operation::Insert, "default/configmap/conf", &config_map("conf", 7));
    peer.say(&[Item::Message(message.clone())]).await;
    let acknowledged = ack(&mut peer).await;
    assert_eq!((acknowledged.of, acknowledged.outcome), (message.header.id, Outcome::Done));
    let key = ObjectKey::namespaced("default", ResourceKind::ConfigMap, "conf");
    assert_eq!(world.edge.store.get(&key).await.unwrap().unwrap().resource_version, "7");

    let broken =
        push(Operation::Insert, "default/configmap/broken", &json!({"metadata": {"name": "broken"}}));
    peer.say(&[Item::Message(broken)]).await;
    assert!(
        matches!(ack(&mut peer).await.outcome, Outcome::Rejected(reason) if reason.contains("metadata.uid"))
    );

    drop(peer);
    let held = inventory(&mut world.cloud.peer().await).await.held;
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].key.clone(), held[0].resource_version.as_str()), (key, "7"));
    world.edge.stop().await;
}

#[tokio::test]
async fn what_was_reported_without_the_cloud_arrives_later_and_only_once_when_confirmed() {
    let world = World::new(Dialect::SkerryV1).await;
    let World { mut cloud, edge, directory } = world;
    drop(cloud.peer().await);
    edge.stop().await;

    // Offline, twice: only the newest matters.
    let mut settings = cloud.settings(directory.path(), "");
    let there = std::mem::replace(&mut settings.server.port, 1);
    let edge = Edge::start(settings.clone(), directory.path()).await;
    edge.store.report_pod_status("default", "web", "u1", phase("Pending")).await.unwrap();
    edge.store.report_pod_status("default", "web", "u1", phase("Running")).await.unwrap();
    edge.stop().await;

    settings.server.port = there;
    let edge = Edge::start(settings, directory.path()).await;
    let mut peer = cloud.peer().await;
    let report = pod_patch(&mut peer).await;
    assert!(report.content.as_str().unwrap().contains("Running"));
    // Not confirmed: it comes again.
    drop(peer);
    let mut peer = cloud.peer().await;
    let report = pod_patch(&mut peer).await;
    peer.say(&[Item::Ack(Ack::of(&report, Outcome::Done))]).await;
    edge.store.report_pod_status("default", "other", "u2", phase("Running")).await.unwrap();
    let next = pod_patch(&mut peer).await;
    assert_eq!(next.route.resource.to_string(), "default/podpatch/other");
    drop(peer);
    let next = pod_patch(&mut cloud.peer().await).await;
    assert_eq!(next.route.resource.to_string(), "default/podpatch/other", "the confirmed report came again");
    edge.stop().await;
}

#[tokio::test]
async fn a_config_map_is_fetched_once_and_a_missing_one_is_missing() {
    let World { mut cloud, edge, .. } = World::new(Dialect::KubeEdge).await;
    assert_eq!(edge.connected().await, Connection::Up { dialect: Dialect::KubeEdge });
    let mut peer = cloud.peer().await;
    let key = |name: &str| ObjectKey::namespaced("default", ResourceKind::ConfigMap, name);
    let asked = |item| match item {
        Item::Message(message) if message.route.operation == Operation::Query => Some(message),
        _ => None,
    };
    let cloud_side = async {
        let question = peer.hear_that(asked).await;
        let content = Content::json(&config_map("conf", 3)).unwrap();
        let answer = question.respond_as(Source::EdgeController, Group::Resource, content);
        peer.say(&[Item::Message(answer.clone())]).await;
        // KubeEdge's cloud sends the answer again until it is acknowledged.
        let acknowledged = peer
            .hear_that(|item| match item {
                Item::Message(message) if message.header.parent.is_some() => Some(message),
                _ => None,
            })
            .await;
        assert_eq!(acknowledged.header.parent, Some(answer.header.id));
        assert!(acknowledged.content.is_ok_literal());
        assert_eq!(acknowledged.route, answer.route);

        let question = peer.hear_that(asked).await;
        let status = json!({"status": "Failure", "message": "configmap \"missing\" not found", "reason": "NotFound", "code": 404});
        let failure = Content::json(&json!({"ErrStatus": status})).unwrap();
        let answer = question.respond_as(Source::EdgeController, Group::Resource, failure);
        peer.say(&[Item::Message(answer)]).await;
        peer
    };
    let edge_side = async {
        let held = edge.store.fetch(&key("conf")).await.unwrap();
        assert_eq!(held.object["data"]["k"], "v");
        let missing = edge.store.fetch(&key("missing")).await.unwrap_err();
        assert!(matches!(missing, FetchError::NotFound(words) if words.contains("not found")));
    };
    let (_peer, ()) = tokio::join!(cloud_side, edge_side);
    assert!(edge.store.get(&key("missing")).await.unwrap().is_none());
    // The held one is not asked for again: nobody would answer.
    edge.store.fetch(&key("conf")).await.unwrap();
    edge.stop().await;
}

#[tokio::test]
async fn one_unreadable_message_does_not_end_the_link() {
    let World { mut cloud, edge, .. } = World::new(Dialect::KubeEdge).await;
    let mut peer = cloud.peer().await;
    for text in ["{", "{}", "[]", r#"{"header":{"msg_id":""},"route":{},"content":null}"#, "\u{0}"] {
        peer.say_frame(Frame::text(text)).await;
    }
    peer.say_frame(Frame::binary(vec![0xff; 64])).await;
    let message = push(Operation::Insert, "default/configmap/conf", &config_map("conf", 7));
    peer.say(&[Item::Message(message.clone())]).await;
    loop {
        let heard = peer.hear_json().await;
        if heard["header"]["parent_msg_id"] == message.header.id.as_str() {
            assert_eq!(heard["content"], "OK");
            break;
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_large_object_in_small_fragments_is_put_together() {
    let World { mut cloud, edge, .. } = World::new(Dialect::KubeEdge).await;
    let mut peer = cloud.peer().await;
    let mut object = config_map("conf", 7);
    object["data"]["k"] = "x".repeat(1 << 20).into();
    let message = json!({
        "header": {"msg_id": "c-1", "timestamp": 1, "resourceversion": "7"},
        "route": {"source": "edgecontroller", "group": "resource", "operation": "insert", "resource": "default/configmap/conf"},
        "content": object,
    })
    .to_string();
    let chunks: Vec<&[u8]> = message.as_bytes().chunks(4096).collect();
    for (at, chunk) in chunks.iter().enumerate() {
        let kind = OpCode::Data(if at == 0 { Data::Text } else { Data::Continue });
        let frame = RawFrame::message(Bytes::copy_from_slice(chunk), kind, at + 1 == chunks.len());
        peer.say_frame(Frame::Frame(frame)).await;
    }
    loop {
        let heard = peer.hear_json().await;
        if heard["header"]["parent_msg_id"] == "c-1" {
            break;
        }
    }
    let key = ObjectKey::namespaced("default", ResourceKind::ConfigMap, "conf");
    assert_eq!(edge.store.get(&key).await.unwrap().unwrap().object, object);
    edge.stop().await;
}

// --- recorded conversations

fn recordings() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conform/data/kubeedge-1.23.1");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    files.sort();
    files.retain(|path| !path.ends_with("mqtt-device.jsonl"));
    files
}

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn parent(message: &Value) -> Option<String> {
    message["header"]["parent_msg_id"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn every_recorded_push_of_kubeedges_cloud_is_acknowledged_as_kubeedges_edge_did() {
    let files = recordings();
    assert!(files.len() >= 15, "only {} recordings", files.len());
    for file in files {
        let World { mut cloud, edge, .. } = World::new(Dialect::KubeEdge).await;
        let mut peer = cloud.peer().await;
        let said = lines(&file);
        let of = |dir: &str| {
            said.iter()
                .filter(|line| line["dir"] == dir && line["msg"].is_object())
                .map(|line| &line["msg"])
                .collect::<Vec<_>>()
        };
        let pushes: Vec<&Value> = of("C>E").into_iter().filter(|message| parent(message).is_none()).collect();
        let mut expected: BTreeMap<String, &Value> = BTreeMap::new();
        for answer in of("E>C") {
            if let Some(id) = parent(answer)
                && pushes.iter().any(|push| push["header"]["msg_id"] == *id)
            {
                expected.insert(id, answer);
            }
        }
        for push in pushes {
            peer.say_frame(Frame::text(push.to_string())).await;
        }
        while !expected.is_empty() {
            let heard = peer.hear_json().await;
            let Some(theirs) = parent(&heard).and_then(|id| expected.remove(&id)) else { continue };
            assert_eq!(heard["route"], theirs["route"], "{}", file.display());
            assert_eq!(heard["content"], theirs["content"], "{}", file.display());
        }
        edge.stop().await;
    }
}
