//! MQTT clients that people have already, unmodified, against edgecore's broker.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::broker::Broker;

const PATIENCE: Duration = Duration::from_secs(120);

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
    for version in ["4", "5"] {
        let broker = Broker::start().await;
        let mut command = Command::new(installed("CLIENT_PYTHON"));
        let script = suite("python/mqtt_suite.py");
        succeeds(command.arg("-B").arg(script).arg(broker.port.to_string()).arg(version)).await;
    }
}

#[tokio::test]
async fn mqtt_js_works() {
    for version in ["4", "5"] {
        let broker = Broker::start().await;
        let mut command = Command::new("node");
        command.args(["--test", "--test-reporter=spec"]).arg(suite("node/mqtt.mjs"));
        command.env("CLIENT_NODE", installed("CLIENT_NODE"));
        succeeds(command.env("MQTT_PORT", broker.port.to_string()).env("MQTT_VERSION", version)).await;
    }
}
