use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use proto::config::{CloudCore, HostPort};
use serde_json::{Value, json};

use super::InitArgs;
use crate::{
    checked, document,
    layout::Layout,
    problem::{Problem, file_problem},
    set,
};

/// What is going to be written, and what the other steps must know of it.
#[derive(Debug)]
pub(super) struct Plan {
    /// cloudcore.yaml.
    pub(super) text: String,
    pub(super) warnings: Vec<String>,
    /// cloudcore.yaml as cloudcore will read it.
    config: CloudCore,
}

/// A port that cloudcore is going to listen on.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) address: SocketAddr,
    pub(super) purpose: &'static str,
    pub(super) setting: &'static str,
}

impl Plan {
    /// The address that edges are told.
    pub(super) fn advertised(&self) -> String {
        let hub = &self.config.modules.cloud_hub;
        hub.advertise_address.first().map_or_else(|| "127.0.0.1".to_owned(), ToString::to_string)
    }

    /// The websocket as edges reach it.
    pub(super) fn hub(&self) -> HostPort {
        HostPort::new(self.advertised(), self.config.modules.cloud_hub.websocket.port)
    }

    pub(super) fn https_port(&self) -> u16 {
        self.config.modules.cloud_hub.https.port
    }

    /// The certificate endpoint as this host reaches it.
    pub(super) fn https_local(&self) -> HostPort {
        let https = &self.config.modules.cloud_hub.https;
        let address =
            if https.address.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { https.address };
        HostPort::new(address.to_string(), https.port)
    }

    /// Where the embedded Kubernetes API listens; `None` with a foreign cluster.
    pub(super) fn api_port(&self) -> Option<u16> {
        self.config.embedded().then_some(self.config.modules.control_plane.port)
    }

    /// Leads to the API that cloudcore serves.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        if self.config.embedded() {
            self.config.modules.control_plane.admin_kube_config.clone()
        } else {
            PathBuf::from(&self.config.kube_api_config.kube_config)
        }
    }

    /// Every port that must be free.
    pub(super) fn ports(&self) -> Vec<Port> {
        let modules = &self.config.modules;
        let port = |address: IpAddr, port, purpose, setting| Port {
            address: SocketAddr::new(address, port),
            purpose,
            setting,
        };
        let (hub, https) = (&modules.cloud_hub.websocket, &modules.cloud_hub.https);
        let mut ports = vec![
            port(hub.address, hub.port, "cloudcore's websocket", "modules.cloudHub.websocket.port"),
            port(
                https.address,
                https.port,
                "cloudcore's certificate endpoint",
                "modules.cloudHub.https.port",
            ),
        ];
        if self.config.embedded() {
            let api = &modules.control_plane;
            ports.push(port(
                api.address,
                api.port,
                "the embedded Kubernetes API",
                "modules.controlPlane.port",
            ));
        }
        let monitor = self.config.common_config.monitor_server.bind_address;
        ports.push(port(
            monitor.ip(),
            monitor.port(),
            "cloudcore's metrics",
            "commonConfig.monitorServer.bindAddress",
        ));
        ports
    }
}

const COMMENT: &str = "Written by keadm init, read by cloudcore at its start. Keys that are not here have their defaults:\n\
                       cloudcore --defaultconfig shows them all.";

/// Makes cloudcore.yaml: our defaults, then the file that is there, then the flags.
pub(super) fn plan(args: &InitArgs, layout: &Layout) -> Result<Plan, Vec<Problem>> {
    let path = layout.config("cloudcore");
    let mut warnings = Vec::new();
    let mut document = fresh(layout);
    if let Some(existing) = document::read(&path).map_err(|problem| vec![problem])? {
        warnings
            .push(format!("{} exists: its values are kept, and flags are laid over them", path.display()));
        document::overlay(&mut document, existing);
    }
    document::overlay(&mut document, flags(args, layout));
    if args.kube_config.is_none() && layout.is_host() && Path::new("/root/.kube/config").exists() {
        warnings.push(
            "/root/.kube/config is not used: cloudcore brings its own Kubernetes API (for that cluster: --kube-config)"
                .to_owned(),
        );
    }
    let defaults = checked::cloud_defaults();
    let mut problems: Vec<Problem> =
        args.set.iter().filter_map(|argument| lay(argument, &mut document, &defaults).err()).collect();
    let (config, remarks) = match checked::cloud(&document, &path) {
        Ok(read) => read,
        Err(problem) => {
            problems.push(problem);
            return Err(problems);
        }
    };
    warnings.extend(remarks.warnings);
    problems.extend(remarks.unknown);
    let text = match document::render(COMMENT, &document) {
        Ok(text) => text,
        Err(problem) => {
            problems.push(problem);
            return Err(problems);
        }
    };
    if problems.is_empty() { Ok(Plan { text, warnings, config }) } else { Err(problems) }
}

