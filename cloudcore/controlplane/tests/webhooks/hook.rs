//! The webhook: what it answers depends on the path, and it keeps what it was asked.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as Reserved};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tasks::TaskSet;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::support::Cluster;

/// An authority, and a server's certificate by it.
pub struct Certificates {
    pub bundle: String,
    tls: Arc<ServerConfig>,
}

/// A running webhook.
pub struct Hook {
    pub address: SocketAddr,
    pub bundle: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    _tasks: TaskSet,
}

impl Certificates {
    /// For `127.0.0.1` and the service `hook` in the namespace `default`.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = authority.self_signed(&key).unwrap();
        let issuer = Issuer::new(authority, key);
        let own = KeyPair::generate().unwrap();
        let names = ["127.0.0.1".to_owned(), "hook.default.svc".to_owned()];
        let signed = CertificateParams::new(names).unwrap().signed_by(&own, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![signed.der().clone()],
                PrivatePkcs8KeyDer::from(own.serialize_der()).into(),
            )
            .unwrap();
        Self { bundle: STANDARD.encode(certificate.pem()), tls: Arc::new(tls) }
    }
}

impl Hook {
    pub async fn start() -> Self {
        Self::start_at(free(), Certificates::new()).await
    }

    pub async fn start_at(address: SocketAddr, certificates: Certificates) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (tasks, kept) = (TaskSet::new("hook"), Arc::clone(&asked));
        let acceptor = TlsAcceptor::from(certificates.tls);
        tasks.spawn_once("hook", move |token| async move {
            let mut connections = JoinSet::new();
            while let Some(accepted) = token.run_until_cancelled(listener.accept()).await {
                let Ok((stream, _)) = accepted else { continue };
                let (acceptor, kept) = (acceptor.clone(), Arc::clone(&kept));
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request| answer(request, Arc::clone(&kept)));
                    let served = hyper::server::conn::http1::Builder::new();
                    served.serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Self { address, bundle: certificates.bundle, asked, _tasks: tasks }
    }

    /// A webhook of a configuration that calls this one, about config maps that are created in any namespace but the system's.
    pub fn webhook(&self, name: &str, path: &str) -> Value {
        webhook(name, self.address, path, &self.bundle)
    }

    /// What was asked under a path, in order.
    pub fn asked(&self, path: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(known, _)| known == path).map(|(_, request)| request.clone()).collect()
    }
}

/// An address on which nobody listens.
pub fn free() -> SocketAddr {
    Reserved::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

pub fn webhook(name: &str, address: SocketAddr, path: &str, bundle: &str) -> Value {
    json!({
        "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"url": format!("https://{address}{path}"), "caBundle": bundle},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}],
    })
}

/// Registers webhooks with kubectl.
pub async fn register(cluster: &Cluster, kind: &str, name: &str, webhooks: &[Value]) {
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}WebhookConfiguration"),
        "metadata": {"name": name}, "webhooks": webhooks,
    });
    let file = cluster.manifest(&format!("{name}.json"), &configuration.to_string());
    cluster.must(&["apply", "-f", &file]).await;
}

async fn answer(
    request: Request<Incoming>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    #[allow(clippy::disallowed_methods, reason = "the body is limited")]
    let body = Limited::new(request.into_body(), 8 << 20).collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    let request = &review["request"];
    asked.lock().unwrap().push((path.clone(), request.clone()));
    let told = match path.as_str() {
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            json!({"allowed": true})
        }
        // Only the first has to wait.
        "/pause" if asked.lock().unwrap().len() == 1 => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            json!({"allowed": true})
        }
        "/garbage" => return Ok(Response::new(Full::from("hello"))),
        "/broken" => {
            return Ok(Response::builder().status(500).body(Full::from("boom")).unwrap());
        }
        "/deny" => {
            json!({"allowed": false, "status": {"message": "not here", "code": 403, "reason": "Forbidden"}})
        }
        "/warn" => {
            json!({"allowed": true, "warnings": ["mind the gap"], "auditAnnotations": {"mood": "bad"}})
        }
        "/stranger" => json!({"allowed": true, "uid": "somebody else's"}),
        "/sidecar" => {
            let sidecar = json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "busybox:1"}}]);
            patch(&sidecar)
        }
        "/scale" => patch(&json!([{"op": "replace", "path": "/spec/replicas", "value": 3}])),
        "/nonsense" => patch(&json!([{"op": "replace", "path": "/data", "value": 7}])),
        path => match path.strip_prefix("/label/") {
            Some(label) => labelled(&request["object"], label),
            None => json!({"allowed": true}),
        },
    };
    let mut response = json!({"uid": request["uid"]});
    response.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
    let review =
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    Ok(Response::new(Full::from(review.to_string())))
}

/// Adds a label whose value tells which labels there were before.
fn labelled(object: &Value, label: &str) -> Value {
    let labels = object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let seen: Vec<&str> = labels.keys().map(String::as_str).filter(|key| *key != label).collect();
    let seen = if seen.is_empty() { "none".to_owned() } else { seen.join("-") };
    let mut labels = Value::Object(labels);
    labels[label] = json!(seen);
    patch(&json!([{"op": "add", "path": "/metadata/labels", "value": labels}]))
}

fn patch(operations: &Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string())})
}
