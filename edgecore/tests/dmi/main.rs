//! Mappers over the device mapper interface: what they are given, told and believed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod mapper;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::time::Duration;

use dmi::v1beta1::{
    DeviceStatus, MapperRegisterRequest, ReportDeviceStatesRequest, ReportDeviceStatusRequest, Twin,
    TwinProperty,
};
use dmi::value::from_map;
use edgecore::edgehub::Outbox;
use mapper::{Heard, Mapper, manager};
use proto::config::{EventBus, MqttMode};
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::session::Outcome;
use serde_json::{Value, json};
use support::{Agent, Client, Edge, Mosquitto, NODE, free_port};
use tokio::task::JoinSet;
use tonic::Code;

const MODEL: &str = "default/devicemodel/boiler-v1";
const DEVICE: &str = "default/device/boiler-1";

fn model(version: u64, timeout: u64) -> Value {
    json!({"kind": "DeviceModel", "apiVersion": "devices.kubeedge.io/v1beta1",
        "metadata": {"name": "boiler-v1", "namespace": "default", "uid": "m", "resourceVersion": version.to_string()},
        "spec": {"protocol": "modbus", "protocolConfigData": {"timeout": timeout}, "properties": [
            {"name": "temperature", "type": "FLOAT", "accessMode": "ReadOnly", "maximum": "150", "unit": "celsius",
                "visitors": {"protocolName": "modbus", "configData": {"register": "InputRegister", "offset": 0}}},
            {"name": "setpoint", "type": "INT", "accessMode": "ReadWrite"}]}})
}

fn device(namespace: &str, name: &str, version: u64, setpoint: &str) -> Value {
    json!({"kind": "Device", "apiVersion": "devices.kubeedge.io/v1beta1",
        "metadata": {"name": name, "namespace": namespace, "uid": name, "resourceVersion": version.to_string()},
        "spec": {"deviceModelRef": {"name": "boiler-v1"}, "nodeName": NODE,
            "protocol": {"protocolName": "modbus", "configData": {"ip": "192.168.10.20", "port": 502, "slaveID": 1}},
            "stateReport": {"reportToCloud": true, "reportCycle": 30000},
            "properties": [
                {"name": "temperature", "collectCycle": 10000, "reportToCloud": true,
                    "visitors": {"protocolName": "modbus", "configData": {"offset": 4}}},
                {"name": "setpoint", "desired": {"value": setpoint}, "reportToCloud": true}]}})
}

async fn boiler(edge: &Edge) {
    edge.push(Operation::Insert, MODEL, 1, &model(1, 1000)).await;
    edge.push(Operation::Insert, DEVICE, 2, &device("default", "boiler-1", 2, "65")).await;
}

fn report(namespace: &str, name: &str, property: &str, value: &str) -> ReportDeviceStatusRequest {
    let text = |value: &str| Some(TwinProperty { value: value.into(), metadata: BTreeMap::new() });
    let twin = Twin { property_name: property.into(), observed_desired: text(""), reported: text(value) };
    ReportDeviceStatusRequest {
        device_name: name.into(),
        device_namespace: namespace.into(),
        reported_device: Some(DeviceStatus { twins: vec![twin], ..Default::default() }),
    }
}

/// The newest reported value of a property, as the cloud would be told.
async fn told(edge: &Edge, device: &str, property: &str) -> Option<String> {
    let reports = edge.twins.ahead(1000, &HashSet::new()).await.unwrap();
    let of_device = |resource: String| resource.contains(device) && resource.contains("twin");
    let report = reports.iter().find(|report| of_device(report.message.route.resource.to_string()))?;
    let content: Value = report.message.content.parse().unwrap();
    Some(content["twin"][property]["actual"]["value"].as_str()?.to_owned())
}

