//! How a node gets its certificate, and what it says when it does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "shared by several test binaries")]
mod cloud;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use cloud::{Cloud, Edge, NODE, Service, node};
use edgecore::edgehub::{Connection, Settings};
use jiff::{SignedDuration, Timestamp};
use proto::pki::{Authority, Identity, NodeRequest, ServerNames, peer_node};
use proto::session::Dialect;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The trouble that an edge with these settings tells.
async fn trouble(settings: Settings, directory: &Path) -> String {
    let edge = Edge::start(settings, directory).await;
    let trouble = edge.trouble().await;
    edge.stop().await;
    trouble
}

fn assert_says(trouble: &str, words: &[&str]) {
    for word in words {
        assert!(trouble.contains(word), "{trouble:?} does not say {word:?}");
    }
}

#[tokio::test]
async fn a_join_stores_the_pair_privately_and_forgets_the_token() {
    let mut cloud = Cloud::start(Service::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let token = cloud.token().to_string();
    let mut settings = cloud.settings(directory.path(), &token);
    let config = directory.path().join("edgecore.yaml");
    std::fs::write(&config, format!("modules:\n  edgeHub:\n    token: {token}\n    heartbeat: 15\n"))
        .unwrap();
    std::fs::write(&settings.bootstrap_file, &token).unwrap();
    settings.config_file = Some(config.clone());
    let (bootstrap, key, certificate) =
        (settings.bootstrap_file.clone(), settings.key_file.clone(), settings.cert_file.clone());

    let edge = Edge::start(settings.clone(), directory.path()).await;
    assert_eq!(edge.connected().await, Connection::Up { dialect: Dialect::SkerryV1 });
    let peer = cloud.peer().await;
    assert_eq!(peer.headers["node_id"], NODE);
    assert_eq!(peer.headers["connectionuse"], "msg");
    assert!(!peer.headers.contains_key("origin"));
    assert!(!bootstrap.exists());
    assert!(!std::fs::read_to_string(&config).unwrap().contains(&token));
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let identity = Identity::load(&certificate, &key).unwrap().unwrap();
    assert_eq!(peer_node(&identity.certificate).unwrap(), node());
    edge.stop().await;

    // The certificate is enough from now on.
    settings.token.clear();
    let edge = Edge::start(settings, directory.path()).await;
    edge.connected().await;
    edge.stop().await;
}

#[tokio::test]
async fn a_closed_port_is_named() {
    let cloud = Cloud::start(Service::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let mut settings = cloud.settings(directory.path(), &cloud.token().to_string());
    settings.https.port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let at = settings.https.to_string();
    assert_says(
        &trouble(settings, directory.path()).await,
        &["nothing listens at", &at, "cloudcore running"],
    );
}

#[tokio::test]
async fn a_host_without_address_is_named() {
    let cloud = Cloud::start(Service::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let mut settings = cloud.settings(directory.path(), &cloud.token().to_string());
    settings.https.host = "no-such-host.invalid".into();
    assert_says(
        &trouble(settings, directory.path()).await,
        &["cannot find the address of no-such-host.invalid"],
    );
}

#[tokio::test]
async fn a_server_that_never_answers_is_named() {
    let cloud = Cloud::start(Service::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let mut settings = cloud.settings(directory.path(), &cloud.token().to_string());
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    settings.https.port = deaf.local_addr().unwrap().port();
    assert_says(&trouble(settings, directory.path()).await, &["does not answer within 2 s", "firewall"]);
}

#[tokio::test]
async fn another_services_port_is_named() {
    let cloud = Cloud::start(Service::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let mut settings = cloud.settings(directory.path(), &cloud.token().to_string());
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    settings.https.port = plain.local_addr().unwrap().port();
    let tasks = tasks::TaskSet::new("plain");
    tasks.spawn_once("http", move |_| async move {
        while let Ok((mut tcp, _)) = plain.accept().await {
            let _ = tcp.read(&mut [0; 512]).await;
            let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    assert_says(
        &trouble(settings, directory.path()).await,
        &["does not speak TLS", "another service's port"],
    );
}

#[tokio::test]
async fn an_address_that_the_certificate_does_not_cover_is_named_with_those_that_it_does() {
    let names = ServerNames { dns: ["cloud.example.org".into()].into(), ..ServerNames::default() };
    let cloud = Cloud::start(Service { names, ..Service::default() }).await;
    let directory = tempfile::tempdir().unwrap();
    let settings = cloud.settings(directory.path(), &cloud.token().to_string());
    let words = ["not for 127.0.0.1", "cloud.example.org", "advertiseAddress"];
    assert_says(&trouble(settings, directory.path()).await, &words);
}

#[tokio::test]
async fn a_token_of_another_cloud_is_named() {
    let cloud = Cloud::start(Service::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let other = Authority::generate(Timestamp::now()).unwrap();
    let token = other.mint_token(Duration::from_secs(60), None, Timestamp::now()).to_string();
    let settings = cloud.settings(directory.path(), &token);
    let certificate = settings.cert_file.clone();
    assert_says(&trouble(settings, directory.path()).await, &["the token names", "someone is in between"]);
    assert!(!certificate.exists());
}

#[tokio::test]
async fn an_expired_token_is_named_before_anything_is_sent() {
    let cloud = Cloud::start(Service::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let long_ago = Timestamp::now() - SignedDuration::from_hours(48);
    let token = cloud.authority.mint_token(Duration::from_secs(3600), None, long_ago).to_string();
    let settings = cloud.settings(directory.path(), &token);
    assert_says(&trouble(settings, directory.path()).await, &["expired at", "keadm gettoken"]);
}

#[tokio::test]
async fn text_that_is_no_token_is_named() {
    let cloud = Cloud::start(Service::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let settings = cloud.settings(directory.path(), "abc");
    assert_says(&trouble(settings, directory.path()).await, &["no join token", "keadm gettoken"]);
}

#[tokio::test]
async fn a_missing_token_is_named_with_the_place_for_it() {
    let cloud = Cloud::start(Service::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let settings = cloud.settings(directory.path(), "");
    let words = ["no certificate", "keadm gettoken", "bootstrap-edgecore.conf"];
    assert_says(&trouble(settings, directory.path()).await, &words);
}

#[tokio::test]
async fn a_clock_that_is_behind_is_named_not_the_certificate() {
    let cloud = Cloud::start(Service { clock: SignedDuration::from_hours(2), ..Service::default() }).await;
    let directory = tempfile::tempdir().unwrap();
    let settings = cloud.settings(directory.path(), &cloud.token().to_string());
    assert_says(
        &trouble(settings, directory.path()).await,
        &["clock is 1", "minutes behind the cloud's", "NTP"],
    );
}

#[tokio::test]
async fn a_taken_name_and_a_refused_token_are_told_in_the_clouds_words_and_ours() {
    for (refusal, words) in [
        (
            (409, "the name is taken"),
            ["does not let this node be edge1", "the name is taken", "hostnameOverride"],
        ),
        (
            (401, "Invalid authorization token"),
            ["does not accept", "Invalid authorization", "keadm gettoken"],
        ),
        ((500, "no disk"), ["refuses with HTTP 500", "no disk", "127.0.0.1"]),
    ] {
        let cloud = Cloud::start(Service { refusal: Some(refusal), ..Service::default() }).await;
        let directory = tempfile::tempdir().unwrap();
        let settings = cloud.settings(directory.path(), &cloud.token().to_string());
        assert_says(&trouble(settings, directory.path()).await, &words);
    }
}

/// Puts a certificate where a node would have it.
fn install(settings: &Settings, authority: &Authority, ca: &Authority, life: Duration, now: Timestamp) {
    let request = NodeRequest::new(&node()).unwrap();
    let certificate = authority.issue_edge(&node(), &request.csr, life, now).unwrap();
    let identity = request.accept(&certificate, &node()).unwrap();
    identity.store(&settings.cert_file, &settings.key_file).unwrap();
    proto::pki::write_public(&settings.ca_file, ca.pem().as_bytes()).unwrap();
}

#[tokio::test]
async fn a_certificate_of_another_cloud_is_refused_with_the_way_out_and_a_token_heals_it() {
    let mut cloud = Cloud::start(Service::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let settings = cloud.settings(directory.path(), "");
    let other = Authority::generate(Timestamp::now()).unwrap();
    let year = Duration::from_secs(365 * 86_400);
    install(&settings, &other, &cloud.authority, year, Timestamp::now());
    let words = ["refuses this node's certificate", "join again"];
    let edge = Edge::start(settings.clone(), directory.path()).await;
    assert_says(&edge.trouble().await, &words);
    // Somebody brings a token while it fails.
    std::fs::write(&settings.bootstrap_file, cloud.token().to_string()).unwrap();
    edge.connected().await;
    cloud.peer().await;
    edge.stop().await;

    install(&settings, &cloud.authority, &other, year, Timestamp::now());
    assert_says(&trouble(settings, directory.path()).await, &["not certified by the CA", "join again"]);
}

#[tokio::test]
async fn an_expired_certificate_is_named() {
    let cloud = Cloud::start(Service::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let settings = cloud.settings(directory.path(), "");
    let long_ago = Timestamp::now() - SignedDuration::from_hours(48);
    install(&settings, &cloud.authority, &cloud.authority, Duration::from_secs(3600), long_ago);
    assert_says(&trouble(settings, directory.path()).await, &["server.crt expired at", "keadm gettoken"]);
}

#[tokio::test]
async fn a_certificate_is_renewed_in_time_and_the_running_session_does_not_notice() {
    // Certificates begin five minutes ago: of 320 s, 70 to 90 % are over at once.
    let mut cloud = Cloud::start(Service { life: Duration::from_secs(20), ..Service::default() }).await;
    let directory = tempfile::tempdir().unwrap();
    let settings = cloud.settings(directory.path(), &cloud.token().to_string());
    let (certificate, key) = (settings.cert_file.clone(), settings.key_file.clone());
    let edge = Edge::start(settings, directory.path()).await;
    edge.connected().await;
    let mut peer = cloud.peer().await;
    let listening = tasks::TaskSet::new("peer");
    listening.spawn_once("peer", move |_| async move { while peer.hear().await.is_some() {} });
    let first = Identity::load(&certificate, &key).unwrap().unwrap().certificate;
    let mut connection = edge.hub.connection();
    connection.mark_unchanged();
    let renewed = async {
        loop {
            // The files change one after the other; the pair is whole at every moment.
            if Identity::load(&certificate, &key).unwrap().unwrap().certificate != first {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), renewed).await.expect("the certificate was not renewed");
    assert!(!connection.has_changed().unwrap(), "the session was dropped");
    edge.stop().await;
}
