//! What rules want of a node, with a real mosquitto as the external broker, and what is on disk of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use edgecore::edgehub::Outbox;
use edgecore::rules::{self, Handle, Settings, Tools};
use edgecore::{edgehub, eventbus};
use proto::config::{EventBus, MqttMode};
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::resource::Resource;
use proto::session::Outcome;
use serde_json::json;
use support::{Client, Mosquitto, NODE, free_port, mosquitto};
use tasks::TaskSet;
use tokio::time::Instant;

/// Eventbus and rules of an agent.
struct Bus {
    rules: Handle,
    tasks: [TaskSet; 3],
    _link: edgehub::Link,
}

impl Bus {
    async fn start(directory: &Path, settings: Settings, port: u16) -> Self {
        let tasks = ["devicetwin", "rules", "eventbus"].map(TaskSet::new);
        let config = EventBus {
            mqtt_mode: MqttMode::External,
            mqtt_server_external: format!("tcp://127.0.0.1:{port}"),
            ..EventBus::default()
        };
        let (hub, link) = edgehub::channel();
        let bus = eventbus::EventBus::new(
            eventbus::Settings::new(&config, NODE, &directory.join("edgecore.db")).unwrap(),
        );
        let voice = std::sync::Arc::new(bus.publisher());
        let twins = edgecore::devicetwin::Settings::beside(&directory.join("edgecore.db"), NODE);
        let twins = edgecore::devicetwin::open(twins, None, None, voice, &tasks[0]).await.unwrap();
        let tools = Tools { publisher: Some(bus.publisher()), caller: None, connection: hub.connection() };
        let rules = rules::open(settings, tools, &tasks[1]).await.unwrap();
        bus.start(twins, Some(rules.clone()), &tasks[2]).await.unwrap();
        Self { rules, tasks, _link: link }
    }

    async fn stop(self) {
        for tasks in self.tasks.into_iter().rev() {
            assert!(tasks.shutdown(Duration::from_secs(5)).await.is_clean());
        }
    }

    async fn hear(&self, operation: Operation, resource: &str, content: Content) -> Outcome {
        let route = Route::new(Source::RouterEventBus, Group::User, operation, Resource::from(resource));
        self.rules.accept(Message::new(route, content)).await
    }

    async fn waiting(&self) -> Vec<(String, String)> {
        let reports = self.rules.ahead(100, &HashSet::new()).await.unwrap();
        let text = |message: &Message| {
            (message.route.resource.to_string(), message.content.as_str().unwrap().into_owned())
        };
        reports.iter().map(|report| text(&report.message)).collect()
    }
}

fn settings(directory: &Path) -> Settings {
    Settings::beside(&directory.join("edgecore.db"))
}

fn broker(directory: &Path, port: u16) -> Mosquitto {
    Mosquitto::start(directory, port, "allow_anonymous true")
}

fn pair(topic: &str, text: &str) -> (String, String) {
    (topic.to_owned(), text.to_owned())
}

fn publish(port: u16, topic: &str) {
    let said = mosquitto("mosquitto_pub", port, &["-q", "1", "-t", topic, "-m", "x"]);
    assert!(said.status.success(), "{said:?}");
}

