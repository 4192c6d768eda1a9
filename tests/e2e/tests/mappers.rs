//! Our mappers between real devices and the cloud: a Modbus server of another make, a sensor with JSON of its own shape.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use e2e::{
    Containerd, Daemon, EdgeOptions, Sensor, Stack, StackOptions, binary, device, eventually, free_ports,
};
use kube::{Api, api::DynamicObject};
use sqlx::{Connection, SqliteConnection};

const LIMIT: Duration = Duration::from_secs(30);
const BOILER: &str = include_str!("../../../deploy/samples/modbus-boiler.yaml");
const POD: &str = include_str!("../../../deploy/mappers/modbus.yaml");
const ROOM: &str = include_str!("../../../deploy/samples/mqtt-room.yaml");

fn python(stack: &Stack, name: &str, args: &[&str]) -> Result<Daemon> {
    let python = std::env::var("CLIENT_PYTHON").context("tests/run.sh says where the Python clients are")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(format!("{name}.py"));
    let log = stack.dir().join(format!("{name}.log"));
    let script = script.to_string_lossy();
    Daemon::start(name, Path::new(&python), &[&[&*script], args].concat(), &log)
}

/// A boiler by pymodbus.
fn boiler(stack: &Stack, port: u16) -> Result<Daemon> {
    python(stack, "boiler", &[&port.to_string()])
}

fn mapper(stack: &Stack, program: &str) -> Result<Daemon> {
    let socket = stack.dir().join("edge/dmi.sock");
    let log = stack.dir().join(format!("{program}.log"));
    let buffer = stack.dir().join("push.db");
    let args = ["--edgecore-socket", &socket.to_string_lossy(), "--buffer", &buffer.to_string_lossy()];
    Daemon::start(program, &binary(program)?, &args, &log)
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
async fn a_boiler_on_a_serial_line_is_read_and_set_and_comes_back_after_it_was_unplugged() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    let line = stack.dir().join("ttyBoiler");
    let line = line.to_string_lossy();
    let mut boiler = python(&stack, "boiler", &[&line])?;
    let mut mapper = mapper(&stack, "modbus-mapper")?;
    let serial = format!("{{serialPort: {line}, baudRate: 19200, slaveID: 1}}");
    let manifest = BOILER.replace("{ip: 127.0.0.1, port: 502, slaveID: 1}", &serial);
    ensure!(manifest.contains(&serial), "the sample has changed");
    stack.apply(&manifest)?;
    shows(&stack, "boiler-1", "setpoint", "65").await?;
    shows(&stack, "boiler-1", "temperature", "65").await?;
    state_is(&stack, "boiler-1", "ok").await?;
    boiler.kill();
    state_is(&stack, "boiler-1", "offline").await?;
    boiler.restart()?;
    state_is(&stack, "boiler-1", "ok").await?;
    stack.apply(&manifest.replace(r#"value: "65""#, r#"value: "55""#))?;
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
    let buffer = stack.dir().join("buffer");
    let manifest = POD.replace("/etc/kubeedge/dmi", &folder.to_string_lossy());
    stack.apply(&manifest.replace("/var/lib/modbus-mapper", &buffer.to_string_lossy()))?;
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

/// The first that a sink has of one path; each target is served by itself.
async fn first(file: &Path, path: &str) -> Result<String> {
    eventually(&format!("{path} has something"), LIMIT, || async {
        posted(file, path).into_iter().next().ok_or("nothing")
    })
    .await
}

/// What a sink has, of one path.
fn posted(file: &Path, path: &str) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let of_path = lines.filter(|line| line["path"].as_str().is_some_and(|found| found.starts_with(path)));
    of_path.filter_map(|line| Some(line["body"].as_str()?.to_owned())).collect()
}

#[tokio::test]
async fn readings_that_are_pushed_wait_on_disk_for_their_target_through_kills() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    let [port, sink] = free_ports()?;
    let _boiler = boiler(&stack, port)?;
    let mut mapper = mapper(&stack, "modbus-mapper")?;
    let push = format!(
        r#"reportCycle: 200
    pushMethod:
      http: {{hostName: "http://127.0.0.1", port: {sink}, requestPath: /form}}
      otel: {{endpointURL: "http://127.0.0.1:{sink}/v1/metrics"}}
      mqtt: {{address: "tcp://127.0.0.1:{mqtt}", topic: plant/temperature, qos: 1, retained: true}}
      dbMethod:
        influxdb2:
          influxdb2ClientConfig: {{url: "http://127.0.0.1:{sink}", org: plant, bucket: boilers}}
          influxdb2DataConfig: {{measurement: boiler, tag: {{hall: "3"}}, fieldKey: temperature}}
    collectCycle: 200
    reportToCloud: true
    visitors:
      configData: {{offset: 4}}"#,
        mqtt = stack.mqtt_port()
    );
    let plain = "collectCycle: 1000\n    reportToCloud: true\n    visitors:\n      configData: {offset: 4}     # this one has it elsewhere than others of its model";
    ensure!(BOILER.contains(plain), "the sample has the property that is pushed");
    stack.apply(&BOILER.replace("port: 502", &format!("port: {port}")).replace(plain, &push))?;
    shows(&stack, "boiler-1", "temperature", "65").await?;
    // Nobody takes them, and the mapper dies.
    let waits = async |wanted: i64| {
        let buffer = stack.dir().join("push.db");
        eventually("readings wait", LIMIT, || async {
            let count = "SELECT count(*) FROM reading";
            let held = async {
                let mut store = SqliteConnection::connect(&format!("sqlite://{}", buffer.display())).await?;
                sqlx::query_scalar::<_, i64>(count).fetch_one(&mut store).await
            };
            match held.await {
                Ok(held) if held >= wanted => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    };
    waits(12).await?;
    mapper.kill();
    mapper.restart()?;
    waits(20).await?;
    let before = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    let file = stack.dir().join("sink.txt");
    let _sink = python(&stack, "sink", &[&sink.to_string(), &file.to_string_lossy()])?;
    eventually("old and new readings arrive", LIMIT, || async {
        let lines = posted(&file, "/api/v2/write");
        let times: Vec<u128> = lines
            .iter()
            .flat_map(|body| body.lines())
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        let old = times.iter().filter(|at| **at < before).count();
        if !times.is_sorted() {
            return Err(format!("not in order: {times:?}"));
        }
        if old >= 5 && times.len() > old + 3 { Ok(()) } else { Err(format!("{times:?}")) }
    })
    .await?;
    let influx = posted(&file, "/api/v2/write?org=plant&bucket=boilers&precision=ms");
    ensure!(influx[0].starts_with(r#"boiler,hall=3 temperature=""#), "{influx:?}");
    let form = first(&file, "/form").await?;
    ensure!(form.starts_with("temperature=") && form.contains("&time=20"), "{form}");
    let otlp: serde_json::Value = serde_json::from_str(&first(&file, "/v1/metrics").await?)?;
    let metric = &otlp["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0];
    ensure!(
        metric["name"] == "temperature" && metric["gauge"]["dataPoints"][0]["asDouble"].is_f64(),
        "{otlp}"
    );
    let heard = Command::new("mosquitto_sub")
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &stack.mqtt_port().to_string(),
            "-t",
            "plant/#",
            "-C",
            "1",
            "-W",
            "10",
        ])
        .output()?;
    let heard = String::from_utf8_lossy(&heard.stdout).into_owned();
    ensure!(heard.starts_with("time is 20") && heard.contains("  plant/temperature: 65"), "{heard}");
    Ok(())
}