#[tokio::test]
async fn a_mapper_is_given_its_devices_with_their_models_defaults() {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    boiler(&edge).await;
    let mut manager = manager(directory.path()).await;
    let mapper = Mapper::start(&directory.path().join("modbus.sock"));

    let given = manager.mapper_register(mapper.registration("modbus", true)).await.unwrap().into_inner();
    assert_eq!(given.model_list.len(), 1);
    assert_eq!(
        (given.model_list[0].name.as_str(), given.model_list[0].namespace.as_str()),
        ("boiler-v1", "default")
    );
    assert_eq!(given.device_list.len(), 1);
    let device = &given.device_list[0];
    let spec = device.spec.as_ref().unwrap();
    assert_eq!(spec.device_model_reference, "boiler-v1");
    let protocol = spec.protocol.as_ref().unwrap();
    assert_eq!(protocol.protocol_name, "modbus");
    let merged = json!({"ip": "192.168.10.20", "port": 502, "slaveID": 1, "timeout": 1000});
    assert_eq!(Value::Object(from_map(&protocol.config_data.as_ref().unwrap().data)), merged);
    let visitors = spec.properties[0].visitors.as_ref().unwrap().config_data.as_ref().unwrap();
    assert_eq!(Value::Object(from_map(&visitors.data)), json!({"offset": 4, "register": "InputRegister"}));
    assert_eq!(spec.properties[1].desired.as_ref().unwrap().value, "65");
    let status = device.status.as_ref().unwrap();
    assert_eq!((status.report_to_cloud, status.report_cycle), (true, 30_000));

    let given = manager.mapper_register(mapper.registration("modbus", false)).await.unwrap().into_inner();
    assert!(given.model_list.is_empty() && given.device_list.is_empty());
    let given = manager.mapper_register(mapper.registration("opcua", true)).await.unwrap().into_inner();
    assert!(given.model_list.is_empty() && given.device_list.is_empty());
    edge.stop().await;
    assert!(!directory.path().join("dmi.sock").exists());
}

#[tokio::test]
async fn a_registration_without_a_protocol_or_without_a_mapper_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    let mut manager = manager(directory.path()).await;
    let mapper = Mapper::start(&directory.path().join("m.sock"));
    let refused = manager.mapper_register(mapper.registration("", true)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unknown);
    assert_eq!(refused.message(), "fail to register mapper test-mapper because the protocol is nil");
    let nobody = MapperRegisterRequest { with_data: true, mapper: None };
    assert_eq!(manager.mapper_register(nobody).await.unwrap_err().code(), Code::InvalidArgument);
    edge.stop().await;
}

#[tokio::test]
async fn what_a_mapper_reports_is_said_on_mqtt_and_waits_for_the_cloud() {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    boiler(&edge).await;
    let mut manager = manager(directory.path()).await;
    let mut client = Client::connect(edge.port, "reader").await;
    client.subscribe("$hw/events/device/default/boiler-1/#").await;

    manager.report_device_status(report("default", "boiler-1", "temperature", "71.3")).await.unwrap();
    let mut heard = BTreeMap::new();
    while let Some((topic, payload)) = client.next().await {
        heard.insert(topic, payload);
    }
    let of = |verb: &str| &heard[&format!("$hw/events/device/default/boiler-1/{verb}")];
    assert_eq!(of("twin/update/result")["twin"]["temperature"]["actual"]["value"], "71.3");
    assert_eq!(of("twin/update/document")["twin"]["temperature"]["current"]["actual"]["value"], "71.3");
    // The type is the model's, where KubeEdge says `string`; nothing is said about an expectation, as there is none.
    let up = async || edge.twins.ahead(10, &HashSet::new()).await.unwrap().remove(0);
    let first = up().await;
    let content: Value = first.message.content.parse().unwrap();
    let twin = &content["twin"]["temperature"];
    assert_eq!(
        (&twin["actual"]["value"], &twin["metadata"]["type"], &twin["actual_version"], &twin["optional"]),
        (&json!("71.3"), &json!("float"), &json!({"cloud": 0, "edge": 1}), &json!(true))
    );
    assert!(twin.get("expected").is_none() && twin.get("expected_version").is_none(), "{twin}");
    // The same again is answered, and costs nothing.
    manager.report_device_status(report("default", "boiler-1", "temperature", "71.3")).await.unwrap();
    let (topic, _) = client.next().await.expect("a result");
    assert_eq!(topic, "$hw/events/device/default/boiler-1/twin/update/result");
    assert!(client.next().await.is_none());
    assert_eq!(up().await.version, first.version);

    let online = ReportDeviceStatesRequest {
        device_name: "boiler-1".into(),
        device_namespace: "default".into(),
        state: "ok".into(),
    };
    manager.report_device_states(online).await.unwrap();
    let (topic, payload) = client.next().await.unwrap();
    assert_eq!(topic, "$hw/events/device/default/boiler-1/state/update/result");
    assert_eq!(payload["device"]["state"], "ok");
    edge.stop().await;
}

