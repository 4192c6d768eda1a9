//! A mapper in Go beside the real agents: grpc-go over unix sockets, dialled in the ways that KubeEdge's users dial them.
//!
//! `tests/conform/clients/go` is the mapper. `tests/run.sh` builds it and says where.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Daemon, EdgeOptions, Stack, StackOptions, device, eventually};
use kube::{Api, api::DynamicObject};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(40);

fn program() -> Result<PathBuf> {
    let program = std::env::var_os("CLIENT_GO").map(PathBuf::from);
    let program = program.context("CLIENT_GO is not set: start the tests with tests/run.sh")?;
    ensure!(program.is_file(), "{} is not there: start the tests with tests/run.sh", program.display());
    Ok(program)
}

/// A mapper and where it is reached.
struct GoMapper {
    daemon: Daemon,
    socket: String,
}

// === impl GoMapper ===

impl GoMapper {
    /// Starts one for a protocol that dials edgecore by these arguments.
    fn start(stack: &Stack, protocol: &str, dials: &[&str]) -> Result<Self> {
        let file = |end: &str| stack.dir().join(format!("{protocol}.{end}"));
        let socket = file("sock").to_string_lossy().into_owned();
        let args = [&["-protocol", protocol, "-socket", &socket], dials].concat();
        Ok(Self { daemon: Daemon::start(protocol, &program()?, &args, &file("log"))?, socket })
    }

    /// A device as the mapper has it.
    fn has(&self, name: &str) -> Result<Value, String> {
        let mut ask = Command::new(program().map_err(|error| error.to_string())?);
        let name = format!("default/{name}");
        let output = ask.args(["-ask", &name, "-socket", &self.socket]).output();
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }

    /// Waits until the mapper has said a line so many times.
    async fn says(&self, line: &str, times: usize) -> Result<()> {
        eventually(&format!("the mapper says {line} {times} times"), LIMIT, || async {
            let said = self.said(line);
            if said == times { Ok(()) } else { Err(self.daemon.tail()) }
        })
        .await
    }

    fn said(&self, line: &str) -> usize {
        self.daemon.output().lines().filter(|said| *said == line).count()
    }
}

/// The socket of the edge agent.
fn dmi(stack: &Stack) -> String {
    stack.dir().join("edge/dmi.sock").to_string_lossy().into_owned()
}

fn model(name: &str, more: &str) -> String {
    format!(
        "
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {{name: {name}}}
spec:
  properties:
  - {{name: setpoint, type: INT, accessMode: ReadWrite}}
  - {{name: temperature, type: FLOAT, accessMode: ReadOnly}}
{more}---"
    )
}

