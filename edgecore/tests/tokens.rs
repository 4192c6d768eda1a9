//! Tokens of service accounts on a machine whose clock is really wrong: libfaketime sets it, and lets it jump.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "shared by several test binaries")]
mod cloud;

use std::path::{Path, PathBuf};
use std::process::Command;

use cloud::{Cloud, Edge, Peer, Service};
use edgecore::metamanager::{FetchError, PodToken};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use proto::message::{Content, Operation};
use proto::session::Item;
use serde_json::json;

/// Says to the process inside which file sets its clock.
const CLOCK: &str = "FAKETIME_TIMESTAMP_FILE";

/// The file that sets this process' clock, if it has such a clock; else the test `name` is run in a process that has.
fn with_a_clock_of_its_own(name: &str) -> Option<PathBuf> {
    if let Some(file) = std::env::var_os(CLOCK) {
        return Some(file.into());
    }
    let library = Path::new("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1");
    assert!(library.exists(), "{} is missing: apt-get install libfaketime", library.display());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("clock");
    set(&file, "+0");
    let ran = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env("LD_PRELOAD", library)
        .env(CLOCK, &file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .output()
        .unwrap();
    let said = [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    None
}

/// Sets the clock, from the real time or to another one.
fn set(clock: &Path, time: &str) {
    std::fs::write(clock, time).unwrap();
}

fn year() -> i16 {
    Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year()
}

/// What a pod asks for.
fn request(pod: &str) -> TokenRequest {
    let bound = BoundObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: Some(pod.into()),
        uid: Some(format!("uid-of-{pod}")),
    };
    TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: None,
            expiration_seconds: Some(3607),
            bound_object_ref: Some(bound),
        }),
        ..TokenRequest::default()
    }
}

/// The pods themselves reach the node first.
async fn push_pods(peer: &mut Peer, pods: &[&str]) {
    for name in pods {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-of-{name}"), "resourceVersion": "7"},
            "spec": {"containers": [{"name": "c", "image": "i"}], "nodeName": cloud::NODE},
        });
        let route = proto::message::Route::new(
            proto::message::Source::EdgeController,
            proto::message::Group::Resource,
            Operation::Insert,
            format!("shop/pod/{name}").as_str().into(),
        );
        let push = proto::message::Message::new(route, Content::json(&pod).unwrap());
        peer.say(&[Item::Message(push.clone())]).await;
        peer.hear_that(|item| matches!(item, Item::Ack(ack) if ack.of == push.header.id).then_some(())).await;
    }
}

/// Asks for a pod's token; the cloud answers with one that says `text` and lives for an hour by its own, right clock.
async fn asked(edge: &Edge, peer: &mut Peer, right: Timestamp, pod: &str, text: &str) -> PodToken {
    let answer = async {
        let question = peer
            .hear_that(|item| match item {
                Item::Message(message) if message.route.operation == Operation::Query => Some(message),
                _ => None,
            })
            .await;
        let mut token: serde_json::Value = question.content.parse().unwrap();
        let expires = right + jiff::SignedDuration::from_secs(3607);
        token["status"] = json!({"token": text, "expirationTimestamp": expires.to_string()});
        peer.say(&[Item::Message(question.respond(Content::json(&token).unwrap()))]).await;
    };
    let (given, ()) = tokio::join!(edge.store.service_account_token("shop", "till", request(pod)), answer);
    given.unwrap()
}

async fn held(edge: &Edge, pod: &str) -> Result<(String, bool), FetchError> {
    let given = edge.store.service_account_token("shop", "till", request(pod)).await?;
    Ok((given.answer.status.unwrap().token.unwrap(), given.is_overdue))
}

#[tokio::test]
async fn a_clock_that_jumps_loses_no_token_and_keeps_none_too_long() {
    let name = "a_clock_that_jumps_loses_no_token_and_keeps_none_too_long";
    let Some(clock) = with_a_clock_of_its_own(name) else { return };
    let right = Timestamp::now();
    let mut cloud = Cloud::start(Service::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let settings = cloud.settings(directory.path(), &cloud.token().to_string());
    let edge = Edge::start(settings.clone(), directory.path()).await;
    let mut peer = cloud.peer().await;
    push_pods(&mut peer, &["a", "b", "c", "d"]).await;
    asked(&edge, &mut peer, right, "a", "a1").await;
    asked(&edge, &mut peer, right, "d", "d1").await;

    // Before the clock was wrong; while it was ahead, by which all others have expired; while it was behind.
    set(&clock, "@2040-07-01 00:00:00");
    assert_eq!(year(), 2040);
    asked(&edge, &mut peer, right, "b", "b1").await;
    set(&clock, "@1970-07-02 00:00:00");
    assert_eq!(year(), 1970);
    asked(&edge, &mut peer, right, "c", "c1").await;
    // By this clock it was given in the future, and is young for half a century.
    let fresh = asked(&edge, &mut peer, right, "a", "a2").await;
    assert_eq!((fresh.answer.status.unwrap().token.as_deref(), fresh.is_overdue), (Some("a2"), false));
    assert_eq!(held(&edge, "a").await.unwrap(), ("a2".into(), false), "young");
    edge.stop().await;
    drop((peer, cloud));

    // Without a cloud, by whatever clock, after a restart.
    for time in ["+0", "@1970-07-02 00:30:00", "@2040-07-01 00:10:00", "@2055-07-01 00:00:00"] {
        set(&clock, time);
        let edge = Edge::start(settings.clone(), directory.path()).await;
        for (pod, text) in [("a", "a2"), ("b", "b1"), ("c", "c1"), ("d", "d1")] {
            let (kept, _) = held(&edge, pod).await.unwrap_or_else(|error| panic!("{pod} at {time}: {error}"));
            assert_eq!(kept, text, "at {time}");
        }
        if time.contains("2055") {
            assert!(held(&edge, "a").await.unwrap().1, "it is asked for as soon as the cloud is there");
        }
        edge.stop().await;
    }
}
