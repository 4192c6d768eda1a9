//! Between the sensors' broker, the MQTT mapper and edgecore: what a sensor said once is not lost, whoever is killed, and whoever is
//! away holds up nobody for longer than that.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Daemon, EdgeOptions, Stack, StackOptions, binary, device, eventually, free_ports};
use kube::{Api, api::DynamicObject};

const LIMIT: Duration = Duration::from_secs(30);
const ROOM: &str = include_str!("../../../deploy/samples/mqtt-room.yaml");
/// Messages that the broker sends before it waits for acknowledgements.
const WINDOW: usize = 5;

/// A room with a temperature and a battery, each in messages of its own.
struct Room {
    mapper: Daemon,
    /// What the mapper has read of the temperature.
    read: Daemon,
    broker: Daemon,
    stack: Stack,
    port: u16,
    qos: u8,
}

impl Room {
    async fn start(qos: u8) -> Result<Self> {
        let mut stack = Stack::start(StackOptions::default()).await?;
        stack.join(&EdgeOptions::default()).await?;
        let [port] = free_ports()?;
        let dir = stack.dir();
        let config = dir.join("mosquitto.conf");
        let said =
            format!("max_inflight_messages {WINDOW}\nallow_anonymous true\nlog_type all\nlog_dest stderr");
        std::fs::write(&config, format!("listener {port} 127.0.0.1\n{said}\n"))?;
        let args = ["-c", &config.to_string_lossy()];
        let broker = Daemon::start("broker", Path::new("mosquitto"), &args, &dir.join("broker.log"))?;
        says(&broker, "running").await?;
        let args = ["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "read/temperature"];
        let read = Daemon::start("read", Path::new("mosquitto_sub"), &args, &dir.join("read.log"))?;
        says(&broker, " 0 read/temperature").await?;

        let (socket, buffer) = (dir.join("edge/dmi.sock"), dir.join("push.db"));
        let args = ["--edgecore-socket", &socket.to_string_lossy(), "--buffer", &buffer.to_string_lossy()];
        let log = dir.join("mqtt-mapper.log");
        let mapper = Daemon::start("mqtt-mapper", &binary("mqtt-mapper")?, &args, &log)?;
        let pushed = format!(
            "reportCycle: 1\n    pushMethod:\n      mqtt: {{address: \"tcp://127.0.0.1:{port}\", topic: read/temperature}}"
        );
        let manifest = [
            ("\"tcp://127.0.0.1:1883\"", format!("\"tcp://127.0.0.1:{port}\", qos: {qos}")),
            ("{topic: zigbee/room-1, path: $.battery}", "{topic: room/battery}".into()),
            (
                "reportToCloud: true\n    visitors:\n      configData: {topic: zigbee/room-1, path: $.climate.temperature}",
                format!(
                    "{pushed}\n    reportToCloud: true\n    visitors:\n      configData: {{topic: room/temperature}}"
                ),
            ),
        ];
        let manifest = manifest.into_iter().try_fold(ROOM.to_owned(), |manifest, (old, new)| {
            ensure!(manifest.contains(old), "the sample has changed: no {old}");
            Ok(manifest.replace(old, &new))
        })?;
        stack.apply(&manifest)?;
        says(&mapper, "connected").await?;
        Ok(Self { mapper, read, broker, stack, port, qos })
    }

    /// Returns when the broker has them.
    fn publish(&self, topic: &str, values: &[String]) -> Result<()> {
        let mut sensor = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-t", topic, "-l", "-q"])
            .arg(self.qos.to_string())
            .stdin(Stdio::piped())
            .spawn()?;
        let mut lines = sensor.stdin.take().context("its input")?;
        lines.write_all(format!("{}\n", values.join("\n")).as_bytes())?;
        drop(lines);
        ensure!(sensor.wait()?.success(), "the broker takes nothing");
        Ok(())
    }

    fn temperature(&self, value: impl ToString) -> Result<()> {
        self.publish("room/temperature", &[value.to_string()])
    }

    fn battery(&self, value: impl ToString) -> Result<()> {
        self.publish("room/battery", &[value.to_string()])
    }

    async fn shows(&self, property: &str, value: impl ToString) -> Result<()> {
        let value = value.to_string();
        let statuses: Api<DynamicObject> =
            Api::namespaced_with(self.stack.client(), "default", &device::status_resource());
        eventually(&format!("the cloud shows {property} {value}"), LIMIT, || async {
            let status = statuses.get("room-1").await.map_err(|error| error.to_string())?;
            let shown = device::reported(&status, property);
            if shown.as_ref() == Some(&value) { Ok(()) } else { Err(format!("{shown:?}")) }
        })
        .await
    }

    /// The mapper has read this temperature.
    async fn has_read(&self, value: &str) -> Result<()> {
        says(&self.read, &format!("read/temperature: {value}\n")).await
    }

    /// How many of the messages the mapper has acknowledged.
    fn acknowledged(&self) -> usize {
        let word = if self.qos == 2 { "PUBREC" } else { "PUBACK" };
        self.broker.output().matches(&format!("Received {word} from mapper-default-room-1 ")).count()
    }

    /// The broker has sent the mapper so many messages at least.
    async fn is_given(&self, messages: usize) -> Result<()> {
        eventually(&format!("the broker sends {messages} messages"), LIMIT, || async {
            let sent = self.broker.output().matches("Sending PUBLISH to mapper-default-room-1 ").count();
            if sent >= messages { Ok(()) } else { Err(sent) }
        })
        .await
    }

    async fn acknowledges(&self, messages: usize) -> Result<()> {
        eventually(&format!("the mapper acknowledges {messages} messages"), LIMIT, || async {
            let acknowledged = self.acknowledged();
            if acknowledged == messages { Ok(()) } else { Err(acknowledged) }
        })
        .await
    }
}

async fn says(daemon: &Daemon, what: &str) -> Result<()> {
    eventually(&format!("it says {what:?}"), LIMIT, || async {
        if daemon.output().contains(what) { Ok(()) } else { Err(daemon.tail()) }
    })
    .await
}

#[tokio::test]
async fn what_the_mapper_had_read_and_edgecore_had_not_taken_is_there_after_a_kill_of_the_mapper()
-> Result<()> {
    let mut room = Room::start(1).await?;
    room.temperature(21.5)?;
    room.shows("temperature", 21.5).await?;
    room.acknowledges(1).await?;

    // There is nobody who could take it.
    room.stack.edge_mut()?.kill();
    room.battery(96)?;
    room.temperature(22.5)?;
    room.has_read("22.5").await?;
    let acknowledged = room.acknowledged();
    room.mapper.kill();
    room.mapper.restart()?;
    room.stack.edge_mut()?.restart()?;
    room.shows("temperature", 22.5).await?;
    room.shows("battery", 96).await?;
    ensure!(acknowledged == 1, "the broker was told to forget what nobody had:\n{}", room.broker.tail());
    room.acknowledges(3).await?;

    // What edgecore has already, what it refuses, and what is no text.
    room.temperature(22.5)?;
    room.acknowledges(4).await?;
    room.temperature("hot")?;
    room.acknowledges(5).await?;
    let no_text = room.stack.dir().join("no_text");
    std::fs::write(&no_text, [0xff, 0xfe])?;
    let sent = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &room.port.to_string(), "-t", "room/battery", "-q", "1", "-f"])
        .arg(no_text)
        .status()?;
    ensure!(sent.success(), "the broker takes nothing");
    room.acknowledges(6).await?;
    room.temperature(23.5)?;
    room.shows("temperature", 23.5).await?;
    room.acknowledges(7).await
}

