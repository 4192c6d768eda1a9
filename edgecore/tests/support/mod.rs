//! A node without a cloud: metamanager, devicetwin, eventbus and dmi on a temporary directory and a free port.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use edgecore::devicetwin::{self, Settings};
use edgecore::dmi;
use edgecore::edgehub;
use edgecore::eventbus::{self, EventBus, Publisher};
use edgecore::metamanager;
use edgecore::metrics::Metrics;
use proto::config;
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::session::Outcome;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use tasks::TaskSet;
use tokio::time::{Instant, timeout};

pub const NODE: &str = "edge1";

pub struct Edge {
    pub objects: metamanager::Handle,
    pub twins: devicetwin::Handle,
    pub publisher: Publisher,
    pub port: u16,
    pub metrics: Metrics,
    tasks: [TaskSet; 4],
    _link: edgehub::Link,
}

impl Edge {
    pub async fn start(directory: &Path) -> Self {
        let port = free_port();
        let bus = config::EventBus {
            mqtt_mode: config::MqttMode::Internal,
            mqtt_server_internal: format!("tcp://127.0.0.1:{port}"),
            ..config::EventBus::default()
        };
        Self::with(directory, &bus, port).await
    }

    pub async fn with(directory: &Path, config: &config::EventBus, port: u16) -> Self {
        let tasks = ["metamanager", "devicetwin", "eventbus", "dmi"].map(TaskSet::new);
        let (hub, link) = edgehub::channel();
        let path = directory.join("edgecore.db");
        let objects =
            metamanager::open(metamanager::Settings::new(&path, NODE), hub, &tasks[0]).await.unwrap();
        let metrics = Metrics::default();
        let bus = eventbus::Settings::new(config, NODE, &path).unwrap();
        let bus = EventBus::new(eventbus::Settings { metrics: metrics.clone(), ..bus });
        let publisher = bus.publisher();
        let voice = std::sync::Arc::new(publisher.clone());
        let settings = Settings { metrics: metrics.clone(), ..Settings::beside(&path, NODE) };
        let twins = devicetwin::open(settings, Some(objects.clone()), None, voice, &tasks[1]).await.unwrap();
        bus.start(twins.clone(), None, &tasks[2]).await.unwrap();
        dmi::start(
            dmi::Settings { metrics: metrics.clone(), ..dmi::Settings::new(directory, &path, NODE) },
            objects.clone(),
            twins.clone(),
            None,
            &tasks[3],
        )
        .await;
        Self { objects, twins, publisher, port, metrics, tasks, _link: link }
    }

    pub async fn stop(self) {
        for tasks in self.tasks.into_iter().rev() {
            let report = tasks.shutdown(Duration::from_secs(5)).await;
            assert!(report.is_clean(), "{report:?}");
        }
    }

    /// What the cloud would push.
    pub async fn push(&self, operation: Operation, resource: &str, version: u64, object: &Value) {
        let route =
            Route::new(Source::DeviceController, Group::Resource, operation, resource.parse().unwrap());
        let message =
            Message::new(route, Content::json(object).unwrap()).with_resource_version(version.to_string());
        let outcomes = self.objects.accept(vec![message]).await;
        assert_eq!(outcomes, [Outcome::Done], "{resource}");
    }

