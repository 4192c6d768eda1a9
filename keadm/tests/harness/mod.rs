#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)] // each test file uses a part of it
//! A cloudcore as far as a join sees it, made of real TLS and real certificates, and the keadm under test.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use proto::pki::{Authority, NodeName, ServerNames};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

/// How this cloudcore misbehaves.
#[derive(Clone)]
pub struct Behaviour {
    pub names: ServerNames,
    /// A node that exists already.
    pub taken: Option<&'static str>,
    /// What `Date` says, if not the truth.
    pub date: Option<Timestamp>,
    /// Status and text of `/edge.crt`, if it refuses.
    pub refuses: Option<(u16, &'static str)>,
}

impl Default for Behaviour {
    fn default() -> Self {
        let names =
            ServerNames { ips: ["127.0.0.1".parse().unwrap()].into(), dns: ["localhost".to_owned()].into() };
        Self { names, taken: None, date: None, refuses: None }
    }
}

/// The certificate endpoints, on a runtime of their own.
pub struct Cloud {
    pub authority: Arc<Authority>,
    pub https: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Cloud {
    pub fn start(behaviour: Behaviour) -> Self {
        let authority = Arc::new(Authority::generate(Timestamp::now()).unwrap());
        let identity = authority.issue_server(&behaviour.names, Timestamp::now()).unwrap();
        let tls = tls(identity.certificate.clone(), identity.key.rustls());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let https = listener.local_addr().unwrap();
        let serving = serve(listener, tls, Arc::clone(&authority), Arc::new(behaviour));
        std::mem::drop(runtime.spawn(serving));
        Self { authority, https, _runtime: runtime }
    }

    /// A token of this cloud.
    pub fn token(&self, node: Option<&str>) -> String {
        self.token_of(Duration::from_secs(3600), node, Timestamp::now())
    }

    pub fn token_of(&self, life: Duration, node: Option<&str>, now: Timestamp) -> String {
        let node = node.map(|node| node.parse::<NodeName>().unwrap());
        self.authority.mint_token(life, node.as_ref(), now).to_string()
    }
}

fn tls(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    authority: Arc<Authority>,
    behaviour: Arc<Behaviour>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, authority, behaviour) = (tls.clone(), Arc::clone(&authority), Arc::clone(&behaviour));
        connections.spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(|request| answer(request, &authority, &behaviour));
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    authority: &Authority,
    behaviour: &Behaviour,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let (status, body) = match path.as_str() {
        "/ca.crt" => (StatusCode::OK, authority.certificate().to_vec()),
        "/edge.crt" => match behaviour.refuses {
            Some((status, text)) => (StatusCode::from_u16(status).unwrap(), text.into()),
            None => issue(request, authority).await,
        },
        _ => match path.strip_prefix("/node/") {
            Some(node) if behaviour.taken == Some(node) => (StatusCode::OK, "Node founded".into()),
            _ => (StatusCode::NOT_FOUND, "Node not found".into()),
        },
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    if let Some(date) = behaviour.date {
        let text = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
        response.headers_mut().insert(header::DATE, HeaderValue::from_str(&text).unwrap());
    }
    Ok(response)
}

async fn issue(request: Request<Incoming>, authority: &Authority) -> (StatusCode, Vec<u8>) {
    let text = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (node, bearer) = (text("nodename").parse::<NodeName>().unwrap(), text("authorization"));
    let now = Timestamp::now();
    if let Err(error) = authority.verify_bearer(bearer.trim_start_matches("Bearer "), &node, now) {
        return (StatusCode::UNAUTHORIZED, error.to_string().into_bytes());
    }
    #[allow(clippy::disallowed_methods)] // limited already
    let csr = Limited::new(request.into_body(), 1 << 20).collect().await.unwrap().to_bytes();
    match authority.issue_edge(&node, &csr, Duration::from_secs(3600), now) {
        Ok(certificate) => (StatusCode::OK, certificate.to_vec()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into_bytes()),
    }
}

/// A host below a temporary folder, with a program called edgecore and one called cloudcore in its `PATH`.
pub struct Host {
    dir: TempDir,
}

impl Host {
    /// `edgecore` is the text of a shell script that stands in for the program.
    pub fn new(edgecore: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("keadm").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        let host = Self { dir };
        host.program("edgecore", edgecore);
        host
    }

    pub fn program(&self, name: &str, script: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Runs keadm on this host.
    pub fn keadm(&self, arguments: &[&str]) -> Output {
        // A copy away from the build folder, so that the real programs beside it are not found.
        let keadm = self.path("bin/keadm");
        if !keadm.exists() {
            std::fs::copy(env!("CARGO_BIN_EXE_keadm"), &keadm).unwrap();
        }
        Command::new(keadm)
            .args(arguments)
            .env("KEADM_ROOT", self.dir.path())
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .env_remove("KUBECONFIG")
            .output()
            .unwrap()
    }

    /// `keadm join` as node edge1 without pods, so that no container runtime is needed.
    pub fn join(&self, hub: SocketAddr, https: SocketAddr, token: &str, more: &[&str]) -> Output {
        let (mqtt, health) = (free_port(), free_port());
        let broker = format!(
            "modules.edged.enable=false,modules.edged.tailoredKubeletConfig.readOnlyPort={health},\
                     modules.eventBus.mqttServerInternal=tcp://127.0.0.1:{mqtt}"
        );
        let (hub, port, token) = (hub.to_string(), https.port().to_string(), format!("--token={token}"));
        let mut line =
            vec!["join", "-e", &hub, "-s", &port, &token, "-i", "edge1", "--timeout", "5", "--set", &broker];
        line.extend(more);
        self.keadm(&line)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.keadm(&["reset", "--force"]);
    }
}

/// A port of loopback that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that a join ended with `code` and said each of `words`; returns what it said.
#[track_caller]
pub fn said(output: &Output, code: i32, words: &[&str]) -> String {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
    assert!(!text.contains("timed out waiting for the condition"), "{text}");
    text
}
