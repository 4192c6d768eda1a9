//! A cloud of KubeEdge, as recorded, against our edgecore, the real binary: ours says what KubeEdge's edge said.
//!
//! `cloud` listens where a cloudcore would and answers with the recorded answers; here stands what the edge has to say.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod cloud;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use conform::{Direction, recording};
use e2e::{Daemon, Sensor, binary};
use proto::message::{Message, Operation};
use proto::resource::{Resource, ResourceKind};
use serde_json::{Value, json};
use tempfile::TempDir;

use cloud::{Cloud, decode};

const SOON: Duration = Duration::from_secs(10);
/// A lease is renewed every ten seconds.
const RENEWAL: Duration = Duration::from_secs(15);

struct Edge {
    _directory: TempDir,
    mqtt: u16,
    process: Daemon,
}

impl Edge {
    fn start(cloud: &Cloud) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (ca, certificate, key) = (at("ca/rootCA.crt"), at("certs/server.crt"), at("certs/server.key"));
        proto::pki::write_public(&ca, cloud.ca_pem().as_bytes()).unwrap();
        cloud.identity().store(&certificate, &key).unwrap();
        let mqtt = free_port();
        let config = json!({
            "database": {"dataSource": at("edgecore.db")},
            "modules": {
                "edged": {
                    "hostnameOverride": "edge1", "nodeIP": "127.0.0.1", "rootDirectory": at("kubelet"),
                    "tailoredKubeletConfig": {
                        "containerRuntimeEndpoint": format!("unix://{}", at("no.sock").display()),
                        "imageServiceEndpoint": format!("unix://{}", at("no.sock").display()),
                        "staticPodPath": at("manifests"), "podLogsDir": at("logs"), "readOnlyPort": free_port(),
                    },
                },
                "edgeHub": {
                    "websocket": {"server": format!("127.0.0.1:{}", cloud.port())},
                    "httpServer": "https://127.0.0.1:1", "heartbeat": 1, "rotateCertificates": false,
                    "tlsCaFile": ca, "tlsCertFile": certificate, "tlsPrivateKeyFile": key,
                    "bootstrapFile": at("bootstrap"),
                },
                "eventBus": {"mqttServerInternal": format!("tcp://127.0.0.1:{mqtt}")},
                "deviceTwin": {"dmiSockPath": at("dmi")},
            },
        });
        let file = at("edgecore.yaml");
        std::fs::write(&file, config.to_string()).unwrap();
        let arguments = ["--config", &file.to_string_lossy()];
        let program = binary("edgecore").unwrap();
        let process =
            Daemon::start("edgecore", &program, &arguments, Path::new(&at("edgecore.log"))).unwrap();
        Self { _directory: directory, mqtt, process }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Pushes an object and waits for its acknowledgement: Go's form, whatever module it says it for.
async fn acknowledged(cloud: &mut Cloud, push: &Message, edge: &Edge) {
    cloud.say(push.clone()).await;
    let parent = Some(push.header.id.clone());
    let ack = cloud.hear(|m| m.header.parent == parent, SOON).await;
    let ack = ack.unwrap_or_else(|| panic!("{push:?} is not acknowledged\n{}", edge.process.tail()));
    assert_eq!((&ack.route.operation, &ack.route.resource), (&Operation::Response, &push.route.resource));
    assert!(ack.content.is_ok_literal(), "{ack:?}");
}

/// The names of all fields, with `[]` for what is in lists, of an object and what is in it.
fn fields(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let path = format!("{at}.{name}");
                fields(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| fields(value, &format!("{at}[]"), found)),
        _ => {}
    }
}

