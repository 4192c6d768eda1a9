//! A node of KubeEdge's is swapped in place: the real program starts on the edgecore.db that KubeEdge's left, without the cloud.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

#[path = "dmi/mapper.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod mapper;
mod support;

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mapper::{Heard, Mapper};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use support::{Agent, Client, NODE, device, free_port, model};
use tokio::time::Instant;

/// The tables as KubeEdge v1.23's models make them.
const TABLES: &str = "
CREATE TABLE `device` (`id` text,`name` text,`description` text,`state` text,`last_online` text,PRIMARY KEY (`id`));
CREATE TABLE `device_attr` (`id` integer PRIMARY KEY AUTOINCREMENT,`deviceid` text,`name` text,`description` text,`value` text,
    `optional` numeric,`attr_type` text,`metadata` text);
CREATE TABLE `device_twin` (`id` integer PRIMARY KEY AUTOINCREMENT,`deviceid` text,`name` text,`description` text,`expected` text,
    `actual` text,`expected_meta` text,`actual_meta` text,`expected_version` text,`actual_version` text,`optional` numeric,
    `attr_type` text,`metadata` text);
CREATE TABLE `meta` (`key` text,`type` text,`value` text,PRIMARY KEY (`key`));
CREATE TABLE `meta_v2` (`key` text,`group_version_resource` text,`namespace` text,`name` text,`resource_version` integer,
    `value` text,PRIMARY KEY (`key`));
CREATE TABLE `sub_topics` (`topic` text,PRIMARY KEY (`topic`));
CREATE TABLE `target_urls` (`url` text,PRIMARY KEY (`url`));
";

async fn file(path: &Path, create: bool) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(create).connect().await.unwrap()
}

async fn left_by_kubeedge(path: &Path, socket: &Path) {
    let mut db = file(path, true).await;
    sqlx::raw_sql(TABLES).execute(&mut db).await.unwrap();
    let mapper = json!({"name": "mqttx-mapper", "version": "v1.23.0", "api_version": "v1.0.0", "protocol": "mqttx",
        "address": BASE64_STANDARD.encode(socket.to_str().unwrap()), "state": "ok"});
    let sensor = device("u-1", 2, None);
    for (key, kind, value) in [
        ("default/devicemodel/temp-model", "devicemodel", model().to_string()),
        ("default/device/sensor1", "device", sensor.to_string()),
        // Where KubeEdge puts what was edited on the node.
        ("default/device/updated", "device", sensor.to_string()),
        ("default/device/torn", "device", "{\"metadata\":{\"na".to_owned()),
        ("node/nodeID/namespace/devicemapper/mqttx-mapper", "devicemapper", mapper.to_string()),
        ("node/nodeID/namespace/devicemapper/torn", "devicemapper", "[".to_owned()),
        ("default/configmap/c", "configmap", "{}".to_owned()),
    ] {
        let insert = sqlx::query("INSERT INTO meta VALUES (?, ?, ?)").bind(key).bind(kind).bind(value);
        insert.execute(&mut db).await.unwrap();
    }
    sqlx::raw_sql(
        "INSERT INTO device VALUES ('default/sensor1', 'sensor1', 'boiler room', 'Online', '2026-02-03T10:13:20Z');
         INSERT INTO device VALUES ('default/forgotten', 'forgotten', '', '', '');
         INSERT INTO device VALUES ('one-level', 'one-level', '', '', '');
         INSERT INTO sub_topics VALUES ('default/room/t');
         INSERT INTO target_urls VALUES ('http://x/y');",
    )
    .execute(&mut db)
    .await
    .unwrap();
    let version = |edge: u64| json!({"cloud": 0, "edge": edge}).to_string();
    let at = |ms: i64| json!({ "timestamp": ms }).to_string();
    for (name, expected, actual, kind) in [
        ("temperature", None, Some(("41", 1_770_113_700_000, 7)), "int"),
        ("mode", Some(("eco", 1_770_113_600_000, 3)), Some(("day", 1_770_113_500_000, 2)), "string"),
        // What KubeEdge's mappers make of "nothing is wanted".
        ("empty", Some(("", 1_770_113_500_000, 1)), Some(("x", 1_770_113_500_000, 1)), "string"),
        ("gone", None, None, "deleted"),
    ] {
        let text = |half: Option<(&str, i64, u64)>| half.map_or(String::new(), |half| half.0.to_owned());
        let meta = |half: Option<(&str, i64, u64)>| half.map_or(String::new(), |half| at(half.1));
        let count = |half: Option<(&str, i64, u64)>| version(half.map_or(0, |half| half.2));
        let insert = "INSERT INTO device_twin (deviceid, name, description, expected, actual, expected_meta, actual_meta,
            expected_version, actual_version, optional, attr_type, metadata) VALUES ('default/sensor1', ?, '', ?, ?, ?, ?, ?, ?, ?, ?, '')";
        let insert =
            sqlx::query(insert).bind(name).bind(text(expected)).bind(text(actual)).bind(meta(expected));
        let insert = insert.bind(meta(actual)).bind(count(expected)).bind(count(actual)).bind(name != "mode");
        insert.bind(kind).execute(&mut db).await.unwrap();
    }
    // Names are not unique there: an older row of the same name.
    sqlx::raw_sql(
        "INSERT INTO device_twin (id, deviceid, name, actual, actual_meta, attr_type) VALUES (-1, 'default/sensor1', 'temperature', '9',
         '{\"timestamp\":1}', 'int')",
    )
    .execute(&mut db)
    .await
    .unwrap();
    db.close().await.unwrap();
}