/// What the flags say, as a document.
fn flags(args: &InitArgs, layout: &Layout) -> Value {
    let mut document = json!({});
    let (addresses, names): (Vec<_>, Vec<_>) =
        args.advertise_address.iter().partition(|address| address.parse::<IpAddr>().is_ok());
    if !addresses.is_empty() {
        document::overlay(&mut document, json!({"modules": {"cloudHub": {"advertiseAddress": addresses}}}));
    }
    if !names.is_empty() {
        document::overlay(&mut document, json!({"modules": {"cloudHub": {"dnsNames": names}}}));
    }
    if args.kube_config.is_some() {
        let cluster = json!({
            "kubeAPIConfig": {"kubeConfig": layout.cluster_kubeconfig()},
            "modules": {"controlPlane": {"enable": false}},
        });
        document::overlay(&mut document, cluster);
    }
    document
}

/// One `--set`, in our form or with Helm's prefix.
fn lay(argument: &str, document: &mut Value, defaults: &Value) -> Result<(), Problem> {
    let own = argument.strip_prefix("cloudCore.").unwrap_or(argument);
    let wrong = |error: set::SetError| {
        Problem::new(format!("--set {argument} cannot be used"))
            .cause(error)
            .next("for example: --set modules.cloudHub.nodeLimit=50")
    };
    for assignment in set::parse(own).map_err(wrong)? {
        assignment.apply(document, defaults).map_err(wrong)?;
    }
    Ok(())
}

fn fresh(layout: &Layout) -> Value {
    let mut addresses = vec![proto::config::host_address().to_string()];
    if addresses[0] != "127.0.0.1" {
        addresses.push("127.0.0.1".to_owned());
    }
    let mut names = vec!["localhost".to_owned()];
    names.extend(Some(proto::config::host_name()).filter(|name| !name.is_empty() && name != "localhost"));
    let pki = layout.cloud_state().join("pki");
    json!({
        "apiVersion": "cloudcore.config.kubeedge.io/v1alpha1",
        "kind": "CloudCore",
        "modules": {
            "controlPlane": {
                "enable": true, "dataDir": layout.cloud_state(), "address": "0.0.0.0", "port": 6443,
                "adminKubeConfig": layout.admin_kubeconfig(),
            },
            "cloudHub": {
                "advertiseAddress": addresses,
                "dnsNames": names,
                "tlsCAFile": pki.join("rootCA.crt"),
                "tlsCAKeyFile": pki.join("rootCA.key"),
                "tlsCertFile": pki.join("server.crt"),
                "tlsPrivateKeyFile": pki.join("server.key"),
                "websocket": {"enable": true, "address": "0.0.0.0", "port": 10000},
                "https": {"enable": true, "address": "0.0.0.0", "port": 10002},
                // On one machine, /var/lib/kubeedge is the edge's.
                "unixsocket": {
                    "enable": true,
                    "address": format!("unix://{}", layout.cloud_state().join("kubeedge.sock").display()),
                },
            },
        },
    })
}

/// Writes cloudcore.yaml and, for a foreign cluster, cloudcore's own copy of the kubeconfig.
pub(super) fn write(layout: &Layout, plan: &Plan, kubeconfig: Option<&Path>) -> Result<(), Problem> {
    if let Some(source) = kubeconfig {
        let content = std::fs::read(source).map_err(|error| file_problem("read", source, &error))?;
        document::write(&layout.cluster_kubeconfig(), &content, 0o600)?;
    }
    document::write(&layout.config("cloudcore"), plan.text.as_bytes(), 0o600)
}