#[tokio::test]
async fn bursts_beyond_the_brokers_window_are_taken_in_time_with_and_without_edgecore() -> Result<()> {
    let mut room = Room::start(1).await?;
    let burst =
        |from: usize, many: usize| (from..from + many).map(|value| value.to_string()).collect::<Vec<_>>();
    room.publish("room/temperature", &burst(0, 300))?;
    room.shows("temperature", 299).await?;
    room.acknowledges(300).await?;

    // Without edgecore the newest value of a property holds up nothing that comes after it of the same.
    room.stack.edge_mut()?.kill();
    room.publish("room/temperature", &burst(300, 8 * WINDOW))?;
    room.acknowledges(299 + 8 * WINDOW).await?;
    // The only one of its property does, as far as the window goes, until edgecore is back.
    room.battery(50)?;
    room.publish("room/temperature", &burst(400, 8 * WINDOW))?;
    // With the battery's in front, the window is full of what came after it.
    room.is_given(340 + WINDOW).await?;
    ensure!(room.acknowledged() == 300 + 8 * WINDOW, "{}", room.broker.tail());
    room.stack.edge_mut()?.restart()?;
    room.shows("battery", 50).await?;
    room.shows("temperature", 399 + 8 * WINDOW).await?;
    room.acknowledges(301 + 16 * WINDOW).await
}

/// Both are killed at any moment; each time the last that was said before is there in the end.
async fn storm(qos: u8) -> Result<()> {
    let mut room = Room::start(qos).await?;
    for round in 1..=6_u64 {
        let without_edgecore = round % 2 == 1;
        if without_edgecore {
            room.stack.edge_mut()?.kill();
        }
        room.battery(round)?;
        for step in 0..4_u64 {
            room.temperature(format!("{round}.{step}"))?;
            // At any moment between the broker and edgecore.
            tokio::time::sleep(Duration::from_millis(37 * round * step % 400)).await;
            room.mapper.kill();
            room.mapper.restart()?;
        }
        if without_edgecore {
            room.stack.edge_mut()?.restart()?;
        }
        room.shows("temperature", format!("{round}.3")).await.with_context(|| room.mapper.tail())?;
        room.shows("battery", round).await.with_context(|| room.mapper.tail())?;
    }
    Ok(())
}

#[tokio::test]
async fn a_storm_of_kills_loses_no_last_value() -> Result<()> {
    storm(1).await
}

#[tokio::test]
async fn a_storm_of_kills_loses_no_last_value_at_qos_2() -> Result<()> {
    storm(2).await
}
