use axum::Router;
use axum::http::{HeaderMap as Headers, StatusCode};
use axum::response::Redirect;
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

fn target(port: u16, get: serde_json::Value) -> Target {
    let mut get: HTTPGetAction = serde_json::from_value(get).expect("an action");
    get.port = k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(i32::from(port));
    Target::of(&get, [127, 0, 0, 1].into(), port).expect("a target")
}

/// A server for the life of the test's runtime.
async fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let echo = |headers: Headers| async move {
        let text =
            |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
        let asked = [text("user-agent"), text("host"), text("x-key"), text("connection")].join(" ");
        if asked == "kube-probe/1.32 example.org secret close" {
            StatusCode::OK
        } else {
            StatusCode::BAD_REQUEST
        }
    };
    let app = Router::new()
        .route("/well", get(|| async { "ok" }))
        .route("/ill", get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "no") }))
        .route("/near", get(|| async { Redirect::temporary("/well") }))
        .route("/far", get(|| async { Redirect::temporary("http://example.org/") }))
        .route("/round", get(|| async { Redirect::temporary("/round") }))
        .route("/echo", get(echo))
        .route("/late", get(|| async { tokio::time::sleep(Duration::from_secs(60)).await }));
    tokio::task::spawn_local(async move { axum::serve(listener, app).await });
    port
}

fn failure(words: impl Into<String>) -> Outcome {
    Outcome::Failure(words.into())
}

#[tokio::test]
async fn answers_are_judged_as_the_kubelet_judges_them() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let port = serve().await;
            let ask = async |path: &str| probe(&target(port, json!({"path": path, "port": 1})), LIMIT).await;
            assert_eq!(ask("/well").await, Outcome::Success);
            assert_eq!(ask("/ill").await, failure("HTTP probe failed with statuscode: 503"));
            assert_eq!(ask("nowhere").await, failure("HTTP probe failed with statuscode: 404"));
            assert_eq!(ask("/near").await, Outcome::Success);
            assert!(matches!(ask("/far").await, Outcome::Warning(words) if words.starts_with("Probe terminated redirects")));
            let stopped = format!("Get \"http://127.0.0.1:{port}/round\": stopped after 10 redirects");
            assert_eq!(ask("/round").await, failure(stopped));
            let headers = json!([{"name": "Host", "value": "example.org"}, {"name": "X-Key", "value": "secret"}]);
            let echo = target(port, json!({"path": "/echo", "port": 1, "httpHeaders": headers}));
            assert_eq!(probe(&echo, LIMIT).await, Outcome::Success);
            let late = target(port, json!({"path": "/late", "port": 1}));
            let words = format!(
                "Get \"http://127.0.0.1:{port}/late\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            );
            assert_eq!(probe(&late, Duration::from_millis(300)).await, failure(words));
        })
        .await;
}

#[tokio::test]
async fn a_closed_port_is_told_in_words_that_users_search_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let words =
        format!("Get \"http://127.0.0.1:{port}/\": dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert_eq!(probe(&target(port, json!({"port": 1})), LIMIT).await, failure(words));
}

#[tokio::test]
async fn any_certificate_will_do() {
    let made = rcgen::generate_simple_self_signed(vec!["somebody.else".to_owned()]).expect("a certificate");
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let serve = async {
        let (tcp, _) = listener.accept().await.expect("a client");
        let mut tls = TlsAcceptor::from(Arc::new(config)).accept(tcp).await.expect("a handshake");
        let mut asked = [0; 1024];
        let read = tokio::io::AsyncReadExt::read(&mut tls, &mut asked).await.expect("a request");
        assert!(asked[..read].starts_with(b"GET /well HTTP/1.1"));
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut tls, answer).await.expect("an answer");
        tokio::io::AsyncWriteExt::shutdown(&mut tls).await.ok();
    };
    let target = target(port, json!({"scheme": "HTTPS", "path": "/well", "port": 1}));
    let (outcome, ()) = tokio::join!(probe(&target, LIMIT), serve);
    assert_eq!(outcome, Outcome::Success);
}

#[test]
fn headers_that_no_server_would_take_are_named() {
    let get: HTTPGetAction =
        serde_json::from_value(json!({"port": 80, "httpHeaders": [{"name": "a b", "value": "c"}]}))
            .expect("an action");
    let error = Target::of(&get, [127, 0, 0, 1].into(), 80).expect_err("no header");
    assert_eq!(error, "httpGet.httpHeaders: \"a b\" is no name of a header");
}
