//! Devices over real TLS: down to their node, reports up into DeviceStatus.

#![allow(missing_docs, unreachable_pub, reason = "a test has no users")]
#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod cloud;

use std::time::Duration;

use cloud::edge::Edge;
use cloud::{Cloud, create, device, eventually, model};
use kube::api::{DeleteParams, Patch, PatchParams};
use proto::message::Operation;
use proto::resource::Resource;
use proto::session::{Dialect, Item, Outcome};
use serde_json::{Value, json};

fn twin(value: &str) -> Value {
    json!({"event_id": "e", "timestamp": 1, "twin": {"temperature": {
        "actual": {"value": value, "metadata": {"timestamp": 1_795_246_318_922_i64}}, "metadata": {"type": "int"}}}})
}

const TWIN: &str = "device/default/sensor1/twin/edge_updated";

fn confirmed(item: &Item) -> bool {
    match item {
        Item::Ack(ack) => ack.outcome == Outcome::Done,
        Item::Message(answer) => answer.route.resource == Resource::Twin && answer.content.is_ok_literal(),
        Item::Inventory(_) => false,
    }
}

async fn reported(cloud: &Cloud) -> Option<String> {
    let status = cloud.statuses().get_opt("sensor1").await.expect("the API answers")?;
    Some(status.data.pointer("/status/twins/0/reported/value")?.as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensors_reading_is_in_the_api_when_it_is_confirmed() {
    for dialect in [Dialect::KubeEdge, Dialect::SkerryV1] {
        let cloud = Cloud::start().await;
        create(&cloud.models(), model("thermometer")).await;
        let uid = create(&cloud.devices(), device("sensor1", "edge1", "thermometer")).await;
        let mut edge = Edge::registered(&cloud, "edge1", dialect).await;
        edge.pushed("default/devicemodel/thermometer").await;
        edge.pushed("default/device/sensor1").await;
        for value in ["41", "42"] {
            assert!(confirmed(&edge.report(TWIN, twin(value)).await));
            assert_eq!(reported(&cloud).await.as_deref(), Some(value));
        }
        let state = json!({"event_id": "e", "device": {"name": "sensor1", "state": "Online",
            "lastOnlineTime": "2026-11-21T07:32:02Z"}});
        assert!(confirmed(
            &edge.report("device/default/sensor1/state/update", state.to_string().into()).await
        ));
        let status = cloud.statuses().get("sensor1").await.expect("a status");
        assert_eq!(status.metadata.owner_references.expect("an owner")[0].uid, uid);
        let expected = json!({
            "twins": [{"propertyName": "temperature", "reported": {"value": "42",
                       "metadata": {"timestamp": "1795246318922", "type": "int"}}}],
            "state": "Online", "lastOnlineTime": "2026-11-21T07:32:02Z",
        });
        assert_eq!(status.data["status"], expected);
        cloud.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_about_a_foreign_unknown_or_malformed_device_is_turned_down_for_good() {
    let cloud = Cloud::start().await;
    create(&cloud.devices(), device("sensor1", "edge2", "m")).await;
    create(&cloud.devices(), device("mine", "edge1", "m")).await;
    for (dialect, name) in [(Dialect::SkerryV1, "edge1"), (Dialect::KubeEdge, "edge1")] {
        let mut edge = Edge::connect_or_register(&cloud, name, dialect).await;
        edge.pushed("default/device/mine").await;
        for (resource, content) in [
            (TWIN, twin("99")),
            ("device/default/nobody/twin/edge_updated", twin("99")),
            ("device/default/mine/twin/edge_updated", json!({"twin": 5})),
        ] {
            let answer = edge.report(resource, content).await;
            match dialect {
                Dialect::SkerryV1 => {
                    assert!(
                        matches!(&answer, Item::Ack(ack) if matches!(ack.outcome, Outcome::Rejected(_))),
                        "{answer:?}"
                    );
                }
                // KubeEdge's edge knows no refusal and would send it forever.
                Dialect::KubeEdge => assert!(confirmed(&answer), "{answer:?}"),
            }
        }
        drop(edge);
        eventually("the session ended", || async { cloud.app.sessions.is_empty().then_some(()) }).await;
    }
    assert_eq!(reported(&cloud).await, None);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_moves_leaves_one_node_and_comes_to_the_other() {
    let cloud = Cloud::start().await;
    create(&cloud.models(), model("m")).await;
    create(&cloud.devices(), device("sensor1", "edge1", "m")).await;
    let mut first = Edge::registered(&cloud, "edge1", Dialect::SkerryV1).await;
    let mut second = Edge::registered(&cloud, "edge2", Dialect::KubeEdge).await;
    first.pushed("default/device/sensor1").await;
    assert!(confirmed(&first.report(TWIN, twin("1")).await));
    let change = Patch::Merge(json!({"spec": {"nodeName": "edge2"}}));
    cloud.devices().patch("sensor1", &PatchParams::default(), &change).await.expect("patched");
    while first.pushed("default/device/sensor1").await.route.operation != Operation::Delete {}
    while first.pushed("default/devicemodel/m").await.route.operation != Operation::Delete {}
    second.pushed("membership").await;
    assert_eq!(second.pushed("default/device/sensor1").await.route.operation, Operation::Insert);
    assert!(!confirmed(&first.report(TWIN, twin("2")).await));
    assert!(confirmed(&second.report(TWIN, twin("3")).await));
    assert_eq!(reported(&cloud).await.as_deref(), Some("3"));
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_device_takes_its_status_along() {
    let cloud = Cloud::start().await;
    create(&cloud.devices(), device("sensor1", "edge1", "m")).await;
    eventually("the status exists", || async {
        cloud.statuses().get_opt("sensor1").await.expect("the API answers")
    })
    .await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::SkerryV1).await;
    edge.pushed("default/device/sensor1").await;
    assert!(confirmed(&edge.report(TWIN, twin("1")).await));
    cloud.devices().delete("sensor1", &DeleteParams::default()).await.expect("deleted");
    while edge.pushed("default/device/sensor1").await.route.operation != Operation::Delete {}
    eventually("the status is gone", || async {
        cloud.statuses().get_opt("sensor1").await.expect("the API answers").is_none().then_some(())
    })
    .await;
    create(&cloud.devices(), device("sensor1", "edge1", "m")).await;
    edge.pushed("default/device/sensor1").await;
    assert!(confirmed(&edge.report(TWIN, twin("5")).await));
    assert_eq!(reported(&cloud).await.as_deref(), Some("5"));
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_reports_is_confirmed_in_order_with_fewer_writes() {
    const REPORTS: usize = 2000;
    let cloud = Cloud::start().await;
    create(&cloud.devices(), device("sensor1", "edge1", "m")).await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::SkerryV1).await;
    edge.pushed("default/device/sensor1").await;
    let began = tokio::time::Instant::now();
    for n in 0..REPORTS {
        let content = proto::message::Content::json(&twin(&n.to_string())).expect("json");
        let route = proto::message::Route::new(
            proto::message::Source::Twin,
            proto::message::Group::Resource,
            Operation::Update,
            Resource::from(TWIN),
        );
        edge.send(Item::Message(proto::message::Message::new(route, content))).await;
    }
    let mut done = 0;
    while done < REPORTS {
        match edge.next().await.expect("the connection lives") {
            Item::Ack(ack) => {
                assert_eq!(ack.outcome, Outcome::Done);
                done += 1;
            }
            _ => continue,
        }
    }
    let took = began.elapsed();
    assert_eq!(reported(&cloud).await, Some((REPORTS - 1).to_string()));
    let patches = cloud.app.metrics.report_patches.get();
    println!("{REPORTS} reports in {took:?} with {patches} writes");
    assert!(patches < REPORTS as u64 / 2, "{patches} writes for {REPORTS} reports");
    assert!(took < Duration::from_secs(20), "{took:?}");
    cloud.stop().await;
}