/// Publishes until it is kept: the agent may not have connected or subscribed yet.
async fn kept(bus: &Bus, port: u16, topic: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    while !bus.waiting().await.iter().any(|(waiting, _)| waiting == topic) {
        assert!(Instant::now() < end, "{topic} is not kept: {:?}", bus.waiting().await);
        publish(port, topic);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn topics_of_rules_are_subscribed_at_an_external_broker_also_after_it_or_the_agent_was_restarted() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let server = broker(directory.path(), port);
    let bus = Bus::start(directory.path(), settings(directory.path()), port).await;
    // As KubeEdge's cloud says it.
    assert_eq!(bus.hear(Operation::Subscribe, "default/a/", Content::null()).await, Outcome::Done);
    assert_eq!(bus.hear(Operation::Subscribe, "default/b", Content::null()).await, Outcome::Done);
    kept(&bus, port, "default/a").await;
    publish(port, "default/none");
    // No rule wants it, and the cloud is not there.
    publish(port, "any/user/x");
    kept(&bus, port, "default/b").await;
    assert_eq!(bus.waiting().await, [pair("default/a", "x"), pair("default/b", "x")]);

    // Another client hears what the cloud publishes.
    let mut client = Client::connect(port, "lamp").await;
    client.subscribe("lights/#").await;
    assert_eq!(bus.hear(Operation::Publish, "lights/kitchen", Content::text("1")).await, Outcome::Done);
    let (topic, payload) = client.next().await.expect("it is published");
    assert_eq!((topic.as_str(), payload), ("lights/kitchen", json!(1)));
    assert!(matches!(
        bus.hear(Operation::Publish, "lights/#", Content::text("1")).await,
        Outcome::Rejected(_)
    ));
    drop(client);

    bus.stop().await;
    drop(server);
    let server = broker(directory.path(), port);
    let bus = Bus::start(directory.path(), settings(directory.path()), port).await;
    assert!(bus.waiting().await.contains(&pair("default/a", "x")), "it is still there");
    kept(&bus, port, "default/b").await;
    drop(server);
    let _mosquitto = broker(directory.path(), port);
    assert_eq!(bus.hear(Operation::Subscribe, "default/c", Content::null()).await, Outcome::Done);
    kept(&bus, port, "default/c").await;

    // All of it is replaced, and what is not wanted any more is not kept.
    let orders = json!({"topics": ["default/d"], "urls": ["http://x"]});
    assert_eq!(bus.hear(Operation::Update, "rules", Content::json(&orders).unwrap()).await, Outcome::Done);
    kept(&bus, port, "default/d").await;
    publish(port, "default/late");
    assert!(bus.rules.orders().borrow().topics.iter().eq(["default/d"]));
    bus.stop().await;
}

#[tokio::test]
async fn a_full_room_loses_the_oldest_and_what_the_cloud_has_is_gone_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let small = Settings { messages: 5, ..settings(directory.path()) };
    let bus = Bus::start(directory.path(), small.clone(), free_port()).await;
    assert!(bus.rules.keep("a/user/0", "x".into()).await.is_none());
    assert_eq!(bus.hear(Operation::Subscribe, "a/user/#", Content::null()).await, Outcome::Done);
    for number in 0..8 {
        let topic = format!("a/user/{number}");
        let stored = bus.rules.keep(&topic, number.to_string().into()).await.expect("it is for the cloud");
        assert!(stored.await.unwrap().is_settled());
    }
    let wanted: Vec<_> =
        (3..8).map(|number| pair(&format!("a/user/{number}"), &number.to_string())).collect();
    assert_eq!(bus.waiting().await, wanted);
    let reports = bus.rules.ahead(1, &HashSet::new()).await.unwrap();
    let id = reports[0].message.header.id.clone();
    assert_eq!(bus.rules.ahead(1, &HashSet::new()).await.unwrap()[0].message.header.id, id, "its name stays");
    bus.rules.confirm(&reports[0].row, reports[0].version).await.unwrap();
    assert_eq!(bus.waiting().await, wanted[1..]);
    bus.stop().await;
    let bus = Bus::start(directory.path(), small, free_port()).await;
    assert_eq!(bus.waiting().await, wanted[1..]);
    bus.stop().await;
}

#[tokio::test]
async fn a_damaged_file_is_moved_aside_and_the_node_goes_on_with_what_the_cloud_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = settings(directory.path()).path;
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    let bus = Bus::start(directory.path(), settings(directory.path()), free_port()).await;
    assert!(bus.rules.orders().borrow().topics.is_empty());
    assert_eq!(bus.hear(Operation::Subscribe, "default/a", Content::null()).await, Outcome::Done);
    let stored = bus.rules.keep("default/a", "1".into()).await.expect("a rule wants it");
    assert!(stored.await.unwrap().is_settled());
    bus.stop().await;
    let bus = Bus::start(directory.path(), settings(directory.path()), free_port()).await;
    assert_eq!(bus.waiting().await, [pair("default/a", "1")]);
    bus.stop().await;
    let aside = std::fs::read_dir(directory.path()).unwrap().flatten();
    assert!(
        aside
            .map(|file| file.file_name())
            .any(|name| name.to_string_lossy().starts_with("rules.db.corrupt-"))
    );
}