fn boiler(name: &str, model: &str, protocol: &str, wanted: &str) -> String {
    format!(
        "
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {{name: {name}}}
spec:
  nodeName: edge1
  deviceModelRef: {{name: {model}}}
  protocol: {{protocolName: {protocol}, configData: {{ip: 192.168.10.20, port: 502, tls: true}}}}
  stateReport: {{reportToCloud: true, reportCycle: 1000}}
  properties:
  - {{name: setpoint, desired: {{value: \"{wanted}\"}}, reportToCloud: true}}
  - {{name: temperature, reportToCloud: true, visitors: {{protocolName: {protocol}, configData: {{offset: 4}}}}}}
---"
    )
}

async fn shows(stack: &Stack, name: &str, property: &str, value: &str) -> Result<()> {
    let statuses: Api<DynamicObject> =
        Api::namespaced_with(stack.client(), "default", &device::status_resource());
    eventually(&format!("the cloud shows {property} {value} of {name}"), LIMIT, || async {
        let status = statuses.get(name).await.map_err(|error| error.to_string())?;
        let shown = device::reported(&status, property);
        if shown.as_deref() == Some(value) { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapper_in_go_is_given_told_and_believed_through_kills_of_both_sides() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    // As KubeEdge's framework does it: the target is the socket's path, and each report is a connection of its own.
    let dmi = dmi(&stack);
    let mut mapper = GoMapper::start(&stack, "go", &["-target", &dmi, "-path", &dmi])?;
    stack.apply(&[model("boiler", ""), boiler("boiler-1", "boiler", "go", "65")].concat())?;
    shows(&stack, "boiler-1", "setpoint", "65").await?;
    shows(&stack, "boiler-1", "temperature", "0").await?;
    becomes(&stack, "boiler-1", "Healthy").await?;
    let state = stack.kubectl(&["get", "devicestatus", "boiler-1", "-o", "jsonpath={.status.state}"])?;
    ensure!(state.trim() == "ok", "{state}");
    let held = mapper.has("boiler-1").unwrap();
    let config = &held["spec"]["protocol"]["configData"]["data"];
    ensure!(config["ip"]["value"] == "192.168.10.20", "{held}");
    ensure!(config["port"]["value"] == "502" && config["tls"]["value"] == true, "{held}");

    // Whatever is changed in the API is told, in an order that makes sense to the mapper.
    stack.apply(&boiler("boiler-1", "boiler", "go", "70"))?;
    shows(&stack, "boiler-1", "setpoint", "70").await?;
    stack.apply(&[model("kettle", ""), boiler("kettle-1", "kettle", "go", "90")].concat())?;
    shows(&stack, "kettle-1", "setpoint", "90").await?;
    stack.apply(&model("kettle", "  - {name: lid, type: STRING, accessMode: ReadOnly}\n"))?;
    mapper.says("UpdateDeviceModel default/kettle properties=3", 1).await?;
    stack.kubectl(&["delete", "device/kettle-1", "devicemodel/kettle"])?;
    mapper.says("RemoveDevice default/kettle-1", 1).await?;
    mapper.says("RemoveDeviceModel default/kettle", 1).await?;
    for once in ["CreateDeviceModel default/kettle properties=2", "RegisterDevice default/kettle-1"] {
        ensure!(mapper.said(once) == 1, "{once}: {}", mapper.daemon.output());
    }
    ensure!(mapper.has("kettle-1").is_err(), "a device that was removed is still there");

    // Killed, and something else is wanted meanwhile: it is given its device again when it is back, as it is now.
    mapper.daemon.kill();
    becomes(&stack, "boiler-1", "MapperDown").await?;
    stack.apply(&boiler("boiler-1", "boiler", "go", "55"))?;
    mapper.daemon.restart()?;
    mapper.says("registered devices=1 models=1", 1).await?;
    shows(&stack, "boiler-1", "setpoint", "55").await?;
    becomes(&stack, "boiler-1", "Healthy").await?;

    // The agent dies. The mapper goes on, and neither has to do with the other's past.
    let registrations = |mapper: &GoMapper| mapper.daemon.output().matches("registered").count();
    let before = registrations(&mapper);
    stack.edge_mut()?.kill();
    stack.apply(&boiler("boiler-1", "boiler", "go", "60"))?;
    stack.edge_mut()?.restart()?;
    shows(&stack, "boiler-1", "setpoint", "60").await?;
    ensure!(registrations(&mapper) == before, "it need not register again: {}", mapper.daemon.output());
    ensure!(mapper.daemon.exited().is_none(), "{}", mapper.daemon.tail());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_form_of_its_address_is_dialled_edgecore_answers() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    let dmi = dmi(&stack);
    let (short, long) = (format!("unix:{dmi}"), format!("unix://{dmi}"));
    let passed = format!("passthrough:///{dmi}");
    // As versions of grpc-go since 2023 make it of the path.
    let escaped = dmi.replace('/', "%2F");
    let forms: [&[&str]; 6] = [
        &["-target", &dmi, "-path", &dmi, "-keep"],
        &["-target", &dmi, "-path", &dmi, "-authority", &escaped],
        &["-target", &dmi, "-path", &dmi, "-authority", &escaped, "-keep"],
        &["-target", &passed, "-path", &dmi, "-keep"],
        &["-target", &short, "-keep"],
        &["-target", &long],
    ];
    stack.apply(&model("boiler", ""))?;
    let mut mappers = Vec::new();
    for (number, dials) in forms.into_iter().enumerate() {
        stack.apply(&boiler(&format!("boiler-{number}"), "boiler", &format!("go-{number}"), "65"))?;
        mappers.push(GoMapper::start(&stack, &format!("go-{number}"), dials)?);
    }
    for (number, mapper) in mappers.iter().enumerate() {
        let shown = shows(&stack, &format!("boiler-{number}"), "setpoint", "65").await;
        shown.with_context(|| format!("{:?}: {}", forms[number], mapper.daemon.tail()))?;
    }
    // Connections that are kept are made anew to an agent that was away.
    stack.edge_mut()?.kill();
    stack.edge_mut()?.restart()?;
    for number in 0..forms.len() {
        stack.apply(&boiler(&format!("boiler-{number}"), "boiler", &format!("go-{number}"), "70"))?;
    }
    for (number, mapper) in mappers.iter().enumerate() {
        let shown = shows(&stack, &format!("boiler-{number}"), "setpoint", "70").await;
        shown.with_context(|| format!("{:?}: {}", forms[number], mapper.daemon.tail()))?;
    }
    Ok(())
}
