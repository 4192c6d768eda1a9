//! Our cloudcore in this process: control plane, controllers, hub, on free ports of 127.0.0.1 and below a temporary directory.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use cloudcore::app::App;
use controlplane::{Config, ControlPlane};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use proto::config::CloudCore;
use proto::pki::{Authority, NodeRequest};
use rustls::{ClientConfig, RootCertStore};
use tasks::TaskSet;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};

use crate::edge::Edge;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const GRACE: Duration = Duration::from_secs(10);

pub(crate) struct Cloud {
    directory: TempDir,
    pub(crate) client: Client,
    plane: TaskSet,
    app: Option<App>,
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        // Only the first call of a process installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let crds = proto::crds::all().unwrap().iter().map(|crd| serde_json::to_value(crd).unwrap()).collect();
        let data_dir = directory.path().join("cloudcore");
        let config = Config {
            data_dir,
            address: HERE,
            port: 0,
            names: vec![],
            crds,
            encrypt_secrets: false,
            encryption: None,
            audit: None,
        };
        let opened = ControlPlane::open(config).await.unwrap();
        let (client, plane) = (opened.client(), TaskSet::new("plane"));
        plane.spawn_once("controlplane", |stop| async move { opened.run(stop).await.unwrap() });
        let mut cloud = Self { directory, client, plane, app: None };
        cloud.app = Some(cloud.open().await);
        cloud
    }

    async fn open(&self) -> App {
        let pki = |name: &str| self.directory.path().join("pki").join(name);
        let mut config = CloudCore::default();
        config.common_config.monitor_server.bind_address = (HERE, 0).into();
        let hub = &mut config.modules.cloud_hub;
        hub.advertise_address = vec![HERE];
        hub.unixsocket.enable = false;
        (hub.websocket.address, hub.websocket.port) = (HERE, 0);
        (hub.https.address, hub.https.port) = (HERE, 0);
        (hub.tls_ca_file, hub.tls_ca_key_file) = (pki("rootCA.crt"), pki("rootCA.key"));
        (hub.tls_cert_file, hub.tls_private_key_file) = (pki("server.crt"), pki("server.key"));
        App::start(&config, self.client.clone()).await.unwrap()
    }

    pub(crate) async fn restart(&mut self) {
        let report = self.app.take().unwrap().shutdown(GRACE).await;
        assert!(report.is_clean(), "{report:?}");
        self.app = Some(self.open().await);
    }

    /// The upgrade as the recorded edge asked for it, with a certificate of that node.
    pub(crate) async fn connect(&self, recorded: &[String]) -> Edge {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "kubeedge");
        let secret = secrets.get("casecret").await.unwrap().data.unwrap();
        let ca = Authority::from_parts(secret["cadata"].0.clone(), &secret["cakeydata"].0).unwrap();
        let node = "edge1".parse().unwrap();
        let request = NodeRequest::new(&node).unwrap();
        let day = Duration::from_secs(86_400);
        let certificate = ca.issue_edge(&node, &request.csr, day, jiff::Timestamp::now()).unwrap();
        let identity = request.accept(&certificate, &node).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(ca.certificate().clone()).unwrap();
        let tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![identity.certificate], identity.key.rustls())
            .unwrap();
        let address = self.app.as_ref().unwrap().websocket;
        let tcp = TcpStream::connect(address).await.unwrap();
        let tls = TlsConnector::from(Arc::new(tls)).connect(HERE.into(), tcp).await.unwrap();

        let path = recorded[0].split(' ').nth(1).unwrap();
        let mut upgrade = format!("wss://{address}{path}").into_client_request().unwrap();
        for line in &recorded[1..] {
            let (name, value) = line.split_once(": ").unwrap();
            if ["Connectionuse", "Node_id", "Project_id", "User-Agent"].contains(&name) {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                upgrade.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
            }
        }
        let (socket, response) = client_async_with_config(upgrade, tls, None).await.unwrap();
        assert!(
            response.headers().get("sec-websocket-protocol").is_none(),
            "KubeEdge's edge offers no subprotocol"
        );
        Edge::new(socket)
    }

    pub(crate) async fn stop(self) {
        let report = self.app.unwrap().shutdown(GRACE).await;
        assert!(report.is_clean(), "{report:?}");
        let report = self.plane.shutdown(GRACE).await;
        assert!(report.is_clean(), "{report:?}");
    }
}
