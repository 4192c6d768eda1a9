//! MQTT clients that people have already, unmodified, against edgecore's broker.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use e2e::{Daemon, binary, eventually, free_ports};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(120);

/// An agent without pods and cloud.
struct Broker {
    port: u16,
    _agent: Daemon,
    _directory: tempfile::TempDir,
}

impl Broker {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let [port] = free_ports().unwrap();
        let config = json!({
            "database": {"dataSource": at("edgecore.db")},
            "modules": {
                "edged": {"enable": false, "hostnameOverride": "edge1", "tailoredKubeletConfig": {"readOnlyPort": 0}},
                "edgeHub": {"enable": false},
                "eventBus": {"mqttMode": 0, "mqttServerInternal": format!("tcp://127.0.0.1:{port}")},
                "deviceTwin": {"dmiSockPath": directory.path()},
            },
        });
        std::fs::write(at("edgecore.yaml"), config.to_string()).unwrap();
        let path = at("edgecore.yaml");
        let args = ["--config", path.to_str().unwrap()];
        let agent = Daemon::start("edgecore", &binary("edgecore").unwrap(), &args, &at("log")).unwrap();
        eventually("the broker listens", Duration::from_secs(20), || async {
            TcpStream::connect(("127.0.0.1", port)).await.map(drop).map_err(|error| error.to_string())
        })
        .await
        .unwrap();
        Self { port, _agent: agent, _directory: directory }
    }
}

fn suite(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

fn installed(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: start the tests with tests/run.sh"))
}

async fn succeeds(command: &mut Command) {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("the suite hangs").unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

#[tokio::test]
async fn paho_aiomqtt_and_gmqtt_work() {
    let broker = Broker::start().await;
    let mut command = Command::new(installed("CLIENT_PYTHON"));
    succeeds(command.arg("-B").arg(suite("python/mqtt_suite.py")).arg(broker.port.to_string())).await;
}

#[tokio::test]
async fn mqtt_js_works() {
    let broker = Broker::start().await;
    let mut command = Command::new("node");
    command.args(["--test", "--test-reporter=spec"]).arg(suite("node/mqtt.mjs"));
    succeeds(command.env("CLIENT_NODE", installed("CLIENT_NODE")).env("MQTT_PORT", broker.port.to_string()))
        .await;
}
