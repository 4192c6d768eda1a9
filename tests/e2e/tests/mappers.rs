//! Our mappers between real devices and the cloud: a Modbus server of another make, a sensor with JSON of its own shape.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    Containerd, Daemon, EdgeOptions, Sensor, Stack, StackOptions, binary, device, eventually, free_ports,
};
use kube::{Api, api::DynamicObject};

const LIMIT: Duration = Duration::from_secs(30);
const BOILER: &str = include_str!("../../../deploy/samples/modbus-boiler.yaml");
const POD: &str = include_str!("../../../deploy/mappers/modbus.yaml");
const ROOM: &str = include_str!("../../../deploy/samples/mqtt-room.yaml");

/// A boiler by pymodbus.
fn boiler(stack: &Stack, port: u16) -> Result<Daemon> {
    let python = std::env::var("CLIENT_PYTHON").context("tests/run.sh says where the Python clients are")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/boiler.py");
    let log = stack.dir().join("boiler.log");
    Daemon::start("boiler", Path::new(&python), &[&script.to_string_lossy(), &port.to_string()], &log)
}

fn mapper(stack: &Stack, program: &str) -> Result<Daemon> {
    let socket = stack.dir().join("edge/dmi.sock");
    let log = stack.dir().join(format!("{program}.log"));
    Daemon::start(program, &binary(program)?, &["--edgecore-socket", &socket.to_string_lossy()], &log)
}

