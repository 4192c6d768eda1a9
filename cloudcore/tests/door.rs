//! Who gets in and who does not: certificates, tokens, names, limits, malformed input, slow readers.

#![allow(missing_docs, unreachable_pub, reason = "a test has no users")]
#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod cloud;

use std::time::Duration;

use cloud::edge::{Edge, dial, join, node_object};
use cloud::https::{get, tls};
use cloud::{Cloud, create, eventually, node, pod};
use futures::{SinkExt, StreamExt};
use jiff::Timestamp;
use proto::message::{Message, Operation};
use proto::pki::{Authority, NodeRequest};
use proto::session::{Dialect, Item};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message as Frame};

const DAY: Duration = Duration::from_secs(86_400);

/// Asks for a certificate of `node` with a CSR of `csr_of`; returns status and text.
async fn request(cloud: &Cloud, node_name: &str, csr_of: &str, authorization: &str) -> (u16, String) {
    let csr = NodeRequest::new(&node(csr_of)).expect("a request").csr;
    let ca = cloud.authority().await;
    let headers = [("Nodename", node_name), ("Authorization", authorization)];
    let answer = get(cloud.app.https, tls(Some(ca.certificate()), None), "/edge.crt", &headers, csr).await;
    let answer = answer.expect("an answer");
    (answer.status, answer.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ca_is_the_one_that_the_token_names() {
    let cloud = Cloud::start().await;
    let answer = get(cloud.app.https, tls(None, None), "/ca.crt", &[], Vec::new()).await.expect("an answer");
    let token = String::from_utf8(cloud.secret("tokensecret", "tokendata").await).expect("text");
    assert_eq!(token.split('.').count(), 4);
    token.parse::<proto::pki::JoinToken>().expect("a token").check_ca(&answer.body).expect("the same CA");
    assert_eq!(answer.body, cloud.secret("casecret", "cadata").await);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_expired_or_foreign_token_gets_no_certificate_and_is_told_why() {
    let cloud = Cloud::start().await;
    let authority = cloud.authority().await;
    let now = Timestamp::now();
    let expired = authority.mint_token(Duration::from_secs(60), None, now - Duration::from_secs(3600));
    let stranger = Authority::generate(now).expect("a CA").mint_token(DAY, None, now);
    let bound = authority.mint_token(DAY, Some(&node("edge2")), now);
    for (authorization, expected) in [
        (format!("Bearer {}", expired.bearer()), "expired at"),
        (format!("Bearer {}", stranger.bearer()), "was not made by this cloudcore"),
        (format!("Bearer {}", bound.bearer()), "the token is for node edge2"),
        ("Bearer x".to_owned(), "no join token"),
        ("Basic eDp5".to_owned(), "neither a client certificate nor"),
    ] {
        let (status, text) = request(&cloud, "edge1", "edge1", &authorization).await;
        assert_eq!(status, 401, "{text}");
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(request(&cloud, "edge2", "edge2", &format!("Bearer {}", bound.bearer())).await.0, 200);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_cannot_ask_for_another_nodes_name() {
    let cloud = Cloud::start().await;
    let bearer = format!("Bearer {}", cloud.bearer().await);
    let (status, text) = request(&cloud, "edge1", "edge2", &bearer).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("system:node:edge2") && text.contains("system:node:edge1"), "{text}");
    assert_eq!(request(&cloud, "../x", "edge1", &bearer).await.0, 400);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_renews_its_own_node_only() {
    let cloud = Cloud::start().await;
    let identity = join(&cloud, "edge1").await;
    let ca = cloud.authority().await;
    for (name, expected) in [("edge1", 200), ("edge2", 403)] {
        let csr = NodeRequest::new(&node(name)).expect("a request").csr;
        let tls = tls(Some(ca.certificate()), Some(&identity));
        let answer =
            get(cloud.app.https, tls, "/edge.crt", &[("Nodename", name)], csr).await.expect("an answer");
        assert_eq!(answer.status, expected, "{}", answer.text());
    }
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_living_node_is_taken_until_it_is_gone() {
    let cloud = Cloud::start().await;
    let free = || async {
        let answer =
            get(cloud.app.https, tls(None, None), "/node/edge1", &[], Vec::new()).await.expect("an answer");
        (answer.status, answer.text())
    };
    assert_eq!(free().await, (404, "Node not found".to_owned()));
    let edge = Edge::registered(&cloud, "edge1", Dialect::KubeEdge).await;
    assert_eq!(free().await, (200, "Node founded".to_owned()));
    let bearer = format!("Bearer {}", cloud.bearer().await);
    let (status, text) = request(&cloud, "edge1", "edge1", &bearer).await;
    assert_eq!(status, 409, "{text}");
    assert!(text.contains("it is connected from 127.0.0.1"), "{text}");
    let bound = cloud.authority().await.mint_token(DAY, Some(&node("edge1")), Timestamp::now());
    assert_eq!(request(&cloud, "edge1", "edge1", &format!("Bearer {}", bound.bearer())).await.0, 200);
    drop(edge);
    eventually("the name is free", || async { (free().await.0 == 404).then_some(()) }).await;
    assert_eq!(request(&cloud, "edge1", "edge1", &bearer).await.0, 200);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reports_a_nodes_jobs_without_being_that_node() {
    let cloud = Cloud::start().await;
    for path in ["/nodeupgrade", "/task/upgrade/name/t/node/edge1/status"] {
        let answer =
            get(cloud.app.https, tls(None, None), path, &[], b"{}".to_vec()).await.expect("an answer");
        assert_eq!(answer.status, 404);
    }
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_node_or_another_ca_opens_no_session() {
    let cloud = Cloud::start().await;
    let identity = join(&cloud, "edge1").await;
    let refused = dial(&cloud, &identity, "edge2", Dialect::KubeEdge).await;
    let Err(SocketError::Http(response)) = refused else { panic!("expected a refusal, got {refused:?}") };
    assert_eq!(response.status(), 403);
    let text = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned();
    assert!(text.contains("the certificate is of node edge1, but node_id says edge2"), "{text}");

    let stranger = Authority::generate(Timestamp::now()).expect("a CA");
    let forged =
        stranger.issue_client("system:node:edge1", "system:nodes", DAY, Timestamp::now()).expect("forged");
    match dial(&cloud, &forged, "edge1", Dialect::KubeEdge).await {
        Err(_) => {}
        // TLS 1.3 tells the client of the refusal only after its first read.
        Ok(mut socket) => assert!(!matches!(socket.next().await, Some(Ok(_)))),
    }
    assert!(cloud.app.sessions.is_empty());
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_node_limit_a_connection_is_refused_and_not_served() {
    let cloud = Cloud::start_with(|config| config.modules.cloud_hub.node_limit = 1).await;
    let _first = Edge::connect(&cloud, "edge1", Dialect::KubeEdge).await;
    let identity = join(&cloud, "edge2").await;
    let refused = dial(&cloud, &identity, "edge2", Dialect::KubeEdge).await;
    let Err(SocketError::Http(response)) = refused else { panic!("expected a refusal, got {refused:?}") };
    assert_eq!(response.status(), 503);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_frames_are_dropped_and_counted_until_there_are_too_many() {
    for dialect in [Dialect::KubeEdge, Dialect::SkerryV1] {
        let cloud = Cloud::start().await;
        let mut edge = Edge::registered(&cloud, "edge1", dialect).await;
        let garbage = || match dialect {
            Dialect::KubeEdge => Frame::text("{\"header\":"),
            Dialect::SkerryV1 => Frame::binary(vec![0xff; 40]),
        };
        edge.socket.send(garbage()).await.expect("sent");
        let answer = edge.ask("null/node/edge1", Operation::Query, Value::Null).await;
        assert!(proto::answer::parse(&answer.content).is_ok(), "one bad frame does not end the session");
        assert_eq!(cloud.app.metrics.malformed.get(), 1);
        for _ in 0..20 {
            if edge.socket.send(garbage()).await.is_err() {
                break;
            }
        }
        while edge.next().await.is_some() {}
        cloud.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limit_ends_the_session_without_filling_memory() {
    let cloud = Cloud::start_with(|config| config.modules.cloud_hub.max_message_bytes = 64 << 10).await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::KubeEdge).await;
    let huge = format!("{{\"content\":\"{}\"}}", "x".repeat(1 << 20));
    let _ = edge.socket.send(Frame::text(huge)).await;
    while edge.next().await.is_some() {}
    eventually("the session ended", || async { cloud.app.sessions.is_empty().then_some(()) }).await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_read_does_not_hold_up_the_others() {
    let cloud =
        Cloud::start_with(|config| config.modules.cloud_hub.write_timeout = proto::config::Seconds(2)).await;
    let mut stuck = Edge::registered(&cloud, "stuck", Dialect::KubeEdge).await;
    let mut good = Edge::registered(&cloud, "good", Dialect::KubeEdge).await;
    // The stuck node asks for its node object again and again and never reads an answer.
    let labels: serde_json::Map<_, _> =
        (0..40).map(|n| (format!("label-{n}"), Value::from("x".repeat(60)))).collect();
    let mut big = node_object("stuck");
    big["metadata"]["labels"].as_object_mut().expect("labels").extend(labels);
    stuck.ask("null/node/stuck", Operation::Update, big).await;
    let mut asked = 0;
    loop {
        let message: Message =
            stuck.message("null/node/stuck", Operation::Query, proto::message::Content::null());
        let codec = proto::session::Codec::new(Dialect::KubeEdge, proto::session::Limits::default());
        let frame = codec.encode(&[Item::Message(message)]).expect("encodes").remove(0);
        match tokio::time::timeout(Duration::from_millis(500), stuck.socket.send(frame)).await {
            Ok(Ok(())) => asked += 1,
            Ok(Err(_)) | Err(_) => break,
        }
        assert!(asked < 200_000, "nothing ever pushed back");
    }
    create(&cloud.pods(), pod("web", "good", "conf")).await;
    good.pushed("default/pod/web").await;
    eventually("the stuck session ended", || async {
        cloud.app.sessions.connected(&node("stuck")).is_none().then_some(())
    })
    .await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_addresses_get_a_new_server_certificate_from_the_same_ca() {
    let cloud = Cloud::start().await;
    let (ca, before) =
        (cloud.secret("casecret", "cadata").await, cloud.secret("cloudcoresecret", "cloudcoredata").await);
    let mut cloud = cloud.restart().await;
    assert_eq!(
        cloud.secret("cloudcoresecret", "cloudcoredata").await,
        before,
        "nothing changed, nothing is renewed"
    );
    cloud.config.modules.cloud_hub.dns_names.push("cloud.example.com".into());
    let cloud = cloud.restart().await;
    assert_eq!(cloud.secret("casecret", "cadata").await, ca);
    assert_ne!(cloud.secret("cloudcoresecret", "cloudcoredata").await, before);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_and_metrics_are_told_over_http() {
    let cloud = Cloud::start().await;
    let answer = get(cloud.app.https, tls(None, None), "/readyz", &[], Vec::new()).await.expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"));
    let _edge = Edge::registered(&cloud, "edge1", Dialect::SkerryV1).await;
    let text = cloud.app.metrics.render();
    assert!(text.contains("cloudcore_hub_sessions 1"), "{text}");
    assert!(text.contains("cloudcore_certificates_issued_total 1"), "{text}");
    cloud.stop().await;
}
