//! Who may come in: users with passwords, TLS, certificates of clients. With mosquitto's own tools.

use std::path::Path;
use std::process::Output;

use serde_json::json;
use tokio::process::Command;

use crate::broker::Broker;
use crate::peer::{Manner, Peer};

pub(crate) async fn run(program: &str, args: &[&str]) -> Output {
    tokio::time::timeout(
        std::time::Duration::from_secs(60),
        Command::new(program).args(args).kill_on_drop(true).output(),
    )
    .await
    .expect("it hangs")
    .unwrap()
}

pub(crate) async fn publishes(port: u16, args: &[&str]) -> Result<(), String> {
    let port = port.to_string();
    let common = ["-p", &port, "-q", "1", "-t", "door", "-m", "x"];
    let output = run("mosquitto_pub", &[&common, args].concat()).await;
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    if output.status.success() { Ok(()) } else { Err(said) }
}

pub(crate) async fn add_user(file: &Path, name: &str, password: &str) {
    let how: &[&str] = if file.exists() { &["-b"] } else { &["-c", "-b"] };
    let output = run("mosquitto_passwd", &[how, &[file.to_str().unwrap(), name, password]].concat()).await;
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn users_log_in_with_passwords_that_mosquitto_passwd_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("passwd");
    add_user(&file, "ada", "lovelace").await;
    let broker = Broker::with(|_, port, _| {
        json!({"mqttServerInternal": format!("tcp://127.0.0.1:{port}"), "mqttPasswordFile": file})
    })
    .await;
    for version in ["mqttv311", "mqttv5"] {
        let with = |args: &'static [&'static str]| [&["-V", version], args].concat();
        publishes(broker.port, &with(&["-u", "ada", "-P", "lovelace"])).await.unwrap();
        let wrong = publishes(broker.port, &with(&["-u", "ada", "-P", "Lovelace"])).await.unwrap_err();
        let nobody = publishes(broker.port, &with(&[])).await.unwrap_err();
        assert!(
            wrong.to_lowercase().contains("bad user")
                || wrong.contains("Not authorized")
                || wrong.contains("not authorised"),
            "{version}: {wrong}"
        );
        assert!(nobody.to_lowercase().contains("not authori"), "{version}: {nobody}");
    }
    // A user more, without a restart.
    assert!(publishes(broker.port, &["-u", "grace", "-P", "hopper"]).await.is_err());
    // Modification times of some file systems have a grain of milliseconds.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    add_user(&file, "grace", "hopper").await;
    publishes(broker.port, &["-u", "grace", "-P", "hopper"]).await.unwrap();
}

pub(crate) struct Certificates {
    authority: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Certificates {
    pub(crate) fn new(directory: &Path) -> Self {
        let mut of = rcgen::CertificateParams::new(Vec::new()).unwrap();
        of.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(of, rcgen::KeyPair::generate().unwrap()).unwrap();
        std::fs::write(directory.join("ca.crt"), authority.pem()).unwrap();
        Self { authority }
    }

    pub(crate) fn issue(&self, directory: &Path, name: &str) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = rcgen::KeyPair::generate().unwrap();
        let mut of = rcgen::CertificateParams::new(names).unwrap();
        // A name of its own: OpenSSL takes who has its issuer's for the issuer.
        of.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = of.signed_by(&key, &self.authority).unwrap();
        std::fs::write(directory.join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn tls_has_a_door_of_its_own_and_may_want_certificates() {
    for certificates_wanted in [false, true] {
        let broker = Broker::with(|directory, port, other| {
            let certificates = Certificates::new(directory);
            certificates.issue(directory, "server");
            certificates.issue(directory, "client");
            let foreign = directory.join("foreign");
            std::fs::create_dir(&foreign).unwrap();
            Certificates::new(&foreign).issue(&foreign, "client");
            json!({
                "mqttServerInternal": format!("tcp://127.0.0.1:{port},ssl://127.0.0.1:{other}"),
                "eventBusTLS": {
                    "enable": certificates_wanted,
                    "tlsMqttCAFile": directory.join("ca.crt"),
                    "tlsMqttCertFile": directory.join("server.crt"),
                    "tlsMqttPrivateKeyFile": directory.join("server.key"),
                },
            })
        })
        .await;
        let path = |name: &str| broker.path(name).to_str().unwrap().to_owned();
        let (authority, certificate, key) = (path("ca.crt"), path("client.crt"), path("client.key"));
        let (foreign, foreign_key) = (path("foreign/client.crt"), path("foreign/client.key"));
        publishes(broker.port, &[]).await.unwrap();
        let trusting = ["-h", "localhost", "--cafile", &authority];
        let plain = publishes(broker.other, &trusting).await;
        assert_eq!(plain.is_ok(), !certificates_wanted, "{plain:?}");
        let with = |certificate, key| [&trusting[..], &["--cert", certificate, "--key", key]].concat();
        publishes(broker.other, &with(&certificate, &key)).await.unwrap();
        let stranger = publishes(broker.other, &with(&foreign, &foreign_key)).await;
        assert_eq!(stranger.is_ok(), !certificates_wanted, "{stranger:?}");
        // No TLS at the TLS door: refused, and nobody else suffers.
        assert!(publishes(broker.other, &[]).await.is_err());
        Peer::enter(broker.port, "still", Manner::default()).await.0.says("a", "b").await;
    }
}

#[tokio::test]
async fn a_door_that_cannot_be_opened_says_what_to_do() {
    let missing = |directory: &Path, port: u16, bus: serde_json::Value| {
        let mut bus = bus;
        bus["mqttServerInternal"] = json!(format!("ssl://127.0.0.1:{port}"));
        bus["eventBusTLS"] = json!({"tlsMqttCertFile": directory.join("no.crt"), "tlsMqttPrivateKeyFile": directory.join("no.key")});
        bus
    };
    let broker = Broker::silent(|directory, port, _| missing(directory, port, json!({}))).await;
    broker.says("cannot use").await;
    assert!(broker.log().contains("eventBusTLS") && broker.log().contains("no.key"), "{}", broker.log());
    let broker = Broker::silent(|directory, port, _| {
        json!({"mqttServerInternal": format!("tcp://127.0.0.1:{port}"), "mqttPasswordFile": directory.join("nobody")})
    })
    .await;
    broker.says("mosquitto_passwd -c").await;
}
