//! A control plane of one's own, and the real kubectl to talk to it.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use controlplane::{Config, ControlPlane};
use futures::{AsyncBufReadExt, StreamExt};
use http_body_util::BodyExt;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use tasks::TaskSet;
use tokio::process::Command;

pub const KUBECTL: &str = "/usr/bin/kubectl";
pub const KUBECTL_1_20: &str = match option_env!("SKERRY_OLD_KUBECTL") {
    Some(path) => path,
    None => "/opt/kubectl-1.20/usr/bin/kubectl",
};
const PATIENCE: Duration = Duration::from_secs(30);

/// A running control plane in a directory that goes with it.
pub struct Cluster {
    pub dir: tempfile::TempDir,
    pub client: kube::Client,
    pub server: String,
    pub kubeconfig: String,
    tasks: TaskSet,
}

/// What a kubectl said.
#[derive(Debug)]
pub struct Said {
    pub out: String,
    pub err: String,
    pub ok: bool,
}

/// One request: status and document. A body of null is none.
pub async fn call(client: &kube::Client, method: &str, path: &str, kind: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
    let response = client.send(request.body(body.into()).unwrap()).await.unwrap();
    answered(response).await
}

/// The same in somebody else's name.
pub async fn call_as(
    client: &kube::Client,
    (user, groups): (&str, &[&str]),
    method: &str,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
    let mut request = request.header("impersonate-user", user);
    for group in groups {
        request = request.header("impersonate-group", *group);
    }
    let response = client.send(request.body(body.into()).unwrap()).await.unwrap();
    answered(response).await
}

/// Status and document of an answer.
pub async fn answered(response: http::Response<kube::client::Body>) -> (u16, Value) {
    let code = response.status().as_u16();
    #[allow(clippy::disallowed_methods, reason = "our own server's answers are bounded")]
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
    (code, value)
}

/// The document of an answer that must have this code.
pub async fn expect(answer: impl Future<Output = (u16, Value)>, code: u16) -> Value {
    let (found, body) = answer.await;
    assert_eq!(found, code, "{body}");
    body
}

/// Waits until `seen` finds what it looks for.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut seen: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = seen().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The events of a watch, until it ends or `count` came.
pub async fn events(client: &kube::Client, path: &str, count: usize) -> Vec<Value> {
    let request = http::Request::builder().uri(path).body(Vec::new()).unwrap();
    let mut lines = client.request_stream(request).await.unwrap().lines();
    let mut seen = Vec::new();
    while seen.len() < count
        && let Some(line) = tokio::time::timeout(PATIENCE, lines.next()).await.expect("the watch is silent")
    {
        seen.push(serde_json::from_str(&line.unwrap()).unwrap());
    }
    seen
}

pub fn config(dir: &std::path::Path) -> Config {
    Config {
        data_dir: dir.join("data"),
        address: [127, 0, 0, 1].into(),
        port: 0,
        names: Vec::new(),
        crds: Vec::new(),
        encrypt_secrets: false,
        encryption: None,
        audit: None,
    }
}

impl Cluster {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    pub async fn start_in(dir: tempfile::TempDir) -> Self {
        Self::start_with(dir, |_| {}).await
    }

    /// With other settings than the usual ones.
    pub async fn start_with(dir: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(dir.path());
        change(&mut config);
        let plane = ControlPlane::open(config).await.unwrap();
        let server = format!("https://{}", plane.address());
        let kubeconfig = plane.admin_kubeconfig(&server).unwrap();
        std::fs::write(dir.path().join("admin.conf"), &kubeconfig).unwrap();
        let client = plane.client();
        let tasks = TaskSet::new("cluster");
        tasks.spawn_once("controlplane", move |token| async move { plane.run(token).await.unwrap() });
        Self { dir, client, server, kubeconfig, tasks }
    }

    /// Stops it and gives the directory back.
    pub async fn stop(self) -> tempfile::TempDir {
        drop(self.client);
        let report = self.tasks.shutdown(Duration::from_secs(20)).await;
        assert!(report.is_clean(), "{report:?}");
        self.dir
    }

    /// Stops it and starts it again in the same place, so that clients find it again.
    pub async fn restart(self) -> Self {
        let port = self.server.rsplit_once(':').unwrap().1.parse().unwrap();
        Self::start_with(self.stop().await, |config| config.port = port).await
    }

    /// A client over TLS with the administrator's certificate.
    pub async fn tls_client(&self) -> kube::Client {
        let parsed = kube::config::Kubeconfig::from_yaml(&self.kubeconfig).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(parsed, &options).await.unwrap();
        kube::Client::try_from(config).unwrap()
    }

    /// The certificate of the authority that signs the server's.
    pub fn ca(&self) -> rustls_pki_types::CertificateDer<'static> {
        let parsed = kube::config::Kubeconfig::from_yaml(&self.kubeconfig).unwrap();
        let ca = parsed.clusters[0].cluster.as_ref().unwrap().certificate_authority_data.clone().unwrap();
        let pem = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, ca).unwrap();
        rustls_pki_types::CertificateDer::from_pem_slice(&pem).unwrap()
    }

    /// A client over TLS with a token, or with nothing.
    pub fn stranger(&self, token: Option<&str>) -> kube::Client {
        let der = self.ca().to_vec();
        let mut config = kube::Config::new(self.server.parse().unwrap());
        config.root_cert = Some(vec![der]);
        config.auth_info.token = token.map(|token| token.to_owned().into());
        kube::Client::try_from(config).unwrap()
    }

    /// One request in-process: status and document.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        call(&self.client, method, path, "application/json", body).await
    }

    /// The same for a PATCH of a type.
    pub async fn patch(&self, kind: &str, path: &str, body: Value) -> (u16, Value) {
        call(&self.client, "PATCH", path, &format!("application/{kind}"), body).await
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a manifest and gives its path.
    pub fn manifest(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn command(&self, kubectl: &str, args: &[&str]) -> Command {
        let mut command = Command::new(kubectl);
        command
            .arg("--kubeconfig")
            .arg(self.path("admin.conf"))
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.dir.path())
            .kill_on_drop(true);
        command
    }

    pub async fn run(&self, kubectl: &str, args: &[&str]) -> Said {
        let output = tokio::time::timeout(PATIENCE, self.command(kubectl, args).output());
        let Output { status, stdout, stderr } = output.await.expect("kubectl hangs").unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said { out: text(stdout), err: text(stderr), ok: status.success() }
    }

    /// Runs kubectl 1.32.
    pub async fn kubectl(&self, args: &[&str]) -> Said {
        self.run(KUBECTL, args).await
    }

    /// Runs kubectl 1.32, which must succeed; its output.
    pub async fn must(&self, args: &[&str]) -> String {
        let said = self.kubectl(args).await;
        assert!(said.ok, "kubectl {args:?}: {said:?}");
        said.out
    }

    /// An object as kubectl sees it.
    pub async fn json(&self, args: &[&str]) -> Value {
        let mut all = args.to_vec();
        all.extend(["-o", "json"]);
        serde_json::from_str(&self.must(&all).await).unwrap()
    }
}
