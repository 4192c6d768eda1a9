//! Certificates are renewed without a restart. With mosquitto's own tools.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::broker::Broker;
use crate::doors::{Certificates, publishes};
use crate::peer::Peer;

/// Publishes at the TLS door as `client` of the authority in `of`, trusting the authority in `trusted`.
async fn enters(port: u16, of: &Path, trusted: &Path) -> Result<(), String> {
    let path = |directory: &Path, name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (authority, certificate, key) =
        (path(trusted, "ca.crt"), path(of, "client.crt"), path(of, "client.key"));
    publishes(port, &["-h", "localhost", "--cafile", &authority, "--cert", &certificate, "--key", &key]).await
}

/// Modification times of some file systems have a grain of milliseconds.
async fn grain() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn renewed_certificates_are_used_and_bad_ones_change_nothing() {
    let broker = Broker::with(|directory, port, other| {
        for name in ["old", "new", "served"] {
            let of = directory.join(name);
            std::fs::create_dir(&of).unwrap();
            let certificates = Certificates::new(&of);
            certificates.issue(&of, "server");
            certificates.issue(&of, "client");
        }
        let served = directory.join("served");
        for name in ["ca.crt", "server.crt", "server.key"] {
            std::fs::copy(directory.join("old").join(name), served.join(name)).unwrap();
        }
        json!({
            "mqttServerInternal": format!("tcp://127.0.0.1:{port},ssl://127.0.0.1:{other}"),
            "eventBusTLS": {
                "enable": true,
                "tlsMqttCAFile": served.join("ca.crt"),
                "tlsMqttCertFile": served.join("server.crt"),
                "tlsMqttPrivateKeyFile": served.join("server.key"),
            },
        })
    })
    .await;
    let (old, new, served) = (broker.path("old"), broker.path("new"), broker.path("served"));
    let door = broker.other;
    enters(door, &old, &old).await.unwrap();
    assert!(enters(door, &old, &new).await.is_err() && enters(door, &new, &old).await.is_err());
    let mut writer = Peer::connect(broker.port, "writer").await;
    // Who is connected stays so through all of it.
    let mut stays = Command::new("mosquitto_sub");
    stays.args(["-h", "localhost", "-p", &door.to_string(), "-t", "stays", "-q", "1"]);
    for (flag, name) in [("--cafile", "ca.crt"), ("--cert", "client.crt"), ("--key", "client.key")] {
        stays.arg(flag).arg(old.join(name));
    }
    let mut stays = stays.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut heard = BufReader::new(stays.stdout.take().unwrap()).lines();
    loop {
        // Until it has subscribed.
        writer.says("stays", "here").await;
        if let Ok(line) = tokio::time::timeout(Duration::from_millis(300), heard.next_line()).await {
            assert_eq!(line.unwrap().as_deref(), Some("here"));
            break;
        }
    }
    // The certificate first, its key a moment later: in between nothing changes.
    grain().await;
    std::fs::copy(new.join("server.crt"), served.join("server.crt")).unwrap();
    enters(door, &old, &old).await.unwrap();
    enters(door, &old, &old).await.unwrap();
    broker.says("of no use").await;
    assert_eq!(broker.log().matches("of no use").count(), 1, "{}", broker.log());
    grain().await;
    std::fs::copy(new.join("server.key"), served.join("server.key")).unwrap();
    enters(door, &old, &new).await.unwrap();
    assert!(enters(door, &old, &old).await.is_err(), "the old certificate is gone");
    // The clients' authority, renamed into its place.
    grain().await;
    std::fs::copy(new.join("ca.crt"), served.join("next")).unwrap();
    std::fs::rename(served.join("next"), served.join("ca.crt")).unwrap();
    enters(door, &new, &new).await.unwrap();
    assert!(enters(door, &old, &new).await.is_err(), "the old authority is gone");
    // A file that is none.
    grain().await;
    std::fs::write(served.join("server.crt"), "no certificate\n").unwrap();
    for _ in 0..3 {
        enters(door, &new, &new).await.unwrap();
    }
    let log = broker.log();
    assert_eq!(log.matches("of no use").count(), 2, "{log}");
    let said = log.lines().rfind(|line| line.contains("of no use")).unwrap();
    assert!(said.contains("server.crt") && said.contains("put a PEM certificate"), "{said}");
    std::fs::remove_file(served.join("server.key")).unwrap();
    enters(door, &new, &new).await.unwrap();
    assert_eq!(broker.log().matches("of no use").count(), 3, "{}", broker.log());
    writer.says("stays", "still here").await;
    loop {
        let line =
            tokio::time::timeout(Duration::from_secs(10), heard.next_line()).await.expect("it was put out");
        match line.unwrap().as_deref() {
            Some("here") => {}
            line => break assert_eq!(line, Some("still here"), "it was put out"),
        }
    }
}
