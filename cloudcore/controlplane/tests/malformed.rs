//! What nobody sends by accident: every request is answered with a status of 4xx or 429, nothing grows, and the server goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::{Cluster, call};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// More than the server may grow over all attacks of a test, in kB.
const GROWTH: u64 = 200 * 1024;

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The server, and what it had in memory before the attacks.
struct Target {
    cluster: Cluster,
    before: u64,
}

impl Target {
    async fn start() -> Self {
        let cluster = Cluster::start().await;
        let made = json!({"metadata": {"name": "victim"}, "data": {"a": "b"}});
        assert_eq!(cluster.call("POST", MAPS, made).await.0, 201);
        Self { cluster, before: resident() }
    }

    /// The answer to raw bytes; it must be a proper refusal.
    async fn refuses(&self, method: &str, path: &str, kind: &str, body: Vec<u8>) -> (u16, Value) {
        let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
        let response = self.cluster.client.send(request.body(body.into()).unwrap()).await.unwrap();
        let code = response.status().as_u16();
        #[allow(clippy::disallowed_methods, reason = "our own server's answers are bounded")]
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let status: Value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| panic!("{method} {path}: {code} {}", String::from_utf8_lossy(&bytes)));
        assert!((400..500).contains(&code), "{method} {path}: {status}");
        assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(code)), "{status}");
        assert!(bytes.len() < 64 * 1024, "the refusal itself is {} bytes", bytes.len());
        (code, status)
    }

    /// A patch that is refused or does nothing.
    async fn leaves_alone(&self, path: &str, kind: &str, body: &Value) {
        let before = self.cluster.call("GET", path, Value::Null).await.1;
        let (code, answer) = call(&self.cluster.client, "PATCH", path, kind, body.clone()).await;
        assert!(code == 200 || (400..500).contains(&code) && answer["kind"] == "Status", "{body}: {answer}");
        assert_eq!(self.cluster.call("GET", path, Value::Null).await.1, before, "{body}");
    }

    /// The server is well, has what it had, and is not much larger.
    async fn survives(&self) {
        let (code, map) = self.cluster.call("GET", &format!("{MAPS}/victim"), Value::Null).await;
        assert_eq!((code, &map["data"]), (200, &json!({"a": "b"})));
        let grown = resident().saturating_sub(self.before);
        assert!(grown < GROWTH, "the server grew by {grown} kB");
    }
}