#[tokio::test]
async fn a_report_that_cannot_be_taken_is_refused_with_the_reason_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    boiler(&edge).await;
    let mut manager = manager(directory.path()).await;
    manager.report_device_status(report("default", "boiler-1", "temperature", "20")).await.unwrap();

    let mut empty = report("default", "boiler-1", "temperature", "1");
    empty.reported_device.as_mut().unwrap().twins.clear();
    let mut unset = report("default", "boiler-1", "temperature", "1");
    unset.reported_device.as_mut().unwrap().twins[0].reported = None;
    let mut unobserved = report("default", "boiler-1", "temperature", "1");
    unobserved.reported_device.as_mut().unwrap().twins[0].observed_desired = None;
    let cases = [
        (empty, Code::Unknown, "ReportDeviceStatusRequest does not have twin data"),
        (unset, Code::InvalidArgument, "twin temperature: reported is missing"),
        (unobserved, Code::InvalidArgument, "twin temperature: observedDesired is missing"),
        (report("", "boiler-1", "temperature", "1"), Code::InvalidArgument, "deviceNamespace"),
        (report("default", "nobody", "temperature", "1"), Code::NotFound, "not existed"),
        (report("default", "boiler-1", "temperature", "151"), Code::InvalidArgument, "maximum 150"),
        (report("default", "boiler-1", "temperature", "hot"), Code::InvalidArgument, "float"),
    ];
    for (request, code, words) in cases {
        let refused = manager.report_device_status(request.clone()).await.expect_err(words);
        assert_eq!(refused.code(), code, "{request:?}: {refused}");
        assert!(refused.message().contains(words), "{request:?}: {refused}");
    }
    assert_eq!(told(&edge, "boiler-1", "temperature").await.as_deref(), Some("20"));
    let nothing = manager.report_device_states(ReportDeviceStatesRequest::default()).await.unwrap_err();
    assert_eq!(nothing.message(), "ReportDeviceStatesRequest is invalid data");
    edge.stop().await;
}

#[tokio::test]
async fn a_report_that_is_too_long_is_refused_and_counted_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    boiler(&edge).await;
    let mut manager = manager(directory.path()).await;
    manager.report_device_status(report("default", "boiler-1", "temperature", "20")).await.unwrap();
    let long = report("default", "boiler-1", "temperature", &"2".repeat(2 << 20));
    let refused = manager.report_device_status(long).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    assert!(refused.message().contains("1048576"), "{refused}");
    let page = edge.metrics.render();
    assert!(page.contains("edgecore_mapper_requests_refused_total{reason=\"oversized\"} 1"), "{page}");
    assert_eq!(told(&edge, "boiler-1", "temperature").await.as_deref(), Some("20"));
    // The mapper goes on with the same connection.
    manager.report_device_status(report("default", "boiler-1", "temperature", "21")).await.unwrap();
    assert_eq!(told(&edge, "boiler-1", "temperature").await.as_deref(), Some("21"));
    edge.stop().await;
}

