use std::collections::BTreeMap;

use proto::{
    config::{EdgeCore, HostPort, MqttMode},
    pki::NodeName,
};
use serde_json::{Value, json};

use super::{JoinArgs, Token};
use crate::{checked, document, layout::Layout, problem::Problem, set};

/// What is going to be written, and what the other steps must know of it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) node: NodeName,
    pub(super) hub: HostPort,
    pub(super) https: HostPort,
    pub(super) token: Option<Token>,
    /// edgecore.yaml.
    pub(super) text: String,
    /// edgecore.yaml as edgecore will read it.
    pub(super) config: EdgeCore,
    pub(super) warnings: Vec<String>,
}

impl Plan {
    /// `host:port` of the embedded broker, when there is to be one.
    pub(super) fn broker(&self) -> Option<&str> {
        let bus = &self.config.modules.event_bus;
        let server = bus.mqtt_server_internal.as_str();
        let address = server.split_once("//").map_or(server, |(_, address)| address);
        (bus.enable && bus.mqtt_mode != MqttMode::External).then_some(address)
    }
}

const COMMENT: &str = "Written by keadm join, read by edgecore at its start. Keys that are not here have their defaults:\n\
                       edgecore --defaultconfig shows them all.";

/// Checks the flags and makes edgecore.yaml of them. Without a plan there are problems.
pub(super) fn plan(args: &JoinArgs, layout: &Layout) -> (Option<Plan>, Vec<Problem>) {
    let mut problems = Vec::new();
    let plan = make(args, layout, &mut problems);
    (plan, problems)
}

fn make(args: &JoinArgs, layout: &Layout, problems: &mut Vec<Problem>) -> Option<Plan> {
    let hub = keep(problems, address(&args.cloudcore_ipport));
    let certport =
        keep(problems, args.certport.parse().map_err(|error| flag("--certport", error, "-s 10002")));
    let node = keep(problems, node_name(&args.edgenode_name));
    let labels = keep(problems, labels(&args.labels));
    keep(problems, driver(&args.cgroupdriver));
    keep(problems, protocol(&args.hub_protocol));
    let token = match args.token.trim() {
        "" => None,
        text => keep(
            problems,
            text.parse().map_err(|error| flag("--token", error, "--token=\"$(keadm gettoken)\"")),
        ),
    };
    let (hub, node, labels) = (hub?, node?, labels?);
    let https = HostPort::new(&hub.host, certport?);
    let mut document = fresh(args, layout, node.as_str(), &hub, &https, &labels);
    let defaults = checked::edge_defaults();
    for argument in &args.set {
        keep(problems, lay(argument, &mut document, &defaults));
    }
    let (config, remarks) = keep(problems, checked::edge(&document, &layout.config("edgecore")))?;
    problems.extend(remarks.unknown);
    let text = keep(problems, document::render(COMMENT, &document))?;
    // --set may have renamed the node; the certificate must carry the name that edgecore will use.
    let node = keep(problems, node_name(config.node_name()))?;
    Some(Plan { node, hub, https, token, text, config, warnings: remarks.warnings })
}

