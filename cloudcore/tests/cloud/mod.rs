//! A cloudcore with its embedded control plane on free ports, and edges that talk to it over real TLS.

#![allow(dead_code, reason = "every test file uses its own part of this")]

pub mod edge;
pub mod https;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use cloudcore::app::App;
use controlplane::{Config as PlaneConfig, ControlPlane};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::{Client, ResourceExt};
use proto::config::CloudCore;
use proto::pki::{Authority, NodeName};
use serde_json::Value;
use tasks::TaskSet;
use tempfile::TempDir;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A running cloud. Dropping it stops everything.
pub struct Cloud {
    pub app: App,
    pub client: Client,
    pub config: CloudCore,
    plane: TaskSet,
    dir: TempDir,
}

impl Cloud {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut CloudCore)) -> Self {
        Self::start_through(change, |client| client).await
    }

    /// cloudcore sees the API through `door`; the test itself sees all of it.
    pub async fn start_through(
        change: impl FnOnce(&mut CloudCore),
        door: impl FnOnce(Client) -> Client,
    ) -> Self {
        // With RUST_LOG set, a test shows what cloudcore logs.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = CloudCore::default();
        config.common_config.monitor_server.bind_address = SocketAddr::new(LOCAL, 0);
        let hub = &mut config.modules.cloud_hub;
        hub.advertise_address = vec![LOCAL];
        hub.dns_names = vec!["localhost".into()];
        for (listener, port) in [(&mut hub.websocket, 0), (&mut hub.https, 0)] {
            listener.address = LOCAL;
            listener.port = port;
        }
        hub.tls_ca_file = dir.path().join("pki/rootCA.crt");
        hub.tls_ca_key_file = dir.path().join("pki/rootCA.key");
        hub.tls_cert_file = dir.path().join("pki/server.crt");
        hub.tls_private_key_file = dir.path().join("pki/server.key");
        change(&mut config);
        let plane = ControlPlane::open(PlaneConfig {
            data_dir: dir.path().join("plane"),
            address: LOCAL,
            port: 0,
            names: Vec::new(),
            crds: proto::crds::all()
                .expect("definitions")
                .iter()
                .map(|crd| serde_json::to_value(crd).expect("json"))
                .collect(),
            encrypt_secrets: false,
            encryption: None,
            audit: None,
        });
        let plane = plane.await.expect("a control plane");
        let client = plane.client();
        let tasks = TaskSet::new("plane");
        tasks.spawn_once("controlplane", |stop| async move {
            plane.run(stop).await.expect("the control plane runs");
        });
        let app = App::start(&config, door(client.clone())).await.expect("cloudcore starts");
        let cloud = Self { app, client, config, plane: tasks, dir };
        eventually("cloudcore knows everything", || async {
            let planes = [cloudcore::desired::Plane::Core, cloudcore::desired::Plane::Devices];
            planes.iter().all(|plane| cloud.app.desired.is_synced(*plane)).then_some(())
        })
        .await;
        cloud
    }

    /// cloudcore stops and starts again beside the same API, at other ports.
    pub async fn restart(self) -> Self {
        let Self { app, client, config, plane, dir } = self;
        assert!(app.shutdown(Duration::from_secs(5)).await.is_clean(), "everything ends by itself");
        let app = App::start(&config, client.clone()).await.expect("cloudcore starts again");
        Self { app, client, config, plane, dir }
    }

    pub async fn stop(self) {
        let report = self.app.shutdown(Duration::from_secs(5)).await;
        assert!(report.is_clean(), "everything ends by itself: {report:?}");
        let _ = self.plane.shutdown(Duration::from_secs(5)).await;
    }

    /// A key of one of KubeEdge's Secrets.
    pub async fn secret(&self, name: &str, key: &str) -> Vec<u8> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "kubeedge");
        let secret = secrets.get(name).await.expect("the Secret");
        secret.data.expect("data")[key].0.clone()
    }

    pub async fn authority(&self) -> Authority {
        let (certificate, key) =
            (self.secret("casecret", "cadata").await, self.secret("casecret", "cakeydata").await);
        Authority::from_parts(certificate, &key).expect("a CA")
    }

    pub async fn bearer(&self) -> String {
        let token = String::from_utf8(self.secret("tokensecret", "tokendata").await).expect("text");
        token.parse::<proto::pki::JoinToken>().expect("a token").bearer().to_owned()
    }

    /// Objects of a kind, untyped.
    pub fn api(
        &self,
        api_version: &str,
        kind: &str,
        plural: &str,
        namespace: Option<&str>,
    ) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource {
            group: group.into(),
            version: version.into(),
            api_version: api_version.into(),
            kind: kind.into(),
            plural: plural.into(),
        };
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    pub fn pods(&self) -> Api<DynamicObject> {
        self.api("v1", "Pod", "pods", Some("default"))
    }

    pub fn nodes(&self) -> Api<DynamicObject> {
        self.api("v1", "Node", "nodes", None)
    }

    pub fn config_maps(&self) -> Api<DynamicObject> {
        self.api("v1", "ConfigMap", "configmaps", Some("default"))
    }

    pub fn devices(&self) -> Api<DynamicObject> {
        self.api("devices.kubeedge.io/v1beta1", "Device", "devices", Some("default"))
    }

    pub fn models(&self) -> Api<DynamicObject> {
        self.api("devices.kubeedge.io/v1beta1", "DeviceModel", "devicemodels", Some("default"))
    }

    pub fn statuses(&self) -> Api<DynamicObject> {
        self.api("devices.kubeedge.io/v1beta1", "DeviceStatus", "devicestatuses", Some("default"))
    }
}

/// Creates an object; returns its uid.
pub async fn create(api: &Api<DynamicObject>, value: Value) -> String {
    let object: DynamicObject = serde_json::from_value(value).expect("an object");
    api.create(&PostParams::default(), &object).await.expect("created").uid().expect("a uid")
}

pub fn pod(name: &str, node: &str, config_map: &str) -> Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "c", "image": "busybox"}],
            "volumes": [{"name": "conf", "configMap": {"name": config_map}}],
        },
    })
}

pub fn config_map(name: &str, value: &str) -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"}, "data": {"k": value}})
}

pub fn device(name: &str, node: &str, model: &str) -> Value {
    serde_json::json!({"apiVersion": "devices.kubeedge.io/v1beta1", "kind": "Device",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "deviceModelRef": {"name": model}, "protocol": {"protocolName": "mqtt"},
                 "properties": [{"name": "temperature"}, {"name": "humidity"}]}})
}

pub fn model(name: &str) -> Value {
    serde_json::json!({"apiVersion": "devices.kubeedge.io/v1beta1", "kind": "DeviceModel",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"properties": [{"name": "temperature", "type": "INT", "accessMode": "ReadOnly"}]}})
}

pub fn node(name: &str) -> NodeName {
    name.parse().expect("a node name")
}

/// Asks until there is an answer, for at most 10 s.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl FnMut() -> F) -> T {
    within(Duration::from_secs(10), what, ask).await
}

/// Asks until there is an answer, for at most this long.
pub async fn within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let end = tokio::time::Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < end, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
