//! `keadm device`: manifests that apply, wrong words that are named, and values that are seen live.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{EdgeOptions, Sensor, Stack, StackOptions, binary, device, eventually};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

fn keadm(args: &[&str]) -> Result<Output> {
    Ok(Command::new(binary("keadm")?).args(args).stdin(Stdio::null()).output()?)
}

const ROOM: [&str; 8] = [
    "device",
    "new",
    "room-1",
    "--node=edge1",
    "--protocol=mqtt-direct",
    "--model=room",
    "--property=temperature:float,unit=celsius,min=-40,max=150",
    "--property=led:boolean:rw,desired=true",
];

#[tokio::test]
async fn what_new_writes_applies_and_watch_shows_it_live() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    for form in ["yaml", "json"] {
        let written = keadm(&[&ROOM[..], &["-o", form]].concat())?;
        ensure!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
        stack.apply(&String::from_utf8(written.stdout)?)?;
    }
    let kubeconfig = stack.kubeconfig();
    let log = stack.dir().join("watch.jsonl");
    let args = ["device", "watch", "room-1", "-o", "json", "--kube-config", &kubeconfig.to_string_lossy()];
    let mut watch = Command::new(binary("keadm")?)
        .args(args)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&log)?)
        .stderr(Stdio::null())
        .spawn()?;
    let shows = async |value: &str| {
        eventually(&format!("{value} is shown"), LIMIT, || async {
            let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
            let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let shown = lines.any(|row| {
                row["property"] == "temperature" && row["reported"] == value && row["node"] == "edge1"
            });
            if shown { Ok(()) } else { Err(text) }
        })
        .await
    };
    let mut sensor = Sensor::new("room", stack.mqtt_port());
    sensor.publish(&device::update_topic("room-1"), &device::reading("temperature", "21"), LIMIT).await?;
    shows("21").await?;
    // It goes on through the death of the API.
    stack.cloud.kill();
    stack.cloud.restart()?;
    sensor.publish(&device::update_topic("room-1"), &device::reading("temperature", "22"), LIMIT).await?;
    shows("22").await?;
    ensure!(watch.try_wait()?.is_none(), "it goes on");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(watch.id())?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT)?;
    ensure!(watch.wait()?.success(), "Ctrl-C is a good end");

    // A terminal gets a table.
    let line = format!(
        "{} device watch --timeout 2 --kube-config {}",
        binary("keadm")?.display(),
        kubeconfig.display()
    );
    let screen = Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output()?;
    let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
    for words in ["DEVICE", "HEALTH", "room-1", "temperature", "22", "true", "Ctrl-C ends"] {
        ensure!(screen.contains(words), "{words}: {screen}");
    }
    let nobody = keadm(&["device", "watch", "room-9", "--kube-config", &kubeconfig.to_string_lossy()])?;
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    ensure!(nobody.status.code() == Some(1) && said.contains("there is no device room-9"), "{said}");
    Ok(())
}

#[test]
fn what_makes_no_sense_is_named_and_nothing_is_written() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("room.yaml");
    let path = file.to_string_lossy().into_owned();
    for (args, code, words) in [
        (vec!["device", "new"], 2, "NAME, --node, --protocol, --property"),
        (
            vec!["device", "new", "Room", "--node=edge1", "--protocol=x", "--property=a:int"],
            2,
            "\"Room\" cannot be used",
        ),
        (vec!["device", "new", "r", "--node=n", "--protocol=x", "--property=a:number"], 2, "is no type"),
        (
            vec!["device", "new", "r", "--node=n", "--protocol=x", "--property=a:int", "--property=a:int"],
            3,
            "unique",
        ),
        (
            vec!["device", "new", "r", "--node=n", "--protocol=x", "--property=a:int:rw,max=5,desired=9"],
            3,
            "spec.properties[0].desired.value",
        ),
        (
            vec!["device", "new", "r", "--node=n", "--protocol=x", "--property=a:int,min=9,max=5"],
            3,
            "minimum",
        ),
    ] {
        let output = keadm(&[&args[..], &["-f", &path]].concat())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code) && said.contains(words), "{args:?}: {said}");
        ensure!(!file.exists(), "{args:?}");
    }
    let written = [&ROOM[..], &["-f", &path]].concat();
    ensure!(keadm(&written)?.status.success());
    let before = std::fs::read_to_string(&file)?;
    let again = keadm(&written)?;
    ensure!(
        again.status.code() == Some(1) && std::fs::read_to_string(&file)? == before,
        "a file that is there stays"
    );
    Ok(())
}

#[test]
fn on_a_terminal_it_asks() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("boiler.yaml");
    let line = format!("{} device new -f {}", binary("keadm")?.display(), file.display());
    let mut asked = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let answers = "Boiler 1\nboiler-1\nedge1\nmodbus\n10.0.0.9\n\n3\ntemperature\ntemperature:float,register=InputRegister,offset=0\n\n";
    asked.stdin.take().context("a terminal")?.write_all(answers.as_bytes())?;
    let output = asked.wait_with_output()?;
    let screen = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success() && screen.contains("write NAME:TYPE"), "{screen}");
    let text = std::fs::read_to_string(&file)?;
    for words in [
        "name: boiler-1",
        "ip: \"10.0.0.9\"",
        "port: 502",
        "slaveID: 3",
        "register: InputRegister",
        "kind: DeviceModel",
    ] {
        ensure!(text.contains(words), "{words}: {text}");
    }
    ensure!(!text.contains("status"), "{text}");
    Ok(())
}