fn json_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_too_large_too_deep_or_no_text_are_refused() {
    let target = Target::start().await;
    let (code, status) = target.refuses("POST", MAPS, "application/json", vec![b' '; 4 << 20]).await;
    assert_eq!((code, &status["reason"]), (413, &json!("RequestEntityTooLarge")));
    let deep =
        |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000)).into_bytes();
    for (kind, body) in [
        ("application/json", deep("[", "]")),
        ("application/json", deep("{\"a\":", "}")),
        ("application/yaml", deep("[", "]")),
        ("application/yaml", deep("{a: ", "}")),
        (
            "application/yaml",
            (0..2000).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>().into_bytes(),
        ),
        ("application/json", b"{\"metadata\":{\"name\":\"\xff\xfe\"}}".to_vec()),
        ("application/yaml", b"metadata: {name: \"\xff\xfe\"}".to_vec()),
        ("application/json", b"{\"metadata\":{\"name\":\"x\"}".to_vec()),
        ("application/json", b"[]".to_vec()),
        ("application/json", b"null".to_vec()),
        ("application/json", b"{\"metadata\":{\"generation\":1e999}}".to_vec()),
        ("application/vnd.kubernetes.protobuf", b"nonsense".to_vec()),
        ("application/vnd.kubernetes.protobuf", b"k8s\0".to_vec()),
        (
            "application/vnd.kubernetes.protobuf",
            b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01".to_vec(),
        ),
        (
            "application/vnd.kubernetes.protobuf",
            b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\xff\x7f".to_vec(),
        ),
        (
            "application/vnd.kubernetes.protobuf",
            b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x04\x0a\x7f\x0a\x01".to_vec(),
        ),
        ("text/html", b"<html>".to_vec()),
        ("application/json; charset=\"", b"{".to_vec()),
    ] {
        target.refuses("POST", MAPS, kind, body).await;
    }
    target.survives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_unfold_are_refused() {
    let target = Target::start().await;
    let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 9].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let merges = "a: &a {x: 1}\n".to_owned() + &"b: {<<: [*a, *a, *a, *a]}\n".repeat(5000);
    for text in [laughs, merges, "a: &a [*a]".to_owned(), format!("metadata: {}", "? ".repeat(50_000))] {
        target.refuses("POST", MAPS, "application/yaml", text.into_bytes()).await;
    }
    // A tag or an anchor alone is no harm.
    target.survives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_cannot_blow_an_object_up() {
    let target = Target::start().await;
    let victim = format!("{MAPS}/victim");
    let patch = async |kind: &str, body: &Value| {
        target.refuses("PATCH", &victim, &format!("application/{kind}"), json_bytes(body)).await
    };
    // Each copy doubles what is there.
    let mut doubling = vec![
        json!({"op": "add", "path": "/data/x", "value": "x".repeat(1000)}),
        json!({"op": "add", "path": "/l", "value": {}}),
    ];
    doubling.extend((0..60).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/n{n}")})));
    let (code, status) = patch("json-patch+json", &json!(doubling)).await;
    assert!(matches!(code, 413 | 422), "{status}");
    let many: Vec<Value> =
        (0..10_001).map(|_| json!({"op": "test", "path": "/kind", "value": "ConfigMap"})).collect();
    let (code, status) = patch("json-patch+json", &json!(many)).await;
    assert_eq!(code, 413, "{status}");
    for body in [
        json!([{"op": "test", "path": "/data/a", "value": "c"}]),
        json!([{"op": "remove", "path": ""}]),
        json!([{"op": "replace", "path": "", "value": 3}]),
        json!([{"op": "replace", "path": "/metadata", "value": []}]),
        json!([{"op": "move", "from": "/data", "path": "/data/a/b"}]),
        json!([{"op": "add", "path": "/data/~3", "value": 1}]),
        json!([{"op": "add", "path": "/metadata/finalizers/99999999999999999999", "value": "x"}]),
        json!([{"op": "frobnicate", "path": "/data"}]),
        json!({"op": "add"}),
    ] {
        patch("json-patch+json", &body).await;
    }
    for body in [
        json!([]),
        json!(3),
        json!({"metadata": 3}),
        json!({"data": {"a": {"deep": 1}}}),
        json!({"metadata": {"name": "other"}}),
    ] {
        patch("merge-patch+json", &body).await;
        patch("strategic-merge-patch+json", &body).await;
    }
    for body in [
        // Odd, and in Kubernetes too some of these mean nothing instead of being wrong.
        json!({"$patch": "explode"}),
        json!({"metadata": {"finalizers": [{"$patch": "delete"}]}}),
        json!({"metadata": {"ownerReferences": [{"$patch": "delete"}]}}),
        json!({"$setElementOrder/data": "x", "data": 3}),
        json!({"$deleteFromPrimitiveList/finalizers": {"a": 1}}),
        json!({"metadata": {"$retainKeys": [3], "name": 3}}),
    ] {
        target.leaves_alone(&victim, "application/strategic-merge-patch+json", &body).await;
    }
    target.refuses("PATCH", &victim, "application/apply-patch+yaml", b"a: &a [*a, *a]".to_vec()).await;
    target.refuses("PATCH", &victim, "application/merge-patch+json", "[".repeat(200_000).into_bytes()).await;
    target.refuses("PATCH", &victim, "application/json-patch+json", "[{".repeat(100_000).into_bytes()).await;
    target.refuses("PATCH", &victim, "application/json", b"{}".to_vec()).await;
    target.survives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_tokens_and_numbers_that_mean_nothing_are_refused() {
    let target = Target::start().await;
    let quoted = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    for (key, value) in [
        ("labelSelector", "a in (".to_owned()),
        ("labelSelector", "a in (b".to_owned()),
        ("labelSelector", "!".to_owned()),
        ("labelSelector", "a=b=c=d".to_owned()),
        ("labelSelector", "a>x".to_owned()),
        ("labelSelector", "a,,b".to_owned()),
        ("labelSelector", "(".repeat(5000)),
        ("labelSelector", format!("a in ({}", "b,".repeat(10_000))),
        ("labelSelector", "k\u{0}=v".to_owned()),
        ("labelSelector", format!("{}=v", "k".repeat(10_000))),
        ("fieldSelector", "metadata.name".to_owned()),
        ("fieldSelector", "metadata.name=a\\x".to_owned()),
        ("fieldSelector", "=".to_owned()),
        ("fieldSelector", "spec.nothing=1".to_owned()),
        ("fieldSelector", ",=,".repeat(5000)),
        ("limit", "abc".to_owned()),
        ("limit", "9223372036854775808".to_owned()),
        ("limit", "1e3".to_owned()),
        ("continue", "garbage".to_owned()),
        ("continue", "e30".to_owned()),
        ("continue", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiYSJ9".to_owned()),
        ("continue", "A".repeat(20_000)),
        ("resourceVersion", "-1".to_owned()),
        ("resourceVersion", "18446744073709551616".to_owned()),
        ("resourceVersion", "one".to_owned()),
        ("resourceVersionMatch", "Sometimes".to_owned()),
        ("watch", "true&timeoutSeconds=x".to_owned()),
    ] {
        let value = if key == "watch" { value } else { quoted(&value) };
        target.refuses("GET", &format!("{MAPS}?{key}={value}"), "application/json", Vec::new()).await;
    }
    for (key, value) in [("dryRun", "Some"), ("fieldValidation", "Maybe")] {
        let body = json_bytes(&json!({"metadata": {"name": "x"}}));
        target.refuses("POST", &format!("{MAPS}?{key}={value}"), "application/json", body).await;
    }
    // Odd but legal.
    for query in ["limit=-5", "limit=0", "unknown=1", "labelSelector=", "limit=9223372036854775807"] {
        let (code, list) = target.cluster.call("GET", &format!("{MAPS}?{query}"), Value::Null).await;
        assert_eq!(code, 200, "{query}: {list}");
    }
    target.survives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_paths_that_lead_elsewhere_lead_nowhere() {
    let target = Target::start().await;
    for name in [
        "..",
        ".",
        "a/b",
        "a%b",
        "a\u{0}b",
        "UPPER",
        &"x".repeat(254),
        "ü",
        "a b",
        "-a",
        "a..b",
        "../../etc/passwd",
    ] {
        let body = json_bytes(&json!({"metadata": {"name": name}}));
        let (code, status) = target.refuses("POST", MAPS, "application/json", body).await;
        assert_eq!(code, 422, "{name:?}: {status}");
    }
    for path in [
        "/api/v1/namespaces/default/configmaps/..%2f..%2fsecrets",
        "/api/v1/namespaces/default/configmaps/%00",
        "/api/v1/namespaces/default/configmaps/victim%00",
        "/api/v1/namespaces/..%2fkube-system/configmaps/victim",
        "/api/v1/namespaces/default/configmaps/victim/..%2fstatus",
        "/api/v1/namespaces/default/configmaps/victim/nothing",
        "/api/v1/namespaces/default/nothing/victim",
    ] {
        let (code, status) = target.refuses("GET", path, "application/json", Vec::new()).await;
        assert!(matches!(code, 400 | 404), "{path}: {status}");
    }
    for path in [
        "/api/v1/../v1/pods",
        "/api//v1/pods",
        "/apis/../api/v1",
        "/%2e%2e/x",
        "/api/v1/namespaces//configmaps",
        "/healthz/../api",
    ] {
        let (code, _) = call(&target.cluster.client, "GET", path, "application/json", Value::Null).await;
        assert!(matches!(code, 400 | 404), "{path}: {code}");
    }
    for (method, path) in
        [("POST", "/healthz"), ("TRACE", MAPS), ("OPTIONS", MAPS), ("FROB", MAPS), ("PUT", MAPS)]
    {
        let (code, _) = call(&target.cluster.client, method, path, "application/json", Value::Null).await;
        assert_eq!(code, 405, "{method} {path}");
    }
    target.survives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_addresses_that_are_too_long_are_refused_on_the_wire() {
    let target = Target::start().await;
    let client = target.cluster.tls_client().await;
    let long = format!("{MAPS}?labelSelector={}", "a".repeat(60_000));
    let request = http::Request::builder().uri(&long).body(Vec::new().into()).unwrap();
    let code = client.send(request).await.map(|response| response.status().as_u16());
    assert!(code.as_ref().is_ok_and(|code| (400..500).contains(code)), "{code:?}");
    let request = http::Request::builder()
        .uri(MAPS)
        .header("x-long", "a".repeat(2 << 20))
        .body(Vec::new().into())
        .unwrap();
    // Refused by a status, or by closing the stream.
    if let Ok(response) = client.send(request).await {
        assert!((400..500).contains(&response.status().as_u16()), "{}", response.status());
    }
    target.survives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tls_and_no_http_hurts_nobody() {
    let target = Target::start().await;
    let address = target.cluster.server.strip_prefix("https://").unwrap().to_owned();
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        vec![0x16, 0x03, 0x01, 0xff, 0xff],
        vec![0; 70_000],
        Vec::new(),
    ] {
        let mut socket = tokio::net::TcpStream::connect(&address).await.unwrap();
        // The server may hang up while we still talk.
        let _ = socket.write_all(&bytes).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        let mut limited = (&mut socket).take(1 << 16);
        let read = limited.read_buf(&mut answer);
        let _ = tokio::time::timeout(std::time::Duration::from_secs(10), read)
            .await
            .expect("the server keeps a dead connection");
    }
    let client = target.cluster.tls_client().await;
    assert_eq!(call(&client, "GET", &format!("{MAPS}/victim"), "application/json", Value::Null).await.0, 200);
    target.survives().await;
}