/// What the recorded content says and ours does not.
fn missing(recorded: &Value, ours: &Value) -> Vec<String> {
    let mut names = [BTreeSet::new(), BTreeSet::new()];
    fields(recorded, "", &mut names[0]);
    fields(ours, "", &mut names[1]);
    names[0].difference(&names[1]).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_node_introduces_itself_to_kubeedges_cloud_as_kubeedges_edge_did() {
    let lines = recording("01").unwrap();
    let mut cloud = Cloud::start().await;
    let mut edge = Edge::start(&cloud);
    let upgrade = cloud.peer(&lines, edge.process.tail()).await;
    for line in &lines[0].http[1..] {
        let (name, value) = line.split_once(": ").unwrap();
        if ["Connectionuse", "Node_id", "Project_id"].contains(&name) {
            assert_eq!(upgrade.get(name).unwrap(), value, "{name}");
        }
    }
    assert!(upgrade.get("origin").is_none());

    let mut first = None;
    let mut pushed = 0;
    let mut asked = Vec::new();
    for line in &lines {
        let Some(recorded) = line.msg.as_ref().map(decode) else { continue };
        let route = recorded.route.clone();
        if line.dir == Direction::Down {
            // Answers are given by the cloud of this test; a push is acknowledged when it is stored.
            if recorded.header.parent.is_none() {
                acknowledged(&mut cloud, &recorded, &edge).await;
                pushed += 1;
            }
            continue;
        }
        // Said once is said: how often each side repeats itself is its own affair.
        if asked.contains(&route) {
            continue;
        }
        asked.push(route.clone());
        if route.operation == Operation::Response {
            continue;
        }
        // KubeEdge asks who it is although nobody answers; ours may.
        if route.resource == Resource::MembershipDetail {
            continue;
        }
        let heard = cloud.hear(|m| m.route == route, RENEWAL).await;
        let ours = heard.unwrap_or_else(|| panic!("never heard {route:?}\n{}", edge.process.tail()));
        first.get_or_insert_with(|| ours.clone());
        assert_eq!(recorded.content.is_null(), ours.content.is_null(), "{route:?}");
        assert_eq!(recorded.content.as_str().is_some(), ours.content.as_str().is_some(), "{route:?}");
        match route.resource.object().map(|key| &key.kind) {
            Some(ResourceKind::Node) => {
                let lacks = missing(&recorded.content.parse().unwrap(), &ours.content.parse().unwrap());
                // Go writes an empty timestamp, and the huge pages of the recording's host.
                let free =
                    |path: &String| path == ".metadata.creationTimestamp" || path.contains(".hugepages-");
                let lacks: Vec<String> = lacks.into_iter().filter(|path| !free(path)).collect();
                assert!(lacks.is_empty(), "the node lacks {lacks:?}: {:?}", ours.content);
            }
            Some(ResourceKind::Lease) if route.operation != Operation::Query => {
                let lacks = missing(&recorded.content.parse().unwrap(), &ours.content.parse().unwrap());
                let lacks: Vec<_> = lacks
                    .iter()
                    .filter(|path| !path.contains("managedFields") && !path.ends_with("creationTimestamp"))
                    .collect();
                assert!(lacks.is_empty(), "the lease lacks {lacks:?}: {:?}", ours.content);
            }
            Some(ResourceKind::NodePatch) => {
                let patch: Value = ours.content.parse_lenient().unwrap();
                assert!(patch.is_object());
            }
            _ => assert_eq!(recorded.content, ours.content, "{route:?}"),
        }
    }
    assert_eq!(first.unwrap().route.operation, Operation::Keepalive);
    assert_eq!(pushed, 4);
    edge.process.terminate(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sensor_is_heard_by_kubeedges_cloud_as_through_kubeedges_edge() {
    let mut cloud = Cloud::start().await;
    let mut edge = Edge::start(&cloud);
    cloud.peer(&recording("01").unwrap(), edge.process.tail()).await;
    let mut sensor = Sensor::new("sensor", edge.mqtt);
    let mut reports = 0;
    for file in ["08", "09", "10", "11", "12"] {
        let lines = recording(file).unwrap();
        for line in &lines {
            let Some(recorded) = line.msg.as_ref().map(decode) else { continue };
            match (line.dir, recorded.header.parent.is_some()) {
                (Direction::Down, false) => {
                    if recorded.route.resource == Resource::Membership {
                        cloud.say(recorded).await;
                    } else {
                        acknowledged(&mut cloud, &recorded, &edge).await;
                    }
                }
                // The answers are given by the cloud of this test.
                (Direction::Down, true) => {}
                (Direction::Up, false) if recorded.route.resource.device().is_some() => {
                    let value: Value = recorded.content.parse_lenient().unwrap();
                    publish(&mut sensor, &recorded.route.resource, &value).await;
                    let route = recorded.route.clone();
                    let heard =
                        cloud.hear(|m| m.route == route && spoken(m) == spoken(&recorded), SOON).await;
                    assert!(
                        heard.is_some(),
                        "{file} t={}: not heard {value}\nheard {:#?}\n{}",
                        line.t,
                        cloud.heard().collect::<Vec<_>>(),
                        edge.process.tail()
                    );
                    reports += 1;
                }
                (Direction::Up, _) => {}
            }
        }
    }
    assert_eq!(reports, 3);
    edge.process.terminate(SOON).await.unwrap();
}

/// Publishes what the recorded sensor had published.
async fn publish(sensor: &mut Sensor, resource: &Resource, report: &Value) {
    let (namespace, name) = resource.device().unwrap();
    let (topic, payload) = match resource {
        Resource::DeviceStateUpdate { .. } => ("state/update", json!({"state": report["device"]["state"]})),
        _ => {
            let twin = &report["twin"]["temperature"];
            let update = json!({"actual": {"value": twin["actual"]["value"]}, "metadata": twin["metadata"]});
            ("twin/update", json!({"event_id": "e", "timestamp": 0, "twin": {"temperature": update}}))
        }
    };
    let topic = format!("$hw/events/device/{namespace}/{name}/{topic}");
    sensor.publish(&topic, &payload.to_string(), SOON).await.unwrap();
}

/// What a report says, without ids, times and counters; and whether it travels as an object or as text.
fn spoken(report: &Message) -> (bool, Value) {
    let mut value: Value = report.content.parse_lenient().unwrap();
    if let Some(twin) = value.pointer("/twin/temperature").cloned() {
        // A desired value from the cloud, which ours also tells the sensor, is more than KubeEdge says.
        value = json!({"value": twin["actual"]["value"], "type": twin["metadata"]["type"], "optional": twin["optional"],
            "at": twin["actual"]["metadata"]["timestamp"].is_i64(), "versions": twin["actual_version"]["edge"].is_i64()});
    } else if let Some(device) = value.get("device").cloned() {
        value = json!({"name": device["name"], "state": device["state"], "at": device["lastOnlineTime"].is_string()});
    }
    (report.content.as_str().is_some(), value)
}
