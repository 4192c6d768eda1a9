//! What KubeEdge's edges may expect of a cloud about devices, row by row of the compatibility checklist: messages, their order and
//! operations, and what is in the API afterwards.

#![allow(missing_docs, unreachable_pub, reason = "a test has no users")]
#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod cloud;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloud::edge::Edge;
use cloud::{Cloud, create, device, eventually, model, within};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use proto::message::{Group, Message, Operation, Source};
use proto::session::{Dialect, Item, Outcome};
use serde_json::{Value, json};

const SENSOR: &str = "default/device/sensor1";
const MODEL: &str = "default/devicemodel/m";
const TWIN: &str = "device/default/sensor1/twin/edge_updated";
const BOTH: [Dialect; 2] = [Dialect::KubeEdge, Dialect::SkerryV1];

fn described(name: &str, node: &str) -> Value {
    let mut device = device(name, node, "m");
    device["metadata"]["labels"] = json!({"description": "boiler-room-east"});
    device
}

async fn change(cloud: &Cloud, patch: Value) {
    let patch = Patch::Merge(patch);
    cloud.devices().patch("sensor1", &PatchParams::default(), &patch).await.expect("patched");
}

/// Operation and resource of all pushes about devices that come within a moment.
async fn heard(edge: &mut Edge) -> Vec<(Operation, String)> {
    let pushes = edge.pushed_within(Duration::from_millis(700)).await;
    pushes.iter().filter(|push| is_of_devices(push)).map(said).collect()
}

fn is_of_devices(push: &Message) -> bool {
    let resource = push.route.resource.to_string();
    resource == "membership" || resource.contains("/device/") || resource.contains("/devicemodel/")
}

fn said(push: &Message) -> (Operation, String) {
    (push.route.operation.clone(), push.route.resource.to_string())
}

fn pair(operation: Operation, resource: &str) -> (Operation, String) {
    (operation, resource.to_owned())
}

fn members(push: &Message) -> Value {
    let mut content: Value = push.content.parse().expect("json");
    assert!(content["timestamp"].as_i64().is_some_and(|at| at > 1_700_000_000_000), "{content}");
    assert!(content["event_id"].as_str().is_some_and(|id| id.len() == 36), "{content}");
    let fields = content.as_object_mut().expect("an object");
    fields.remove("event_id");
    fields.remove("timestamp");
    content
}

fn reading(twins: Value) -> Value {
    json!({"event_id": "e", "timestamp": 1, "twin": twins})
}

fn actual(value: &str) -> Value {
    json!({"actual": {"value": value, "metadata": {"timestamp": 1_770_113_700_456_i64}}, "metadata": {"type": "string"}})
}

