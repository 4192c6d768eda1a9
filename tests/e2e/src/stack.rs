use std::{
    collections::HashSet,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::{LazyLock, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Containerd, Daemon, Link, binary, containerd::unmount_below, eventually};

/// What the cloud side of a test installation looks like.
#[derive(Clone, Debug, Default)]
pub struct StackOptions {
    /// Laid over the generated `cloudcore.yaml`, key by key.
    pub cloud_overlay: Value,
    /// The kubeconfig of a cluster that exists; without one, the embedded control plane is started.
    pub cluster: Option<PathBuf>,
}

/// What the edge side of a test installation looks like.
#[derive(Clone, Debug)]
pub struct EdgeOptions {
    /// The node's name.
    pub node: String,
    /// The CRI socket; without one, the node serves devices only.
    pub runtime: Option<PathBuf>,
    /// The cgroup below which pods are put; without one, the agent's default.
    pub cgroup_root: Option<String>,
    /// Laid over the generated `edgecore.yaml`, key by key.
    pub overlay: Value,
}

impl Default for EdgeOptions {
    fn default() -> Self {
        Self { node: "edge1".to_owned(), runtime: None, cgroup_root: None, overlay: Value::Null }
    }
}

impl EdgeOptions {
    /// A node that runs its pods on `containerd`.
    pub fn on(containerd: &Containerd) -> Self {
        Self {
            runtime: Some(containerd.socket()),
            cgroup_root: Some(containerd.cgroup_root()),
            ..Self::default()
        }
    }
}

/// A whole installation in a temporary folder: `cloudcore` with its embedded control plane, a link that can be
/// cut, and `edgecore`. Everything ends and disappears when it is dropped.
pub struct Stack {
    /// The edge agent, once [`Stack::join`] has started it.
    pub edge: Option<Daemon>,
    /// The cloud agent.
    pub cloud: Daemon,
    /// The websocket's way from edge to cloud.
    pub link: Link,
    /// The way to the certificate endpoints.
    pub https_link: Link,
    client: Client,
    mqtt_port: u16,
    health_port: u16,
    dir: TempDir,
}

impl Stack {
    /// Starts the cloud side and waits until its API answers.
    ///
    /// # Errors
    /// When a binary is missing or the API is not ready within 20 s; the message carries the log's end.
    pub async fn start(options: StackOptions) -> Result<Self> {
        install_crypto_provider();
        let dir = tempfile::Builder::new().prefix("skerry-").tempdir()?;
        let [api, hub, https, monitor, mqtt_port, health_port] = free_ports()?;
        let root = dir.path();
        let mut config = json!({
            "apiVersion": "cloudcore.config.kubeedge.io/v1alpha1",
            "kind": "CloudCore",
            "commonConfig": { "monitorServer": { "bindAddress": format!("127.0.0.1:{monitor}") } },
            "modules": {
                "controlPlane": {
                    "enable": true, "dataDir": root.join("cloud"), "address": "127.0.0.1", "port": api,
                    "adminKubeconfig": root.join("admin.conf"),
                },
                "cloudHub": {
                    "advertiseAddress": ["127.0.0.1"], "dnsNames": ["localhost"],
                    "websocket": { "enable": true, "address": "127.0.0.1", "port": hub },
                    "https": { "enable": true, "address": "127.0.0.1", "port": https },
                    "unixsocket": { "enable": false, "address": format!("unix://{}", root.join("hub.sock").display()) },
                },
            },
        });
        if let Some(cluster) = &options.cluster {
            std::fs::copy(cluster, root.join("admin.conf"))?;
            config["kubeAPIConfig"] = json!({ "kubeConfig": root.join("admin.conf") });
        }
        overlay(&mut config, &options.cloud_overlay);
        let path = root.join("cloudcore.yaml");
        std::fs::write(&path, serde_json::to_vec_pretty(&config)?)?;
        let cloud = Daemon::start(
            "cloudcore",
            &binary("cloudcore")?,
            &["--config", &path.to_string_lossy()],
            &root.join("cloudcore.log"),
        )?;
        let kubeconfig = root.join("admin.conf");
        let client = eventually("the embedded API is ready", Duration::from_secs(20), || async {
            let client = client_from(&kubeconfig).await.map_err(|error| format!("{error:#}"))?;
            client.apiserver_version().await.map_err(|error| error.to_string())?;
            Ok::<_, String>(client)
        })
        .await
        .with_context(|| format!("cloudcore's log ends:\n{}", cloud.tail()))?;
        Ok(Self {
            edge: None,
            cloud,
            link: Link::to(SocketAddr::from(([127, 0, 0, 1], hub)))?,
            https_link: Link::to(SocketAddr::from(([127, 0, 0, 1], https)))?,
            client,
            mqtt_port,
            health_port,
            dir,
        })
    }

    /// Starts the edge side, with a fresh join token, through the links.
    ///
    /// # Errors
    /// When the token does not appear within 10 s or the process cannot be started.
    pub async fn join(&mut self, options: &EdgeOptions) -> Result<()> {
        let ports = [self.mqtt_port, self.health_port];
        self.edge = Some(self.start_edge("edge", options, ports).await?);
        Ok(())
    }

    /// Starts one more edge agent, and says where its broker listens. It belongs to the caller and must end before this.
    ///
    /// # Errors
    /// As [`Stack::join`].
    pub async fn join_another(&self, options: &EdgeOptions) -> Result<(Daemon, u16)> {
        let ports = free_ports()?;
        let daemon = self.start_edge(&options.node, options, ports).await?;
        Ok((daemon, ports[0]))
    }

    /// Everything of the agent is in the folder `name`, and beside it under that name.
    async fn start_edge(
        &self,
        name: &str,
        options: &EdgeOptions,
        [mqtt_port, health_port]: [u16; 2],
    ) -> Result<Daemon> {
        let token = self.token().await?;
        let root = self.dir.path();
        let edge = root.join(name);
        std::fs::create_dir_all(&edge)?;
        let mut config = json!({
            "apiVersion": "edgecore.config.kubeedge.io/v1alpha2",
            "kind": "EdgeCore",
            "database": { "dataSource": edge.join("edgecore.db") },
            "modules": {
                "edged": {
                    "enable": options.runtime.is_some(),
                    "hostnameOverride": options.node,
                    "nodeIP": "127.0.0.1",
                    "rootDirectory": edge.join("kubelet"),
                    "tailoredKubeletConfig": {
                        "readOnlyPort": health_port,
                        "podLogsDir": edge.join("logs"),
                        "staticPodPath": edge.join("manifests"),
                        // The disk of the machine that runs the tests is not their concern.
                        "evictionHard": {
                            "memory.available": "0", "nodefs.available": "0", "nodefs.inodesFree": "0",
                            "imagefs.available": "0", "imagefs.inodesFree": "0",
                        },
                    },
                },
                "edgeHub": {
                    "tlsCaFile": edge.join("ca/rootCA.crt"),
                    "tlsCertFile": edge.join("certs/server.crt"),
                    "tlsPrivateKeyFile": edge.join("certs/server.key"),
                    "websocket": { "enable": true, "server": self.link.address().to_string() },
                    "httpServer": format!("https://{}", self.https_link.address()),
                    "token": token,
                },
                "eventBus": {
                    "enable": true, "mqttMode": 0,
                    "mqttServerInternal": format!("tcp://127.0.0.1:{mqtt_port}"),
                },
                "deviceTwin": { "enable": true, "dmiSockPath": edge },
            },
        });
        if let Some(socket) = &options.runtime {
            let endpoint = format!("unix://{}", socket.display());
            let kubelet = &mut config["modules"]["edged"]["tailoredKubeletConfig"];
            kubelet["containerRuntimeEndpoint"] = endpoint.clone().into();
            kubelet["imageServiceEndpoint"] = endpoint.into();
        }
        if let Some(cgroup) = &options.cgroup_root {
            config["modules"]["edged"]["tailoredKubeletConfig"]["cgroupRoot"] = cgroup.clone().into();
        }
        overlay(&mut config, &options.overlay);
        let file = if name == "edge" { "edgecore".to_owned() } else { format!("edgecore-{name}") };
        let path = root.join(format!("{file}.yaml"));
        std::fs::write(&path, serde_json::to_vec_pretty(&config)?)?;
        let args = ["--config", &path.to_string_lossy()];
        Daemon::start("edgecore", &binary("edgecore")?, &args, &root.join(format!("{file}.log")))
    }

    /// Waits until the node's Ready condition is True.
    ///
    /// # Errors
    /// After `limit`; the message carries the last condition seen and the end of edgecore's log.
    pub async fn node_ready(&self, name: &str, limit: Duration) -> Result<Node> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        eventually(&format!("node {name} is Ready"), limit, || async {
            let node = nodes.get(name).await.map_err(|error| error.to_string())?;
            let conditions =
                node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
            if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
                return Ok(node);
            }
            Err(format!("{conditions:?}"))
        })
        .await
        .with_context(|| {
            format!("edgecore's log ends:\n{}", self.edge.as_ref().map(Daemon::tail).unwrap_or_default())
        })
    }

    /// A client of the embedded API with the administrator's certificate.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where devices publish on this node.
    pub fn mqtt_port(&self) -> u16 {
        self.mqtt_port
    }

    /// The folder that holds the whole installation.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs kubectl as the administrator and returns what it prints.
    ///
    /// # Errors
    /// When it exits with an error; the message is what it wrote to standard error.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        let out = Command::new("kubectl").arg("--kubeconfig").arg(self.kubeconfig()).args(args).output()?;
        if !out.status.success() {
            bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr));
        }
        Ok(String::from_utf8(out.stdout)?)
    }

    /// Creates or changes the objects of a YAML text with `kubectl apply`.
    ///
    /// # Errors
    /// What kubectl says.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        let path = self.dir.path().join("apply.yaml");
        std::fs::write(&path, manifests)?;
        self.kubectl(&["apply", "-f", &path.to_string_lossy()])
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("admin.conf")
    }

    /// The edge agent.
    ///
    /// # Errors
    /// Before [`Stack::join`].
    pub fn edge_mut(&mut self) -> Result<&mut Daemon> {
        self.edge.as_mut().context("no edge node has joined yet")
    }

    /// The join token that cloudcore keeps in its Secret, as `keadm gettoken` prints it.
    ///
    /// # Errors
    /// When it does not appear within 10 s.
    pub async fn token(&self) -> Result<String> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "kubeedge");
        eventually("the join token exists", Duration::from_secs(10), || async {
            let secret = secrets.get("tokensecret").await.map_err(|error| error.to_string())?;
            let data = secret.data.unwrap_or_default();
            let token = data.get("tokendata").ok_or("no key tokendata")?;
            String::from_utf8(token.0.clone()).map_err(|error| error.to_string())
        })
        .await
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.edge = None;
        self.cloud.kill();
        // For whoever looks into a failure: the logs outlive the installation.
        if let Some(keep) = std::env::var_os("SKERRY_KEEP_LOGS") {
            for log in
                ["cloudcore.log", "edgecore.log", "containerd.log", "mqtt-mapper.log", "modbus-mapper.log"]
            {
                std::fs::create_dir_all(&keep).ok();
                std::fs::copy(self.dir.path().join(log), Path::new(&keep).join(log)).ok();
            }
        }
        unmount_below(self.dir.path());
    }
}

async fn client_from(path: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Lays `patch` over `base`: objects key by key, anything else replaces.
fn overlay(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (_, Value::Null) => {}
        (Value::Object(base), Value::Object(patch)) => {
            for (key, value) in patch {
                overlay(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, patch) => *base = patch.clone(),
    }
}

/// Ports of loopback that were free a moment ago and that this process has not handed out before.
///
/// # Errors
/// When the system has none.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    static HANDED_OUT: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        *port = loop {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            let candidate = listener.local_addr()?.port();
            held.push(listener);
            let mut seen = HANDED_OUT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if seen.insert(candidate) {
                break candidate;
            }
        };
    }
    Ok(ports)
}

fn install_crypto_provider() {
    // Fails only when a provider is installed already, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
}