#[tokio::test]
async fn a_mapper_is_told_what_changes_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    boiler(&edge).await;
    let mut manager = manager(directory.path()).await;
    let mut mapper = Mapper::start(&directory.path().join("modbus.sock"));
    manager.mapper_register(mapper.registration("modbus", true)).await.unwrap();
    mapper.is_left_alone().await;

    edge.push(Operation::Update, DEVICE, 3, &device("default", "boiler-1", 3, "70")).await;
    let Heard::Update(heard) = mapper.hears().await else { panic!("no update") };
    assert_eq!(heard.spec.unwrap().properties[1].desired.as_ref().unwrap().value, "70");

    let mut labelled = device("default", "boiler-1", 4, "70");
    labelled["metadata"]["labels"] = json!({"floor": "2"});
    edge.push(Operation::Update, DEVICE, 4, &labelled).await;
    mapper.is_left_alone().await;

    // The model's defaults are part of every device of it.
    edge.push(Operation::Update, MODEL, 5, &model(5, 2000)).await;
    let Heard::Update(heard) = mapper.hears().await else { panic!("no update") };
    let protocol = heard.spec.unwrap().protocol.unwrap();
    assert_eq!(from_map(&protocol.config_data.unwrap().data)["timeout"], 2000);

    // A namespace that is a part of KubeEdge's topics.
    edge.push(Operation::Insert, "dev/devicemodel/boiler-v1", 6, &{
        let mut other = model(6, 1);
        other["metadata"]["namespace"] = "dev".into();
        other
    })
    .await;
    edge.push(Operation::Insert, "dev/device/s1", 7, &device("dev", "s1", 7, "1")).await;
    let Heard::CreateModel(heard) = mapper.hears().await else { panic!("no model") };
    assert_eq!(heard.namespace, "dev");
    let Heard::Register(heard) = mapper.hears().await else { panic!("no device") };
    assert_eq!((heard.namespace.as_str(), heard.name.as_str()), ("dev", "s1"));
    manager.report_device_status(report("dev", "s1", "temperature", "3")).await.unwrap();
    assert_eq!(told(&edge, "s1", "temperature").await.as_deref(), Some("3"));

    edge.push(Operation::Delete, "dev/device/s1", 8, &device("dev", "s1", 8, "1")).await;
    assert_eq!(mapper.hears().await, Heard::Remove("dev/s1".into()));
    edge.stop().await;
}

#[tokio::test]
async fn what_changed_while_a_mapper_or_the_agent_was_down_is_told_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("modbus.sock");
    let edge = Edge::start(directory.path()).await;
    boiler(&edge).await;
    let mapper = Mapper::start(&socket);
    manager(directory.path()).await.mapper_register(mapper.registration("modbus", true)).await.unwrap();
    mapper.kill().await;
    edge.push(Operation::Update, DEVICE, 3, &device("default", "boiler-1", 3, "70")).await;
    edge.push(Operation::Insert, "default/device/boiler-2", 4, &device("default", "boiler-2", 4, "1")).await;
    edge.stop().await;

    // The agent comes back first; the mapper did not forget, so it does not register again.
    let edge = Edge::start(directory.path()).await;
    edge.push(Operation::Delete, "default/device/boiler-2", 5, &device("default", "boiler-2", 5, "1")).await;
    let mut mapper = Mapper::start(&socket);
    let Heard::Update(heard) = mapper.hears().await else { panic!("no update") };
    assert_eq!(heard.spec.unwrap().properties[1].desired.as_ref().unwrap().value, "70");
    // It never had the second boiler.
    mapper.is_left_alone().await;
    mapper.kill().await;

    // One that forgot registers, and is given what is, not what was.
    edge.push(Operation::Delete, DEVICE, 6, &device("default", "boiler-1", 6, "70")).await;
    let mut mapper = Mapper::start(&socket);
    let given = manager(directory.path()).await.mapper_register(mapper.registration("modbus", true)).await;
    assert!(given.unwrap().into_inner().device_list.is_empty());
    mapper.is_left_alone().await;
    edge.stop().await;
}

