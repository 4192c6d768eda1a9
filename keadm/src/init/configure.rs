use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::InitArgs;
use crate::{checked, cloud::Address, document, host::network, layout::Layout, problem::Problem, set};

/// What is going to be written, and what the other steps must know of it.
#[derive(Debug)]
pub(super) struct Plan {
    /// cloudcore.yaml.
    pub(super) text: String,
    pub(super) warnings: Vec<String>,
    pub(super) ports: Vec<Port>,
    pub(super) https_port: u16,
    /// `None` with a foreign cluster.
    pub(super) api_port: Option<u16>,
    /// Leads to the API that cloudcore serves.
    pub(super) kubeconfig: PathBuf,
    hub_port: u16,
    https_address: String,
    advertised: Vec<String>,
}

/// A port that cloudcore is going to listen on.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) purpose: &'static str,
    pub(super) setting: &'static str,
}

impl Plan {
    /// The address that edges are told.
    pub(super) fn advertised(&self) -> &str {
        self.advertised.first().map_or("127.0.0.1", String::as_str)
    }

    pub(super) fn hub_address(&self) -> Address {
        Address { host: self.advertised().to_owned(), port: self.hub_port }
    }

    /// The certificate endpoint as this host reaches it.
    pub(super) fn https_local(&self) -> Address {
        let host = match self.https_address.as_str() {
            "" | "0.0.0.0" | "::" => "127.0.0.1",
            other => other,
        };
        Address { host: host.to_owned(), port: self.https_port }
    }
}

const COMMENT: &str = "Written by keadm init, read by cloudcore at its start. Keys that are not here have their defaults:\n\
                       cloudcore --defaultconfig shows them all.";