async fn connected(port: u16) -> Client {
    let end = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "no broker");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Client::connect(port, "app").await
}

/// The answer to a question on MQTT.
async fn ask(port: u16, topic: &str, answer: &str) -> Value {
    let mut client = connected(port).await;
    client.subscribe(answer).await;
    client.publish(topic, &json!({"event_id": "g"})).await;
    client.next_within(Duration::from_secs(5)).await.expect("an answer").1
}

#[tokio::test]
async fn devices_twins_models_mappers_and_topics_of_a_kubeedge_node_are_there_without_the_cloud() {
    let directory = tempfile::tempdir().unwrap();
    let (database, socket) = (directory.path().join("edgecore.db"), directory.path().join("mqttx.sock"));
    left_by_kubeedge(&database, &socket).await;
    let mut mapper = Mapper::start(&socket);
    // Killed at any time of it, it is begun anew.
    for pause in [0, 10, 20, 30, 45, 60, 90] {
        let mut agent = Agent::start(directory.path(), free_port());
        tokio::time::sleep(Duration::from_millis(pause)).await;
        agent.kill();
    }
    let port = free_port();
    let mut agent = Agent::start(directory.path(), port);

    let sensor = "$hw/events/device/default/sensor1";
    let answer = ask(port, &format!("{sensor}/twin/get"), &format!("{sensor}/twin/get/result")).await;
    let twin = |value: &str, ms: i64| json!({"value": value, "metadata": {"timestamp": ms}});
    let twins = json!({
        "temperature": {"actual": twin("41", 1_770_113_700_000), "optional": true, "metadata": {"type": "int"}},
        "mode": {"expected": twin("eco", 1_770_113_600_000), "actual": twin("day", 1_770_113_500_000), "optional": false,
                 "metadata": {"type": "string"}},
        "empty": {"expected": twin("", 1_770_113_500_000), "actual": twin("x", 1_770_113_500_000), "optional": true,
                  "metadata": {"type": "string"}},
    });
    assert_eq!(answer["twin"], twins);
    let members = ask(
        port,
        &format!("$hw/events/node/{NODE}/membership/get"),
        &format!("$hw/events/node/{NODE}/membership/get/result"),
    )
    .await;
    let member = json!([{"id": "default/sensor1", "name": "sensor1", "state": "Online", "last_online": "2026-02-03T10:13:20Z"}]);
    let mut listed = members["devices"].clone();
    listed[0].as_object_mut().unwrap().remove("description");
    assert_eq!(listed, member);

    // The mapper did not register again, and is told what it may have missed.
    let Heard::CreateModel(heard) = mapper.hears().await else { panic!("no model") };
    assert_eq!(heard.name, "temp-model");
    let Heard::Register(heard) = mapper.hears().await else { panic!("no device") };
    assert_eq!((heard.namespace.as_str(), heard.name.as_str()), ("default", "sensor1"));

    // The model's rule is in force, and what a rule wants is kept for the cloud.
    let mut client = connected(port).await;
    client.subscribe(&format!("{sensor}/twin/update/result")).await;
    let hot = json!({"event_id": "hot", "twin": {"temperature": {"actual": {"value": "500"}}}});
    client.publish(&format!("{sensor}/twin/update"), &hot).await;
    let (_, answer) = client.next_within(Duration::from_secs(5)).await.unwrap();
    assert!(answer["reason"].as_str().unwrap().contains("maximum 100"), "{answer}");
    client.publish("default/room/t", &json!({"v": 1})).await;
    client
        .publish(
            &format!("{sensor}/twin/update"),
            &json!({"event_id": "x", "twin": {"temperature": {"actual": {"value": "42"}}}}),
        )
        .await;
    client.next_within(Duration::from_secs(5)).await.unwrap();
    agent.kill();

    let mut rules = file(&directory.path().join("rules.db"), false).await;
    let kept: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT topic, payload FROM uploads").fetch_all(&mut rules).await.unwrap();
    assert_eq!(kept, [("default/room/t".to_owned(), b"{\"v\":1}".to_vec())]);
    let urls: Vec<String> =
        sqlx::query_scalar("SELECT url FROM target_urls").fetch_all(&mut rules).await.unwrap();
    assert_eq!(urls, ["http://x/y"]);
    let mut twins = file(&directory.path().join("devicetwin.db"), false).await;
    let versions: Vec<(String, i64, i64)> =
        sqlx::query_as("SELECT name, expected_edge, actual_edge FROM twin ORDER BY name")
            .fetch_all(&mut twins)
            .await
            .unwrap();
    let row = |name: &str, expected, actual| (name.to_owned(), expected, actual);
    assert_eq!(
        versions,
        [row("empty", 1, 1), row("gone", 0, 0), row("mode", 3, 2), row("temperature", 0, 8)]
    );
    // Once is enough: what has changed since is not taken back. The way back to KubeEdge is open.
    let mut database = file(&database, false).await;
    let marks: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE name = 'taken_over'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM device_twin").fetch_one(&mut database).await.unwrap();
    assert_eq!((marks, left), (1, 5));
    let port = free_port();
    let _agent = Agent::start(directory.path(), port);
    let answer = ask(port, &format!("{sensor}/twin/get"), &format!("{sensor}/twin/get/result")).await;
    assert_eq!(answer["twin"]["temperature"]["actual"]["value"], "42");
}