async fn twins(cloud: &Cloud) -> Value {
    let status = cloud.statuses().get("sensor1").await.expect("a status");
    status.data.pointer("/status/twins").cloned().unwrap_or(json!([]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_comes_with_its_membership_after_its_model_and_with_a_status_that_it_owns() {
    let cloud = Cloud::start().await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::KubeEdge).await;
    create(&cloud.models(), model("m")).await;
    let uid = create(&cloud.devices(), described("sensor1", "edge1")).await;
    let pushes = edge.pushed_within(Duration::from_millis(700)).await;
    let of_devices: Vec<_> = pushes.iter().filter(|push| is_of_devices(push)).collect();
    let order: Vec<_> =
        of_devices.iter().filter(|push| said(push).1 != "membership").map(|push| said(push)).collect();
    assert_eq!(order, [pair(Operation::Insert, MODEL), pair(Operation::Insert, SENSOR)]);
    let membership: Vec<_> = of_devices.iter().filter(|push| said(push).1 == "membership").collect();
    let [membership] = &membership[..] else { panic!("one membership: {of_devices:?}") };
    let route = &membership.route;
    assert_eq!(
        (&route.source, &route.group, &route.operation, &membership.header.parent),
        (&Source::DeviceController, &Group::Twin, &Operation::Update, &None)
    );
    let member = json!({"id": "default/sensor1", "name": "sensor1", "description": "boiler-room-east"});
    assert_eq!(members(membership), json!({"added_devices": [member], "removed_devices": null}));
    for push in of_devices.iter().filter(|push| said(push).1 != "membership") {
        let object: Value = push.content.parse().expect("json");
        assert_eq!(push.route.group, Group::Resource);
        assert_eq!(object["apiVersion"], "devices.kubeedge.io/v1beta1");
        assert!(object["kind"].is_string() && object["spec"].is_object(), "{object}");
    }
    let owner = eventually("the status exists", || async {
        let status = cloud.statuses().get_opt("sensor1").await.expect("the API answers")?;
        status.metadata.owner_references?.pop()
    })
    .await;
    assert_eq!(
        (owner.kind.as_str(), owner.name.as_str(), &owner.uid, owner.controller),
        ("Device", "sensor1", &uid, Some(true))
    );

    // A second device of the model brings the model no second time.
    create(&cloud.devices(), device("sensor2", "edge1", "m")).await;
    assert_eq!(
        heard(&mut edge).await,
        [pair(Operation::Update, "membership"), pair(Operation::Insert, "default/device/sensor2")]
    );
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_is_nothing_to_tell_and_a_desired_value_is_no_membership() {
    for dialect in BOTH {
        let cloud = Cloud::start().await;
        create(&cloud.models(), model("m")).await;
        create(&cloud.devices(), described("sensor1", "edge1")).await;
        let mut edge = Edge::registered(&cloud, "edge1", dialect).await;
        edge.pushed(SENSOR).await;
        heard(&mut edge).await;
        for labels in [json!({"floor": "2"}), json!({"floor": null})] {
            change(&cloud, json!({"metadata": {"labels": labels, "annotations": {"by": "somebody"}}})).await;
        }
        change(&cloud, json!({"status": {"reportToCloud": null, "health": "whatever"}})).await;
        assert_eq!(heard(&mut edge).await, [], "{dialect:?}");

        change(
            &cloud,
            json!({"spec": {"properties": [{"name": "temperature", "desired": {"value": "70"}}]}}),
        )
        .await;
        let push = edge.pushed(SENSOR).await;
        let object: Value = push.content.parse().expect("json");
        assert_eq!(object.pointer("/spec/properties/0/desired/value"), Some(&json!("70")));
        assert_eq!(push.route.operation, Operation::Update);
        // KubeEdge's sends the model, which has not changed, along with it.
        assert_eq!(heard(&mut edge).await, [], "{dialect:?}: no membership");
        cloud.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_moves_or_goes_is_taken_from_its_node_and_its_status_moves_or_goes_with_it() {
    let cloud = Cloud::start().await;
    create(&cloud.models(), model("m")).await;
    create(&cloud.devices(), device("sensor1", "edge1", "m")).await;
    let mut first = Edge::registered(&cloud, "edge1", Dialect::KubeEdge).await;
    let mut second = Edge::registered(&cloud, "edge2", Dialect::KubeEdge).await;
    first.pushed(SENSOR).await;
    first.report(TWIN, reading(json!({"temperature": actual("71.3")}))).await;
    heard(&mut first).await;
    let before = cloud.statuses().get("sensor1").await.expect("a status");

    change(&cloud, json!({"spec": {"nodeName": "edge2"}})).await;
    let added = heard(&mut second).await;
    let order: Vec<_> = added.iter().filter(|(_, resource)| resource != "membership").cloned().collect();
    assert_eq!(order, [pair(Operation::Insert, MODEL), pair(Operation::Insert, SENSOR)]);
    assert_eq!(added.len(), 3, "{added:?}");
    let gone = first.pushed_within(Duration::from_millis(700)).await;
    assert_removed(&gone);
    let after = cloud.statuses().get("sensor1").await.expect("a status");
    assert_eq!((&after.metadata.uid, &after.data["status"]), (&before.metadata.uid, &before.data["status"]));

    cloud.devices().delete("sensor1", &DeleteParams::default()).await.expect("deleted");
    let gone = second.pushed_within(Duration::from_millis(700)).await;
    assert_removed(&gone);
    eventually("the status is gone", || async {
        cloud.statuses().get_opt("sensor1").await.expect("the API answers").is_none().then_some(())
    })
    .await;
    cloud.stop().await;
}

/// Membership, model and device are taken away, each once.
fn assert_removed(pushes: &[Message]) {
    let pushes: Vec<_> = pushes.iter().filter(|push| is_of_devices(push)).collect();
    let mut order: Vec<_> = pushes.iter().map(|push| said(push)).collect();
    order.sort_by(|one, other| one.1.cmp(&other.1));
    assert_eq!(
        order,
        [
            pair(Operation::Delete, SENSOR),
            pair(Operation::Delete, MODEL),
            pair(Operation::Update, "membership")
        ]
    );
    let membership = pushes.iter().find(|push| said(push).1 == "membership").expect("a membership");
    let member = json!({"id": "default/sensor1", "name": "sensor1"});
    assert_eq!(members(membership), json!({"added_devices": null, "removed_devices": [member]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_names_no_model_is_sent_to_nobody_and_says_so() {
    let cloud = Cloud::start().await;
    create(&cloud.models(), model("m")).await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::KubeEdge).await;
    let mut orphan = device("sensor1", "edge1", "m");
    orphan["spec"].as_object_mut().expect("a spec").remove("deviceModelRef");
    create(&cloud.devices(), orphan).await;
    create(&cloud.devices(), device("sensor2", "edge1", "m")).await;
    edge.pushed("default/device/sensor2").await;
    assert_eq!(heard(&mut edge).await.iter().filter(|(_, resource)| resource == SENSOR).count(), 0);
    let events = cloud.api("v1", "Event", "events", Some("default"));
    eventually("an event says why", || async {
        let list = events.list(&ListParams::default()).await.expect("the API answers");
        list.items
            .iter()
            .any(|event| {
                event.data["reason"] == "NoModel" && event.data["involvedObject"]["name"] == "sensor1"
            })
            .then_some(())
    })
    .await;
    change(&cloud, json!({"spec": {"deviceModelRef": {"name": "m"}}})).await;
    edge.pushed(SENSOR).await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_comes_after_its_device_brings_the_device_with_it_and_holds_nobody_up() {
    let cloud = Cloud::start().await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::KubeEdge).await;
    create(&cloud.devices(), device("sensor1", "edge1", "m")).await;
    create(&cloud.models(), model("other")).await;
    create(&cloud.devices(), device("sensor2", "edge1", "other")).await;
    edge.pushed("default/device/sensor2").await;
    heard(&mut edge).await;
    create(&cloud.models(), model("m")).await;
    // As an insert: KubeEdge's edge passes over an update that is equal to what it has.
    assert_eq!(heard(&mut edge).await, [pair(Operation::Insert, MODEL), pair(Operation::Insert, SENSOR)]);
    // A change of the model reaches every node that uses it.
    let change = Patch::Merge(json!({"spec": {"protocolConfigData": {"timeout": 2000}}}));
    cloud.models().patch("m", &PatchParams::default(), &change).await.expect("patched");
    assert_eq!(heard(&mut edge).await, [pair(Operation::Update, MODEL)]);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_confirmed_as_kubeedge_confirms_it_and_unknown_keys_and_foreign_nodes_change_nothing() {
    let cloud = Cloud::start().await;
    create(&cloud.models(), model("m")).await;
    create(&cloud.devices(), device("sensor1", "edge1", "m")).await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::KubeEdge).await;
    edge.pushed(SENSOR).await;
    // The very first report is there, whole.
    let twin = json!({"temperature": actual("71.3"), "stranger": actual("1"), "humidity": {"expected": {"value": ""},
        "metadata": {"type": "string"}}});
    let Item::Message(answer) = edge.report(TWIN, reading(twin)).await else { panic!("no answer") };
    assert_eq!((answer.route.group, answer.route.resource.to_string()), (Group::Twin, "twin".to_owned()));
    assert_eq!((&answer.route.operation, answer.content.is_ok_literal()), (&Operation::Response, true));
    let reported = json!({"value": "71.3", "metadata": {"timestamp": "1770113700456", "type": "string"}});
    let shown = twins(&cloud).await;
    assert_eq!(shown.as_array().map(Vec::len), Some(2), "{shown}");
    assert_eq!(shown[1], json!({"propertyName": "temperature", "reported": reported}));
    assert_eq!(
        (&shown[0]["propertyName"], &shown[0]["observedDesired"]["value"]),
        (&json!("humidity"), &json!(""))
    );

    let mut other = Edge::registered(&cloud, "edge9", Dialect::SkerryV1).await;
    let Item::Ack(ack) = other.report(TWIN, reading(json!({"temperature": actual("99")}))).await else {
        panic!("no ack")
    };
    assert!(matches!(ack.outcome, Outcome::Rejected(_)), "{ack:?}");
    assert_eq!(twins(&cloud).await, shown);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_and_went_while_a_kubeedge_edge_was_away_is_told_when_it_is_back() {
    let cloud = Cloud::start().await;
    create(&cloud.models(), model("m")).await;
    create(&cloud.devices(), device("sensor1", "edge1", "m")).await;
    create(&cloud.devices(), device("stays", "edge1", "m")).await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::KubeEdge).await;
    edge.pushed(SENSOR).await;
    edge.pushed("default/device/stays").await;
    heard(&mut edge).await;
    drop(edge);
    eventually("the session ends", || async { cloud.app.sessions.is_empty().then_some(()) }).await;
    cloud.devices().delete("sensor1", &DeleteParams::default()).await.expect("deleted");
    create(&cloud.devices(), device("fresh", "edge1", "m")).await;

    let mut edge = Edge::connect(&cloud, "edge1", Dialect::KubeEdge).await;
    let pushes = edge.pushed_within(Duration::from_secs(2)).await;
    let said: Vec<_> = pushes.iter().filter(|push| is_of_devices(push)).map(said).collect();
    // The model first and as an insert, devices as updates: what a KubeEdge mapper takes whether it knows them or not.
    for wanted in [
        pair(Operation::Insert, MODEL),
        pair(Operation::Update, "default/device/fresh"),
        pair(Operation::Update, "default/device/stays"),
        pair(Operation::Delete, SENSOR),
    ] {
        assert!(said.contains(&wanted), "{wanted:?} of {said:?}");
    }
    let place = |wanted: &str| said.iter().position(|(_, resource)| resource == wanted);
    assert!(place(MODEL) < place("default/device/fresh"), "{said:?}");
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for push in pushes.iter().filter(|push| push.route.resource.to_string() == "membership") {
        let content = members(push);
        let names = |field: &str| {
            let list = content[field].as_array().into_iter().flatten();
            list.filter_map(|member| member["id"].as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        added.extend(names("added_devices"));
        removed.extend(names("removed_devices"));
    }
    added.sort();
    assert_eq!(
        (added, removed),
        (vec!["default/fresh".to_owned(), "default/stays".to_owned()], vec!["default/sensor1".to_owned()])
    );
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_node_has_no_devices_until_they_name_it_and_keeps_none_of_the_old_name() {
    let cloud = Cloud::start().await;
    create(&cloud.models(), model("m")).await;
    create(&cloud.devices(), device("sensor1", "old", "m")).await;
    let mut old = Edge::registered(&cloud, "old", Dialect::SkerryV1).await;
    old.pushed(SENSOR).await;
    assert_eq!(said_ack(old.report(TWIN, reading(json!({"temperature": actual("1")}))).await), Outcome::Done);
    drop(old);
    cloud.nodes().delete("old", &DeleteParams::default()).await.expect("deleted");
    // The same machine under another name.
    let mut new = Edge::registered(&cloud, "new", Dialect::SkerryV1).await;
    let refused = said_ack(new.report(TWIN, reading(json!({"temperature": actual("2")}))).await);
    assert!(
        matches!(&refused, Outcome::Rejected(why) if why.contains("does not belong to node new")),
        "{refused:?}"
    );
    drop(new);
    within(Duration::from_secs(40), "the device says that its node is gone", || async {
        let device = cloud.devices().get("sensor1").await.expect("a device");
        let conditions = device.data.pointer("/status/conditions")?.as_array()?.clone();
        conditions.iter().any(|condition| condition["reason"] == "NodeNotFound").then_some(())
    })
    .await;
    change(&cloud, json!({"spec": {"nodeName": "new"}})).await;
    let mut new = Edge::connect(&cloud, "new", Dialect::SkerryV1).await;
    new.pushed(MODEL).await;
    new.pushed(SENSOR).await;
    assert_eq!(said_ack(new.report(TWIN, reading(json!({"temperature": actual("3")}))).await), Outcome::Done);
    assert_eq!(twins(&cloud).await[0]["reported"]["value"], "3");
    cloud.stop().await;
}

fn said_ack(item: Item) -> Outcome {
    match item {
        Item::Ack(ack) => ack.outcome,
        other => panic!("no acknowledgement: {other:?}"),
    }
}

/// A client that may do nothing with DeviceStatus objects until it is let.
fn without_status(client: kube::Client, closed: Arc<AtomicBool>) -> kube::Client {
    let door = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (client, closed) = (client.clone(), closed.load(Ordering::Relaxed));
        async move {
            if !closed || !request.uri().path().contains("/devicestatuses") {
                return client.send(request).await;
            }
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403,
                "message": "devicestatuses.devices.kubeedge.io is forbidden: User \"cloudcore\" cannot create it"});
            let answer = http::Response::builder()
                .status(403)
                .body(kube::client::Body::from(status.to_string().into_bytes()));
            Ok::<_, kube::Error>(answer.expect("an answer"))
        }
    });
    kube::Client::new(door, "default")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rights_on_statuses_devices_are_delivered_an_event_says_why_and_no_value_is_lost() {
    let closed = Arc::new(AtomicBool::new(true));
    let door = Arc::clone(&closed);
    let cloud = Cloud::start_through(|_| {}, |client| without_status(client, door)).await;
    create(&cloud.models(), model("m")).await;
    create(&cloud.devices(), device("sensor1", "edge1", "m")).await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::SkerryV1).await;
    edge.pushed(MODEL).await;
    edge.pushed(SENSOR).await;
    let events = cloud.api("v1", "Event", "events", Some("default"));
    let event = eventually("an event says why", || async {
        let list = events.list(&ListParams::default()).await.expect("the API answers");
        list.items.into_iter().find(|event| event.data["reason"] == "StatusNotWritten")
    })
    .await;
    assert_eq!(
        (&event.data["involvedObject"]["name"], &event.data["type"]),
        (&json!("sensor1"), &json!("Warning"))
    );
    let message = event.data["message"].as_str().expect("a message");
    assert!(
        message.contains("is forbidden") && message.contains("patch and delete devicestatuses"),
        "{message}"
    );
    let report = reading(json!({"temperature": actual("5")}));
    let outcome = said_ack(edge.report(TWIN, report.clone()).await);
    assert!(matches!(outcome, Outcome::Retry(_)), "{outcome:?}");
    // Once it is mended, the edge's next try is taken.
    closed.store(false, Ordering::Relaxed);
    assert_eq!(said_ack(edge.report(TWIN, report).await), Outcome::Done);
    assert_eq!(twins(&cloud).await[0]["reported"]["value"], "5");
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_makes_no_sense_is_turned_down_for_good_counted_and_changes_nothing() {
    let cloud = Cloud::start().await;
    create(&cloud.models(), model("m")).await;
    create(&cloud.devices(), device("sensor1", "edge1", "m")).await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::SkerryV1).await;
    edge.pushed(SENSOR).await;
    assert_eq!(
        said_ack(edge.report(TWIN, reading(json!({"temperature": actual("1")}))).await),
        Outcome::Done
    );
    let before = cloud.statuses().get("sensor1").await.expect("a status").data;
    let half = |half: Value| reading(json!({"temperature": {"actual": half}}));
    let state = "device/default/sensor1/state/update";
    let cases = [
        (TWIN, json!("text")),
        (TWIN, json!(7)),
        (TWIN, Value::Null),
        (TWIN, json!([])),
        (TWIN, json!({"twin": 5})),
        (TWIN, json!({"twin": {"temperature": 5}})),
        (TWIN, half(json!("5"))),
        (TWIN, half(json!({"value": 5}))),
        (TWIN, half(json!({"value": "5", "metadata": {"timestamp": "now"}}))),
        (TWIN, reading(json!({"temperature": {"actual": {"value": "5"}, "metadata": {"type": 7}}}))),
        (TWIN, reading(json!({"temperature": {"actual": {"value": "5"}, "actual_version": {"edge": "x"}}}))),
        (state, json!({"device": 5})),
        (state, json!({"device": {"state": 5}})),
        (state, json!("{")),
        ("device/default/nobody/twin/edge_updated", reading(json!({}))),
        ("device/default/nobody/state/update", json!({"device": {"state": "ok"}})),
    ];
    for (resource, content) in cases {
        let rejected = cloud.app.metrics.reports_rejected.get();
        let outcome = said_ack(edge.report(resource, content.clone()).await);
        assert!(
            matches!(&outcome, Outcome::Rejected(why) if !why.is_empty()),
            "{resource} {content}: {outcome:?}"
        );
        assert_eq!(cloud.app.metrics.reports_rejected.get(), rejected + 1, "{resource} {content}");
    }
    assert!(cloud.app.metrics.render().contains("cloudcore_device_reports_rejected_total 16"));
    assert_eq!(cloud.statuses().get("sensor1").await.expect("a status").data, before);
    // The session lives, and the next right one is taken.
    assert_eq!(
        said_ack(edge.report(TWIN, reading(json!({"temperature": actual("2")}))).await),
        Outcome::Done
    );
    assert_eq!(twins(&cloud).await[0]["reported"]["value"], "2");
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_says_of_when_it_heard_its_devices_is_taken_for_its_own_devices_only() {
    let cloud = Cloud::start().await;
    create(&cloud.models(), model("m")).await;
    create(&cloud.devices(), device("sensor1", "edge1", "m")).await;
    create(&cloud.devices(), device("foreign", "edge2", "m")).await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::SkerryV1).await;
    edge.pushed(SENSOR).await;
    let mappers = json!({"timestamp": 1, "mappers": []});
    assert_eq!(said_ack(edge.report("mappers", mappers).await), Outcome::Done);
    for strange in [
        json!(5),
        json!({"devices": 5}),
        json!({"devices": {"default/sensor1": -1}}),
        json!({"listening": "x"}),
    ] {
        let outcome = said_ack(edge.report("seen", strange.clone()).await);
        assert!(matches!(outcome, Outcome::Rejected(_)), "{strange}: {outcome:?}");
    }
    let devices = json!({"default/sensor1": 5, "default/foreign": 5, "nobody": 5, "default/none": 5});
    let seen = json!({"listening": 10_000, "devices": devices, "mood": "good"});
    assert_eq!(said_ack(edge.report("seen", seen).await), Outcome::Done);
    let shown = async |name: &str| {
        let device = cloud.devices().get(name).await.expect("a device");
        device.data.pointer("/status/lastReportTime").cloned()
    };
    eventually("it is shown when the device was heard", || async { shown("sensor1").await }).await;
    // It was not heard: its node is another.
    assert_eq!(shown("foreign").await, None);
    cloud.stop().await;
}