    /// Device `default/sensor1` and its model, as in the recorded conversation; waits until it is a member.
    pub async fn add_sensor(&self, desired: Option<&str>) {
        self.push(Operation::Insert, "default/devicemodel/temp-model", 1, &model()).await;
        self.push(Operation::Insert, "default/device/sensor1", 2, &device("u-1", 2, desired)).await;
        let mut client = Client::connect(self.port, "membership-wait").await;
        client.subscribe("$hw/events/node/+/membership/get/result").await;
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            client.publish("$hw/events/node/x/membership/get", &json!({"event_id": "wait"})).await;
            let (_, answer) = client.next().await.expect("an answer to membership/get");
            if answer["devices"].as_array().is_some_and(|devices| !devices.is_empty()) {
                break;
            }
            assert!(Instant::now() < end, "the device does not become a member");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub fn model() -> Value {
    json!({"kind":"DeviceModel","apiVersion":"devices.kubeedge.io/v1beta1",
        "metadata":{"name":"temp-model","namespace":"default","uid":"m-1","resourceVersion":"1"},
        "spec":{"properties":[{"name":"temperature","type":"INT","accessMode":"ReadWrite","maximum":"100","unit":"C"}]}})
}

pub fn device(uid: &str, version: u64, desired: Option<&str>) -> Value {
    let mut property = json!({"name":"temperature","reportToCloud":true});
    if let Some(value) = desired {
        property["desired"] = json!({"value": value, "metadata": {"type": "int"}});
    }
    json!({"kind":"Device","apiVersion":"devices.kubeedge.io/v1beta1",
        "metadata":{"name":"sensor1","namespace":"default","uid":uid,"resourceVersion":version.to_string()},
        "spec":{"deviceModelRef":{"name":"temp-model"},"nodeName":NODE,"properties":[property],
            "protocol":{"protocolName":"mqttx"}},"status":{}})
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An rumqttc client that is driven by whoever waits for something.
pub struct Client {
    pub client: AsyncClient,
    pub events: EventLoop,
}

impl Client {
    /// As [`Client::connect`], with a name and a password; waits until the broker is there.
    pub async fn login(port: u16, id: &str, user: &str, password: &str) -> Self {
        let mut options = Self::options(port, id);
        options.set_credentials(user, password);
        Self::open(options).await
    }

    pub async fn connect(port: u16, id: &str) -> Self {
        Self::open(Self::options(port, id)).await
    }

    /// As [`Client::connect`], with a session that outlives the connection.
    pub async fn lasting(port: u16, id: &str) -> Self {
        let mut options = Self::options(port, id);
        options.set_clean_session(false);
        Self::open(options).await
    }

    fn options(port: u16, id: &str) -> MqttOptions {
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_max_packet_size(1 << 20, 1 << 20).set_inflight(1000);
        options
    }

    async fn open(options: MqttOptions) -> Self {
        let (client, mut events) = AsyncClient::new(options, 4096);
        loop {
            let event = timeout(Duration::from_secs(5), events.poll()).await.expect("the broker answers");
            if let Event::Incoming(Packet::ConnAck(_)) = event.expect("connects") {
                return Self { client, events };
            }
        }
    }

    pub async fn subscribe(&mut self, filter: &str) {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        loop {
            let event = timeout(Duration::from_secs(5), self.events.poll()).await.expect("a SUBACK").unwrap();
            if let Event::Incoming(Packet::SubAck(_)) = event {
                return;
            }
        }
    }

    pub async fn publish(&mut self, topic: &str, payload: &Value) {
        let payload = match payload {
            Value::String(raw) => raw.clone(),
            value => value.to_string(),
        };
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
    }

    /// The next message, as topic and JSON; `None` after a second of silence.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        self.next_within(Duration::from_secs(1)).await
    }

    pub async fn next_within(&mut self, limit: Duration) -> Option<(String, Value)> {
        let end = Instant::now() + limit;
        loop {
            let event = tokio::time::timeout_at(end, self.events.poll()).await.ok()?;
            if let Ok(Event::Incoming(Packet::Publish(publish))) = event {
                let payload = serde_json::from_slice(&publish.payload).unwrap_or_else(|_| {
                    Value::String(String::from_utf8_lossy(&publish.payload).into_owned())
                });
                return Some((publish.topic, payload));
            }
        }
    }
}

/// A real mosquitto as the external broker; killed when dropped.
pub struct Mosquitto {
    pub port: u16,
    child: std::process::Child,
}

impl Mosquitto {
    pub fn start(directory: &Path, port: u16, extra: &str) -> Self {
        let config = directory.join("mosquitto.conf");
        std::fs::write(&config, format!("listener {port} 127.0.0.1\nmax_queued_messages 5000\n{extra}\n"))
            .unwrap();
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("mosquitto is installed");
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::yield_now();
            std::process::Command::new("sleep").arg("0.02").status().unwrap();
        }
        Self { port, child }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `mosquitto_pub` or `mosquitto_sub` with these arguments against `port`.
pub fn mosquitto(program: &str, port: u16, arguments: &[&str]) -> std::process::Output {
    Command::new(program).args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(arguments).output().unwrap()
}

/// The real program without pods and cloud; killed when dropped.
pub struct Agent(std::process::Child);

impl Agent {
    pub fn start(directory: &Path, port: u16) -> Self {
        let config = json!({
            "apiVersion": "edgecore.config.kubeedge.io/v1alpha2", "kind": "EdgeCore",
            "database": {"dataSource": directory.join("edgecore.db")},
            "modules": {
                "edged": {"enable": false, "hostnameOverride": NODE, "tailoredKubeletConfig": {"readOnlyPort": 0}},
                "edgeHub": {"enable": false},
                "eventBus": {"mqttMode": 0, "mqttServerInternal": format!("tcp://127.0.0.1:{port}")},
                "deviceTwin": {"dmiSockPath": directory},
            },
        });
        let path = directory.join("edgecore.yaml");
        std::fs::write(&path, config.to_string()).unwrap();
        let log = std::fs::OpenOptions::new().append(true).create(true).open(directory.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgecore"));
        command.arg("--config").arg(&path).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap())
    }

    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
