//! The suites in `tests/conform/clients`, each written against its language's client as its users would. `tests/run.sh` installs
//! the clients and says where.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use proto::crds;
use tokio::process::Command;

use crate::support::Managed;

const PATIENCE: Duration = Duration::from_secs(180);

fn suite(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

fn installed(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: start the tests with tests/run.sh"))
}

/// Runs a suite with a cluster of two nodes; its output if it fails.
async fn run(mut command: Command) {
    let managed = Managed::start().await;
    for crd in crds::all().unwrap() {
        let body = serde_json::to_value(crd).unwrap();
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let (code, answer) = managed.cluster.call("POST", path, body).await;
        assert_eq!(code, 201, "{answer}");
    }
    let _nodes = [managed.node("one"), managed.node("two")];
    command
        .env("KUBECONFIG", managed.cluster.path("admin.conf"))
        .env("HOME", managed.cluster.dir.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("the suite hangs").unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_works() {
    let mut command = Command::new(installed("CLIENT_PYTHON"));
    command.arg("-B").arg(suite("python/suite.py"));
    run(command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_client_works() {
    let mut command = Command::new("node");
    command.args(["--test", "--test-reporter=spec"]).arg(suite("node/suite.mjs"));
    command.env("CLIENT_NODE", installed("CLIENT_NODE"));
    run(command).await;
}