async fn shows(stack: &Stack, name: &str, property: &str, value: &str) -> Result<()> {
    let statuses: Api<DynamicObject> =
        Api::namespaced_with(stack.client(), "default", &device::status_resource());
    eventually(&format!("the cloud shows {property} {value}"), LIMIT, || async {
        let status = statuses.get(name).await.map_err(|error| error.to_string())?;
        let shown = device::reported(&status, property);
        if shown.as_deref() == Some(value) { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await
}

async fn state_is(stack: &Stack, name: &str, wanted: &str) -> Result<()> {
    let statuses: Api<DynamicObject> =
        Api::namespaced_with(stack.client(), "default", &device::status_resource());
    eventually(&format!("{name} is {wanted}"), LIMIT, || async {
        let status = statuses.get(name).await.map_err(|error| error.to_string())?;
        let state = status.data["status"]["state"].as_str().map(str::to_owned);
        if state.as_deref() == Some(wanted) { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await
}

#[tokio::test]
async fn a_modbus_boiler_is_read_and_set_through_kills_of_everything() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    let [port] = free_ports()?;
    let mut boiler = boiler(&stack, port)?;
    let mut mapper = mapper(&stack, "modbus-mapper")?;
    let manifest = BOILER.replace("port: 502", &format!("port: {port}"));
    stack.apply(&manifest)?;
    // What is wanted is written, and so it becomes warm.
    shows(&stack, "boiler-1", "setpoint", "65").await?;
    shows(&stack, "boiler-1", "temperature", "65").await?;
    shows(&stack, "boiler-1", "burning", "true").await?;
    state_is(&stack, "boiler-1", "ok").await?;

    // Something else is wanted while the mapper is dead.
    mapper.kill();
    stack.apply(&manifest.replace(r#"value: "65""#, r#"value: "70""#))?;
    mapper.restart()?;
    shows(&stack, "boiler-1", "temperature", "70").await?;

    // The agent dies; the mapper goes on and finds it again.
    stack.edge_mut()?.kill();
    stack.apply(&manifest.replace(r#"value: "65""#, r#"value: "55""#))?;
    stack.edge_mut()?.restart()?;
    shows(&stack, "boiler-1", "temperature", "55").await?;

    // The boiler is switched off and on: it has forgotten what is wanted of it, and is told.
    boiler.kill();
    state_is(&stack, "boiler-1", "offline").await?;
    boiler.restart()?;
    state_is(&stack, "boiler-1", "ok").await?;
    shows(&stack, "boiler-1", "temperature", "55").await?;
    ensure!(mapper.exited().is_none(), "{}", mapper.tail());
    Ok(())
}

#[tokio::test]
async fn a_device_that_makes_no_sense_is_said_and_the_others_are_served() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    let [port] = free_ports()?;
    let _boiler = boiler(&stack, port)?;
    let mapper = mapper(&stack, "modbus-mapper")?;
    let manifest = BOILER.replace("port: 502", &format!("port: {port}"));
    let wrong = manifest.replace("name: boiler-1", "name: boiler-2").replace("slaveID: 1", "slaveID: many");
    stack.apply(&wrong)?;
    stack.apply(&manifest)?;
    shows(&stack, "boiler-1", "temperature", "65").await?;
    state_is(&stack, "boiler-2", "unhealthy").await?;
    let said = mapper.output();
    ensure!(said.contains(r#"configData.slaveID: "many" is not a unit of 0 to 255"#), "{said}");
    // Mended, it is served.
    stack.apply(&manifest.replace("name: boiler-1", "name: boiler-2"))?;
    shows(&stack, "boiler-2", "temperature", "65").await
}

#[tokio::test]
async fn a_sensor_with_json_of_its_own_shape_is_read_and_set() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    let mut mapper = mapper(&stack, "mqtt-mapper")?;
    let mut sensor = Sensor::new("room", stack.mqtt_port());
    stack.apply(&ROOM.replace("127.0.0.1:1883", &format!("127.0.0.1:{}", stack.mqtt_port())))?;
    let publish = async |sensor: &mut Sensor, temperature: &str| {
        let payload = format!(r#"{{"battery": 97, "climate": {{"temperature": {temperature}}}}}"#);
        // A client with a clean session forgets what it had not told when its broker dies, and says it again.
        for _ in 0..10 {
            if sensor.publish("zigbee/room-1", &payload, LIMIT / 10).await.is_ok() {
                return Ok(());
            }
        }
        anyhow::bail!("{payload} is not acknowledged")
    };
    // It has subscribed when it says so.
    eventually("the mapper is connected", LIMIT, || async {
        if mapper.output().contains("connected") { Ok(()) } else { Err(mapper.tail()) }
    })
    .await?;
    publish(&mut sensor, "21.5").await?;
    shows(&stack, "room-1", "temperature", "21.5").await?;
    shows(&stack, "room-1", "battery", "97").await?;

    // Published while the mapper is dead: the broker keeps it for it.
    mapper.kill();
    publish(&mut sensor, "22.5").await?;
    mapper.restart()?;
    shows(&stack, "room-1", "temperature", "22.5").await?;

    stack.edge_mut()?.kill();
    stack.edge_mut()?.restart()?;
    publish(&mut sensor, "23.5").await?;
    shows(&stack, "room-1", "temperature", "23.5").await?;
    let said = mapper.output();
    ensure!(said.contains("written"), "the led is set: {said}");
    Ok(())
}

#[tokio::test]
async fn a_mapper_runs_as_a_pod_that_sees_nothing_of_the_node_but_the_socket() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    let containerd = Containerd::start(stack.dir()).await?;
    stack.join(&EdgeOptions::on(&containerd)).await?;
    stack.node_ready("edge1", LIMIT).await?;
    let archive = stack.dir().join("mapper.tar");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/mappers/image.sh");
    let built = binary("modbus-mapper")?;
    let made = Command::new(script)
        .arg("modbus-mapper")
        .arg(&archive)
        .env("SKERRY_BIN_DIR", built.parent().context("a folder")?)
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    containerd.ctr(&["images", "import", &archive.to_string_lossy()])?;

    let [port] = free_ports()?;
    let _boiler = boiler(&stack, port)?;
    stack.apply(&BOILER.replace("port: 502", &format!("port: {port}")))?;
    let folder = stack.dir().join("edge/dmi");
    stack.apply(&POD.replace("/etc/kubeedge/dmi", &folder.to_string_lossy()))?;
    shows(&stack, "boiler-1", "temperature", "65").await?;
    let seen: Vec<String> = std::fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    ensure!(seen.iter().all(|name| name.ends_with(".sock")), "{seen:?}");
    stack.kubectl(&["delete", "daemonset", "modbus-mapper", "--wait=true"])?;
    eventually("the pod is gone", LIMIT, || async {
        let tasks = containerd.ctr(&["tasks", "ls", "-q"]).map_err(|error| error.to_string())?;
        if tasks.trim().is_empty() { Ok(()) } else { Err(tasks) }
    })
    .await
}