/// The value, or its problem beside the others.
fn keep<T>(problems: &mut Vec<Problem>, result: Result<T, Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

fn address(text: &str) -> Result<HostPort, Problem> {
    text.parse().map_err(|error| flag("--cloudcore-ipport", error, "-e 192.168.1.10:10000"))
}

fn fresh(
    args: &JoinArgs,
    layout: &Layout,
    node: &str,
    hub: &HostPort,
    https: &HostPort,
    labels: &BTreeMap<String, String>,
) -> Value {
    let etc = layout.etc();
    let (_, endpoint) = args.runtimetype.resolve(&args.remote_runtime_endpoint);
    json!({
        "apiVersion": "edgecore.config.kubeedge.io/v1alpha2",
        "kind": "EdgeCore",
        "database": {"dataSource": layout.edge_state().join("edgecore.db")},
        "modules": {
            "edged": {
                "enable": true,
                "containerRuntime": args.runtimetype,
                "hostnameOverride": node,
                "nodeLabels": labels,
                "rootDirectory": layout.kubelet_state(),
                "tailoredKubeletConfig": {
                    // An illegal one has been told already; going on finds what else is wrong.
                    "cgroupDriver": if driver(&args.cgroupdriver).is_ok() { &args.cgroupdriver } else { "cgroupfs" },
                    "containerRuntimeEndpoint": endpoint,
                    "imageServiceEndpoint": endpoint,
                    "staticPodPath": etc.join("manifests"),
                },
            },
            "edgeHub": {
                "enable": true,
                "httpServer": format!("https://{https}"),
                "tlsCaFile": layout.ca_certificate(),
                "tlsCertFile": layout.edge_certificate(),
                "tlsPrivateKeyFile": layout.edge_key(),
                "websocket": {"enable": true, "server": hub.to_string()},
            },
            "edgeStream": {"enable": false, "server": HostPort::new(&hub.host, 10004).to_string()},
            "deviceTwin": {"enable": true, "dmiSockPath": etc},
            "eventBus": {"enable": true, "mqttMode": 0, "mqttServerInternal": "tcp://127.0.0.1:1883"},
        },
    })
}

fn lay(argument: &str, config: &mut Value, defaults: &Value) -> Result<(), Problem> {
    let wrong = |error: set::SetError| {
        flag(
            &format!("--set {argument}"),
            error,
            "--set modules.edgeStream.enable=true,modules.eventBus.mqttMode=2",
        )
    };
    for assignment in set::parse(argument).map_err(wrong)? {
        assignment.apply(config, defaults).map_err(wrong)?;
    }
    Ok(())
}

fn flag(name: &str, cause: impl std::fmt::Display, example: &str) -> Problem {
    Problem::new(format!("{name} cannot be used")).cause(cause).next(format!("for example: {example}"))
}

fn node_name(given: &str) -> Result<NodeName, Problem> {
    let (name, origin) = match given.trim() {
        "" => (proto::config::host_name(), "this host's name"),
        name => (name.to_owned(), "--edgenode-name"),
    };
    name.parse().map_err(|error| {
        Problem::new(format!("`{name}` ({origin}) cannot be a node's name"))
            .cause(error)
            .next("choose one with --edgenode-name, for example edge-1")
    })
}

fn labels(given: &[String]) -> Result<BTreeMap<String, String>, Problem> {
    let mut labels = BTreeMap::new();
    for label in given {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        // KubeEdge skips empty keys too.
        if key.trim().is_empty() {
            continue;
        }
        let part = |text: &str, most: usize| {
            text.len() <= most
                && text
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'))
                && (text.is_empty()
                    || text.starts_with(|letter: char| letter.is_ascii_alphanumeric())
                        && text.ends_with(|letter: char| letter.is_ascii_alphanumeric()))
        };
        let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
        if name.is_empty()
            || !part(name, 63)
            || !part(value, 63)
            || prefix.is_some_and(|prefix| prefix.parse::<NodeName>().is_err())
        {
            return Err(flag(
                "--labels",
                format!("`{label}` is not a legal label"),
                "--labels=room=kitchen,example.com/floor=1",
            ));
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels)
}

fn driver(name: &str) -> Result<(), Problem> {
    if matches!(name, "cgroupfs" | "systemd") {
        return Ok(());
    }
    Err(Problem::new(format!("unsupported CGroupDriver: {name}"))
        .cause("there are two: cgroupfs and systemd")
        .next("give the one that the runtime uses with --cgroupdriver"))
}

fn protocol(name: &str) -> Result<(), Problem> {
    let problem = Problem::new(format!("--hub-protocol {name} cannot be used"));
    match name {
        "websocket" => Ok(()),
        "quic" => Err(problem
            .cause("KubeEdge's quic is a Google draft from before RFC 9000 that nothing current speaks")
            .next("leave the flag out: websocket is the default, and cloudcore's port is 10000 then")),
        _ => Err(problem.cause("the only protocol is websocket").next("leave the flag out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_without_a_value_have_an_empty_one_and_illegal_ones_are_refused() {
        let read = |text: &str| labels(&text.split(',').map(str::to_owned).collect::<Vec<_>>());
        let fine = read("a=b,c,=d,example.com/x=1.2").unwrap();
        assert_eq!(fine.len(), 3);
        assert_eq!(fine["c"], "");
        for text in ["a b=c", "a=b c", "Ex_ample/x=1", "-a=b"] {
            assert!(read(text).unwrap_err().to_string().contains("is not a legal label"), "{text}");
        }
    }

    #[test]
    fn quic_is_refused_with_the_reason() {
        let shown = protocol("quic").unwrap_err().to_string();
        assert!(shown.contains("before RFC 9000"), "{shown}");
        assert_eq!(
            driver("cgroupsv3").unwrap_err().to_string().lines().next(),
            Some("unsupported CGroupDriver: cgroupsv3")
        );
    }
}