#[tokio::test]
async fn what_kubeedges_cloud_sends_after_an_outage_reaches_members_and_mappers() {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    let mut mapper = Mapper::start(&directory.path().join("modbus.sock"));
    let mut manager = manager(directory.path()).await;
    manager.mapper_register(mapper.registration("modbus", true)).await.unwrap();
    // Its controller for synchronisation speaks as another module, updates what is new, and sends no membership.
    let sent = async |operation, resource: &str, object: Value| {
        let route = Route::new(Source::EdgeController, Group::Resource, operation, resource.parse().unwrap());
        let outcomes = edge.objects.accept(vec![Message::new(route, Content::json(&object).unwrap())]).await;
        assert_eq!(outcomes, [Outcome::Done], "{resource}");
    };
    sent(Operation::Update, MODEL, model(1, 1000)).await;
    sent(Operation::Update, DEVICE, device("default", "boiler-1", 2, "65")).await;
    assert!(matches!(mapper.hears().await, Heard::CreateModel(_)));
    let Heard::Register(heard) = mapper.hears().await else { panic!("no device") };
    assert_eq!(heard.name, "boiler-1");
    manager.report_device_status(report("default", "boiler-1", "temperature", "20")).await.unwrap();
    assert_eq!(told(&edge, "boiler-1", "temperature").await.as_deref(), Some("20"));
    // What is gone is named by a stub.
    let stub = json!({"metadata": {"name": "boiler-1", "namespace": "default", "uid": "boiler-1"}});
    sent(Operation::Delete, DEVICE, stub).await;
    assert_eq!(mapper.hears().await, Heard::Remove("default/boiler-1".into()));
    let refused = manager.report_device_status(report("default", "boiler-1", "temperature", "21")).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    edge.stop().await;
}

#[tokio::test]
async fn a_device_that_the_mapper_refuses_keeps_no_other_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    let mut manager = manager(directory.path()).await;
    let mut mapper = Mapper::refusing(&directory.path().join("modbus.sock"), "boiler-1");
    manager.mapper_register(mapper.registration("modbus", true)).await.unwrap();
    boiler(&edge).await;
    edge.push(Operation::Insert, "default/device/boiler-2", 4, &device("default", "boiler-2", 4, "1")).await;
    assert!(matches!(mapper.hears().await, Heard::CreateModel(_)));
    let Heard::Register(heard) = mapper.hears().await else { panic!("no device") };
    assert_eq!(heard.name, "boiler-2");
    edge.stop().await;
}

#[tokio::test]
async fn five_hundred_reports_at_once_are_all_taken() {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    boiler(&edge).await;
    let manager = manager(directory.path()).await;
    let reports = (0..500).map(|number| {
        let mut manager = manager.clone();
        let property = format!("p{}", number % 50);
        async move {
            manager.report_device_status(report("default", "boiler-1", &property, &number.to_string())).await
        }
    });
    for answer in futures::future::join_all(reports).await {
        answer.unwrap();
    }
    edge.stop().await;
}