/// Makes cloudcore.yaml: our defaults, then the file that is there, then the flags.
pub(super) fn plan(args: &InitArgs, layout: &Layout) -> Result<Plan, Vec<Problem>> {
    let path = layout.config("cloudcore");
    let mut warnings = Vec::new();
    let mut config = fresh(layout);
    if let Some(existing) = document::read(&path).map_err(|problem| vec![problem])? {
        warnings
            .push(format!("{} exists: its values are kept, and flags are laid over them", path.display()));
        document::overlay(&mut config, existing);
    }
    if !args.advertise_address.is_empty() {
        let (addresses, names): (Vec<_>, Vec<_>) =
            args.advertise_address.iter().partition(|address| address.parse::<std::net::IpAddr>().is_ok());
        let hub = json!({"modules": {"cloudHub": {"advertiseAddress": addresses}}});
        document::overlay(&mut config, hub);
        if !names.is_empty() {
            document::overlay(&mut config, json!({"modules": {"cloudHub": {"dnsNames": names}}}));
        }
    }
    if args.kube_config.is_some() {
        let cluster = json!({
            "kubeAPIConfig": {"kubeConfig": layout.cluster_kubeconfig()},
            "modules": {"controlPlane": {"enable": false}},
        });
        document::overlay(&mut config, cluster);
    } else if Path::new("/root/.kube/config").exists() && layout.is_host() {
        warnings.push(
            "/root/.kube/config is not used: cloudcore brings its own Kubernetes API (for that cluster: --kube-config)"
                .to_owned(),
        );
    }
    let mut problems = Vec::new();
    let defaults = checked::cloud_defaults();
    for argument in &args.set {
        problems.extend(lay(argument, &mut config, &defaults).err());
    }
    if problems.is_empty() {
        match checked::cloud(&config) {
            Ok(unknown) if args.set.is_empty() => warnings.extend(unknown),
            Ok(unknown) => problems.extend(unknown.into_iter().map(|warning| {
                Problem::new("a key is not one of cloudcore.yaml")
                    .cause(warning)
                    .next("cloudcore --defaultconfig shows all keys")
            })),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        shape(&config, layout, warnings).map_err(|problem| vec![problem])
    } else {
        Err(problems)
    }
}

/// One `--set`, in our form or with Helm's prefix.
fn lay(argument: &str, config: &mut Value, defaults: &Value) -> Result<(), Problem> {
    let own = argument.strip_prefix("cloudCore.").unwrap_or(argument);
    let wrong = |error: set::SetError| {
        Problem::new(format!("--set {argument} cannot be used"))
            .cause(error)
            .next("for example: --set modules.cloudHub.nodeLimit=50")
    };
    for assignment in set::parse(own).map_err(wrong)? {
        assignment.apply(config, defaults).map_err(wrong)?;
    }
    Ok(())
}

fn fresh(layout: &Layout) -> Value {
    let mut addresses = vec![network::primary_address().to_string()];
    if addresses[0] != "127.0.0.1" {
        addresses.push("127.0.0.1".to_owned());
    }
    let mut names = vec!["localhost".to_owned()];
    names.extend(network::host_name().filter(|name| name != "localhost"));
    let state = layout.cloud_state();
    json!({
        "apiVersion": "cloudcore.config.kubeedge.io/v1alpha1",
        "kind": "CloudCore",
        "modules": {
            "controlPlane": {
                "enable": true, "dataDir": state, "address": "0.0.0.0", "port": 6443,
                "adminKubeconfig": layout.admin_kubeconfig(),
            },
            "cloudHub": {
                "advertiseAddress": addresses,
                "dnsNames": names,
                "websocket": {"enable": true, "address": "0.0.0.0", "port": 10000},
                "https": {"enable": true, "address": "0.0.0.0", "port": 10002},
            },
        },
    })
}

fn shape(config: &Value, layout: &Layout, warnings: Vec<String>) -> Result<Plan, Problem> {
    let number = |path: &str, default: u16| {
        document::lookup(config, path)
            .and_then(Value::as_u64)
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(default)
    };
    let word = |path: &str| document::text(config, path).unwrap_or("0.0.0.0").to_owned();
    let embedded =
        document::lookup(config, "modules.controlPlane.enable").and_then(Value::as_bool).unwrap_or(true)
            && document::text(config, "kubeAPIConfig.kubeConfig").is_none();
    let port = |path: &'static str, setting: &'static str, default, purpose| Port {
        address: word(&format!("{path}.address")),
        port: number(setting, default),
        purpose,
        setting,
    };
    let hub =
        port("modules.cloudHub.websocket", "modules.cloudHub.websocket.port", 10000, "cloudcore's websocket");
    let https = port(
        "modules.cloudHub.https",
        "modules.cloudHub.https.port",
        10002,
        "cloudcore's certificate endpoint",
    );
    let api = port("modules.controlPlane", "modules.controlPlane.port", 6443, "the embedded Kubernetes API");
    let advertised = document::lookup(config, "modules.cloudHub.advertiseAddress")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let kubeconfig = if embedded { layout.admin_kubeconfig() } else { layout.cluster_kubeconfig() };
    Ok(Plan {
        text: document::render(COMMENT, config)?,
        warnings,
        https_port: https.port,
        hub_port: hub.port,
        https_address: https.address.clone(),
        api_port: embedded.then_some(api.port),
        kubeconfig: document::text(config, "modules.controlPlane.adminKubeconfig")
            .filter(|_| embedded)
            .map_or(kubeconfig, PathBuf::from),
        advertised,
        ports: if embedded { vec![hub, https, api] } else { vec![hub, https] },
    })
}

/// Writes cloudcore.yaml and, for a foreign cluster, cloudcore's own copy of the kubeconfig.
pub(super) fn write(layout: &Layout, plan: &Plan, kubeconfig: Option<&Path>) -> Result<(), Problem> {
    if let Some(source) = kubeconfig {
        let content =
            std::fs::read(source).map_err(|error| crate::problem::file_problem("read", source, &error))?;
        document::write(&layout.cluster_kubeconfig(), &content, 0o600)?;
    }
    document::write(&layout.config("cloudcore"), plan.text.as_bytes(), 0o600)
}
