//! What `kubectl get devices` and `kubectl describe device` say of a device, while one thing after the other is wrong with it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Daemon, EdgeOptions, Sensor, Stack, StackOptions, binary, device, eventually};

const LIMIT: Duration = Duration::from_secs(40);
const MODEL: &str = "
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: thermometer}
spec:
  properties: [{name: temperature, type: FLOAT, accessMode: ReadOnly}]
";

fn manifest(name: &str, node: &str, protocol: &str, property: &str) -> String {
    format!(
        "
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {{name: {name}}}
spec:
  nodeName: {node}
  deviceModelRef: {{name: thermometer}}
  protocol: {{protocolName: {protocol}}}
  properties: [{{name: {property}, reportToCloud: true}}]
"
    )
}

async fn becomes(stack: &Stack, name: &str, health: &str) -> Result<()> {
    eventually(&format!("{name} is {health}"), LIMIT, || async {
        let shown = stack.kubectl(&["get", "device", name, "-o", "jsonpath={.status.health}"]);
        match shown {
            Ok(shown) if shown.trim() == health => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

fn told(stack: &Stack, name: &str) -> Result<String> {
    let selector = format!("involvedObject.name={name}");
    let columns = "custom-columns=R:.reason,T:.type,C:.count";
    stack.kubectl(&["get", "events", "--field-selector", &selector, "-o", columns, "--no-headers"])
}

fn mapper(stack: &Stack) -> Result<Daemon> {
    let socket = stack.dir().join("edge/dmi.sock");
    let log = stack.dir().join("modbus-mapper.log");
    let buffer = stack.dir().join("push.db");
    let args = ["--edgecore-socket", &socket.to_string_lossy(), "--buffer", &buffer.to_string_lossy()];
    Daemon::start("modbus-mapper", &binary("modbus-mapper")?, &args, &log)
}

#[tokio::test]
async fn a_device_says_what_is_wrong_with_it_and_recovers() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    stack.apply(&manifest("t1", "edge1", "mqtt", "temperature"))?;
    becomes(&stack, "t1", "ModelNotFound").await?;
    stack.apply(MODEL)?;
    becomes(&stack, "t1", "NoMapper").await?;
    let mut sensor = Sensor::new("sensor", stack.mqtt_port());
    let topic = device::update_topic("t1");
    sensor.publish(&topic, &device::reading("temperature", "21"), LIMIT).await?;
    becomes(&stack, "t1", "Healthy").await?;
    let table = stack.kubectl(&["get", "devices"])?;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    ensure!(
        lines.first().is_some_and(|head| *head == ["NAME", "NODE", "PROTOCOL", "HEALTH", "LAST-SEEN", "AGE"]),
        "{table}"
    );
    ensure!(
        lines.get(1).is_some_and(|line| line.get(..4) == Some(&["t1", "edge1", "mqtt", "Healthy"])),
        "{table}"
    );
    ensure!(lines.get(1).and_then(|line| line.get(4)).is_some_and(|seen| seen.ends_with('s')), "{table}");
    let described = stack.kubectl(&["describe", "device", "t1"])?;
    for words in [
        "Last Report Time",
        "MapperReady",
        "the device reports without a mapper",
        "NoMapper",
        "ModelNotFound",
    ] {
        ensure!(described.contains(words), "{words}: {described}");
    }

    // A property that the model has not, and back.
    stack.apply(&manifest("t1", "edge1", "mqtt", "humidity"))?;
    becomes(&stack, "t1", "PropertyNotInModel").await?;
    stack.apply(&manifest("t1", "edge1", "mqtt", "temperature"))?;
    becomes(&stack, "t1", "Healthy").await?;

    // A node that does not exist, and none.
    stack.apply(&manifest("t2", "nowhere", "mqtt", "temperature"))?;
    becomes(&stack, "t2", "NodeNotFound").await?;

    // The device says that it is off.
    let state = "$hw/events/device/default/t1/state/update";
    sensor.publish(state, r#"{"state": "offline"}"#, LIMIT).await?;
    becomes(&stack, "t1", "DeviceOffline").await?;
    sensor.publish(state, r#"{"state": "online"}"#, LIMIT).await?;
    becomes(&stack, "t1", "Healthy").await?;
    let told = told(&stack, "t1")?;
    for event in ["ModelNotFound", "NoMapper", "PropertyNotInModel", "DeviceOffline", "Healthy"] {
        ensure!(told.lines().any(|line| line.starts_with(event)), "{event}: {told}");
    }
    let well: Vec<&str> = told.lines().filter(|line| line.starts_with("Healthy")).collect();
    ensure!(well.len() == 1 && well.iter().all(|line| line.split_whitespace().last() == Some("3")), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_mapper_that_dies_or_comes_is_seen_through_kills_of_both_sides() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    stack.apply(MODEL)?;
    stack.apply(&manifest("m1", "edge1", "modbus", "temperature"))?;
    becomes(&stack, "m1", "NoMapper").await?;
    let mut mapper = mapper(&stack)?;
    // The device is nonsense to a Modbus mapper, and so nothing of it comes.
    eventually("the mapper is known", LIMIT, || async {
        let shown = stack
            .kubectl(&["get", "device", "m1", "-o", "jsonpath={.status.health}"])
            .map_err(|error| error.to_string())?;
        if ["NeverReported", "DeviceUnhealthy", "MapperRefuses", "DeviceOffline"].contains(&shown.trim()) {
            Ok(())
        } else {
            Err(shown)
        }
    })
    .await?;
    // One that hangs is as good as dead, although its socket opens.
    mapper.hang()?;
    becomes(&stack, "m1", "MapperDown").await?;
    mapper.wake()?;
    eventually("the mapper answers again", LIMIT, || async {
        let shown = stack
            .kubectl(&["get", "device", "m1", "-o", "jsonpath={.status.health}"])
            .map_err(|error| error.to_string())?;
        if shown.trim() == "MapperDown" { Err(shown) } else { Ok(()) }
    })
    .await?;
    mapper.kill();
    becomes(&stack, "m1", "MapperDown").await?;
    let described = stack.kubectl(&["describe", "device", "m1"])?;
    ensure!(described.contains("does not answer"), "{described}");

    // The cloud forgets nothing that matters: it is told again, and what is shown stays, without another event.
    let counted = told(&stack, "m1")?;
    stack.cloud.kill();
    stack.cloud.restart()?;
    eventually("the API answers", LIMIT, || async {
        stack.kubectl(&["get", "devices"]).map(drop).map_err(|error| error.to_string())
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let shown = stack.kubectl(&["get", "device", "m1", "-o", "jsonpath={.status.health}"])?;
    let again = told(&stack, "m1")?;
    ensure!(shown.trim() == "MapperDown" && again == counted, "{shown}: {again} and not {counted}");
    mapper.restart()?;
    eventually("the mapper is back", LIMIT, || async {
        let shown = stack
            .kubectl(&["get", "device", "m1", "-o", "jsonpath={.status.health}"])
            .map_err(|error| error.to_string())?;
        if shown.trim() == "MapperDown" || shown.trim().is_empty() { Err(shown) } else { Ok(()) }
    })
    .await?;

    // The node goes, with nobody to tell; a Node object makes it one that is known.
    stack.apply("apiVersion: v1\nkind: Node\nmetadata: {name: edge1}\n")?;
    stack.edge_mut()?.kill();
    becomes(&stack, "m1", "NodeOffline").await?;
    mapper.kill();
    stack.edge_mut()?.restart()?;
    becomes(&stack, "m1", "MapperDown").await?;
    let told = told(&stack, "m1").context("events")?;
    ensure!(!told.contains("NodeOffline"), "a node has events of its own: {told}");
    Ok(())
}

/// What `kubectl get devices` shows of one: its health, and of when its last report is.
fn shown(stack: &Stack, name: &str) -> Result<(String, String)> {
    let path = "jsonpath={.status.health} {.status.lastReportTime}";
    let shown = stack.kubectl(&["get", "device", name, "-o", path])?;
    let (health, last) = shown.trim().split_once(' ').context("both are shown")?;
    Ok((health.to_owned(), last.to_owned()))
}

#[tokio::test]
async fn a_device_that_says_the_same_is_seen_and_one_that_falls_silent_is_said_to_be() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    stack.apply(MODEL)?;
    for name in ["same", "mute"] {
        let cycle = manifest(name, "edge1", "mqtt", "temperature");
        stack.apply(&cycle.replace("reportToCloud: true", "reportToCloud: true, collectCycle: 1000"))?;
    }
    let mut sensor = Sensor::new("sensor", stack.mqtt_port());
    for name in ["same", "mute"] {
        sensor.report(name, "temperature", "21", LIMIT).await?;
        becomes(&stack, name, "Healthy").await?;
    }
    let first = shown(&stack, "same")?;
    let heard = jiff::Timestamp::now();
    let end = tokio::time::Instant::now() + Duration::from_secs(150);
    loop {
        sensor.report("same", "temperature", "21", LIMIT).await?;
        let (same, mute) = (shown(&stack, "same")?, shown(&stack, "mute")?);
        ensure!(same.0 == "Healthy", "{same:?}");
        if mute.0 == "Silent" && same.1 > first.1 {
            let last: jiff::Timestamp = mute.1.parse()?;
            ensure!(
                last <= heard,
                "the last report of the silent one: {last}, it said nothing since {heard}"
            );
            break;
        }
        ensure!(tokio::time::Instant::now() < end, "{same:?} {mute:?}");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    ensure!(told(&stack, "mute")?.contains("Silent") && !told(&stack, "same")?.contains("Silent"));
    sensor.report("mute", "temperature", "22", LIMIT).await?;
    becomes(&stack, "mute", "Healthy").await?;
    Ok(())
}
