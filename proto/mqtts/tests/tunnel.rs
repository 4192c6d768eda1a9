//! Ways to a real mosquitto that wants certificates, right and wrong ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mqtts::{Broker, Trust, Tunnel};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, Transport};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(20);

struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>, PathBuf);

impl Authority {
    fn new(file: PathBuf) -> Self {
        let mut of = rcgen::CertificateParams::new(Vec::new()).unwrap();
        of.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(of, rcgen::KeyPair::generate().unwrap()).unwrap();
        fs::write(&file, authority.pem()).unwrap();
        Self(authority, file)
    }

    /// A certificate for `name`, and its key.
    fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut of = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        // Of the same name as its authority it would seem to be signed by itself.
        of.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = of.signed_by(&key, &self.0).unwrap();
        let files =
            (self.1.with_extension(format!("{name}.crt")), self.1.with_extension(format!("{name}.key")));
        fs::write(&files.0, certificate.pem()).unwrap();
        fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }
}

/// A broker that wants certificates at `tls` and none at `plain`; killed when dropped.
struct Mosquitto(Child);

impl Mosquitto {
    async fn start(
        directory: &Path,
        authority: &Path,
        certificate: &(PathBuf, PathBuf),
        tls: u16,
        plain: u16,
    ) -> Self {
        let config = directory.join("mosquitto.conf");
        let text = format!(
            "allow_anonymous true\nuser root\nlistener {plain} 127.0.0.1\nlistener {tls} 127.0.0.1\n\
             require_certificate true\ncafile {}\ncertfile {}\nkeyfile {}\n",
            authority.display(),
            certificate.0.display(),
            certificate.1.display()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let broker = Self(command.spawn().expect("mosquitto is installed"));
        let listens = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", tls)).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, listens).await.expect("mosquitto listens");
        broker
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Publishes once; why that failed, if TLS was it.
async fn publish(tunnel: &Tunnel) -> Result<(), String> {
    let mut options = MqttOptions::new("client", tunnel.socket().to_string_lossy(), 1);
    options.set_transport(Transport::Unix);
    let (client, mut events) = AsyncClient::new(options, 8);
    client.publish("a/b", QoS::AtLeastOnce, false, "x".repeat(5_000)).await.unwrap();
    let done = async {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(_))) => return Ok(()),
                Ok(_) => {}
                Err(error) => {
                    return Err(tunnel.failure().unwrap_or_else(|| format!("unexplained: {error}")));
                }
            }
        }
    };
    timeout(LIMIT, done).await.expect("an answer")
}

#[tokio::test]
async fn a_broker_with_tls_is_reached_also_after_a_restart_and_what_is_wrong_is_said_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let ours = Authority::new(at.join("ours.crt"));
    let other = Authority::new(at.join("other.crt"));
    let (server, client) = (ours.issue("localhost"), ours.issue("edge1"));
    let (tls, plain) = (free_port(), free_port());
    let broker = Mosquitto::start(at, &ours.1, &server, tls, plain).await;
    let way = |host: &str, port, authorities: Option<&Path>, identity: Option<&(PathBuf, PathBuf)>| {
        let trust = Trust { authorities: authorities.map(Path::to_owned), identity: identity.cloned() };
        Tunnel::open(&at.join("way"), Broker { host: host.to_owned(), port, trust }).unwrap()
    };

    let good = way("localhost", tls, Some(&ours.1), Some(&client));
    publish(&good).await.unwrap();
    let mode = fs::metadata(at.join("way")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "nobody else may enter");
    drop(broker);
    let refused = publish(&good).await.unwrap_err();
    assert!(refused.contains("refused"), "{refused}");
    let _broker = Mosquitto::start(at, &ours.1, &server, tls, plain).await;
    publish(&good).await.unwrap();
    drop(good);
    assert!(!at.join("way").exists());

    let missing = at.join("nowhere.crt");
    let stranger = other.issue("edge2");
    let wrong = async |host: &str, port, authorities, identity, said: &str| {
        let why = publish(&way(host, port, authorities, identity)).await.unwrap_err();
        assert!(why.contains(said), "{said} is not in {why}");
    };
    let (roots, identity) = (Some(&*ours.1), Some(&client));
    let said = "put the certificate of the broker's authority into";
    wrong("localhost", tls, Some(&other.1), identity, said).await;
    wrong("localhost", tls, None, identity, "name a file with the broker's").await;
    wrong("127.0.0.1", tls, roots, identity, "address the broker by a name in its certificate").await;
    wrong("localhost", tls, roots, None, "the broker wants a certificate of its clients").await;
    wrong("localhost", tls, roots, Some(&stranger), "edge2.crt: give us one of its clients' authority").await;
    wrong("localhost", tls, Some(&missing), identity, "nowhere.crt").await;
    wrong("localhost", plain, roots, identity, &format!("localhost:{plain}: ")).await;
    wrong("not a name", tls, roots, identity, "neither a name nor an address").await;
}