#[tokio::test]
async fn without_the_external_broker_mappers_are_heard_and_mqtt_goes_on_when_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let mosquitto = || Mosquitto::start(directory.path(), port, "allow_anonymous true");
    let broker = mosquitto();
    let config = EventBus {
        mqtt_mode: MqttMode::External,
        mqtt_server_external: format!("tcp://127.0.0.1:{port}"),
        ..EventBus::default()
    };
    let edge = Edge::with(directory.path(), &config, port).await;
    boiler(&edge).await;
    let mut manager = manager(directory.path()).await;
    manager.report_device_status(report("default", "boiler-1", "temperature", "1")).await.unwrap();
    drop(broker);
    // More than KubeEdge's queue of 1,024 holds, at two or three messages for each.
    let began = tokio::time::Instant::now();
    for value in 0..2_000 {
        manager
            .report_device_status(report("default", "boiler-1", "temperature", &(value % 150).to_string()))
            .await
            .unwrap();
        if value % 500 == 0 {
            assert_eq!(told(&edge, "boiler-1", "temperature").await, Some((value % 150).to_string()));
        }
    }
    assert_eq!(told(&edge, "boiler-1", "temperature").await.as_deref(), Some("49"));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());

    let _broker = mosquitto();
    let mut client = Client::connect(port, "reader").await;
    client.subscribe("$hw/events/device/default/boiler-1/twin/update/document").await;
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    let mut value = 100;
    // What was queued meanwhile may come first.
    while {
        value = 100 + (value + 1) % 50;
        let reported = report("default", "boiler-1", "temperature", &value.to_string());
        manager.report_device_status(reported).await.unwrap();
        let mut newest = Value::Null;
        while let Some((_, document)) = client.next().await {
            newest = document["twin"]["temperature"]["current"]["actual"]["value"].clone();
        }
        newest.as_str() != Some(value.to_string().as_str())
    } {
        assert!(tokio::time::Instant::now() < end, "MQTT does not go on");
    }
    edge.stop().await;
}

#[tokio::test]
async fn what_is_no_grpc_ends_its_own_connection_only() {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    boiler(&edge).await;
    let mut manager = manager(directory.path()).await;
    let mut random = fastrand::Rng::new();
    for length in [0, 1, 24, 4096, 1 << 20] {
        let mut hostile = std::os::unix::net::UnixStream::connect(directory.path().join("dmi.sock")).unwrap();
        hostile.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        // It may hang up before it has read all.
        let _ = hostile.write_all(&bytes);
    }
    let mut long = report("default", "boiler-1", "temperature", "1");
    long.device_name = "x".repeat(2 << 20);
    assert!(manager.report_device_status(long).await.is_err());
    manager.report_device_status(report("default", "boiler-1", "temperature", "1")).await.unwrap();
    edge.stop().await;
}

#[tokio::test]
async fn what_was_taken_from_a_mapper_is_there_after_kill_9_and_so_is_the_mapper() {
    let directory = tempfile::tempdir().unwrap();
    let edge = Edge::start(directory.path()).await;
    boiler(&edge).await;
    let socket = directory.path().join("modbus.sock");
    let mut mapper = Mapper::start(&socket);
    manager(directory.path()).await.mapper_register(mapper.registration("modbus", true)).await.unwrap();
    edge.stop().await;

    // The ledger: per property the last value that was taken. Values grow, so newer is greater.
    let mut ledger = BTreeMap::<String, u64>::new();
    let mut value = 0;
    for round in 0..4_u64 {
        let mut agent = Agent::start(directory.path(), free_port());
        let mut manager = manager(directory.path()).await;
        let mut killed = JoinSet::new();
        killed.spawn(async move {
            tokio::time::sleep(Duration::from_millis(150 + 70 * round)).await;
            agent.kill();
        });
        loop {
            value += 1;
            let property = format!("p{}", value % 7);
            let report = report("default", "boiler-1", &property, &value.to_string());
            if manager.report_device_status(report).await.is_err() {
                break;
            }
            ledger.insert(property, value);
        }
        killed.join_next().await.unwrap().unwrap();
    }
    let edge = Edge::start(directory.path()).await;
    assert_eq!(ledger.len(), 7, "{ledger:?}");
    for (property, taken) in ledger {
        let stored = told(&edge, "boiler-1", &property).await.unwrap().parse::<u64>().unwrap();
        assert!(stored >= taken, "{property}: {taken} was taken, {stored} is stored");
    }
    mapper.is_left_alone().await;
    edge.push(Operation::Update, DEVICE, 3, &device("default", "boiler-1", 3, "70")).await;
    assert!(matches!(mapper.hears().await, Heard::Update(_)));
    edge.stop().await;
}
