use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{JoinArgs, Token};
use crate::{checked, cloud::Address, document, host::network, layout::Layout, problem::Problem, set};

/// What is going to be written, and what the other steps must know of it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) node: String,
    pub(super) hub: Address,
    pub(super) https: Address,
    pub(super) token: Option<Token>,
    /// edgecore.yaml.
    pub(super) text: String,
    pub(super) document: Value,
    /// Where devices publish, if the broker is ours.
    pub(super) mqtt: Option<String>,
    pub(super) warnings: Vec<String>,
}

const COMMENT: &str = "Written by keadm join, read by edgecore at its start. Keys that are not here have their defaults:\n\
                       edgecore --defaultconfig shows them all.";

/// Checks the flags and makes edgecore.yaml of them.
pub(super) fn plan(args: &JoinArgs, layout: &Layout) -> (Option<Plan>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut keep = |result: Result<(), Problem>| problems.extend(result.err());
    let hub = args.cloudcore_ipport.parse::<Address>();
    keep(hub.as_ref().map(drop).map_err(|error| flag("--cloudcore-ipport", error, "-e 192.168.1.10:10000")));
    let certport = args.certport.parse::<u16>();
    keep(certport.as_ref().map(drop).map_err(|error| flag("--certport", error, "-s 10002")));
    let node = node_name(&args.edgenode_name);
    keep(node.as_ref().map(drop).map_err(Clone::clone));
    let labels = labels(&args.labels);
    keep(labels.as_ref().map(drop).map_err(Clone::clone));
    keep(driver(&args.cgroupdriver));
    keep(protocol(&args.hub_protocol));
    let token = match args.token.trim() {
        "" => None,
        text => match Token::parse(text) {
            Ok(token) => Some(token),
            Err(error) => {
                keep(Err(flag("--token", &error, "copy the whole line that `keadm gettoken` prints")));
                None
            }
        },
    };
    let (Ok(hub), Ok(certport), Ok(node), Ok(labels)) = (hub, certport, node, labels) else {
        return (None, problems);
    };
    let https = hub.with_port(certport);
    let mut config = fresh(args, layout, &node, &hub, &https, &labels);
    let defaults = checked::edge_defaults();
    for argument in &args.set {
        problems.extend(lay(argument, &mut config, &defaults).err());
    }
    let mut warnings = Vec::new();
    match checked::edge(&config) {
        Ok(unknown) if args.set.is_empty() => warnings.extend(unknown),
        Ok(unknown) => problems.extend(unknown.into_iter().map(|warning| {
            Problem::new("a key given with --set is not one of edgecore.yaml")
                .cause(warning)
                .next("edgecore --defaultconfig shows all keys")
        })),
        Err(problem) => problems.push(problem),
    }
    let text = match document::render(COMMENT, &config) {
        Ok(text) => text,
        Err(problem) => {
            problems.push(problem);
            return (None, problems);
        }
    };
    // --set may have renamed the node; the certificate must carry the name that edgecore will use.
    let node = document::text(&config, "modules.edged.hostnameOverride").map_or(node, str::to_owned);
    let mqtt = broker(&config).map(|address| format!("mqtt://{address}"));
    (Some(Plan { node, hub, https, token, text, document: config, mqtt, warnings }), problems)
}

/// `host:port` of the embedded broker, when there is to be one.
pub(super) fn broker(config: &Value) -> Option<String> {
    let enabled =
        document::lookup(config, "modules.eventBus.enable").and_then(Value::as_bool).unwrap_or(true);
    let mode = document::lookup(config, "modules.eventBus.mqttMode").and_then(Value::as_u64).unwrap_or(0);
    let server =
        document::text(config, "modules.eventBus.mqttServerInternal").unwrap_or("tcp://127.0.0.1:1883");
    (enabled && mode != 2).then(|| server.rsplit("//").next().unwrap_or(server).to_owned())
}

fn fresh(
    args: &JoinArgs,
    layout: &Layout,
    node: &str,
    hub: &Address,
    https: &Address,
    labels: &BTreeMap<String, String>,
) -> Value {
    let etc = layout.etc();
    json!({
        "apiVersion": "edgecore.config.kubeedge.io/v1alpha2",
        "kind": "EdgeCore",
        "database": {"dataSource": layout.edge_state().join("edgecore.db")},
        "modules": {
            "edged": {
                "enable": true,
                "hostnameOverride": node,
                "nodeLabels": labels,
                "rootDirectory": layout.kubelet_state(),
                "tailoredKubeletConfig": {
                    "cgroupDriver": args.cgroupdriver,
                    "containerRuntimeEndpoint": args.remote_runtime_endpoint,
                    "imageServiceEndpoint": args.remote_runtime_endpoint,
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
            "edgeStream": {"enable": false, "server": hub.with_port(10004).to_string()},
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
            "--set modules.edgeStream.enable=true,modules.edged.maxPods=50",
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

fn node_name(given: &str) -> Result<String, Problem> {
    let (name, origin) = match given.trim() {
        "" => (network::host_name().unwrap_or_default(), "this host's name"),
        name => (name.to_owned(), "--edgenode-name"),
    };
    match illegal(&name) {
        None => Ok(name),
        Some(cause) => Err(Problem::new(format!("`{name}` ({origin}) cannot be a node's name"))
            .cause(cause)
            .next("choose one with --edgenode-name, for example edge-1")),
    }
}

/// Kubernetes' rule for names of nodes (RFC 1123 subdomains).
fn illegal(name: &str) -> Option<&'static str> {
    let legal = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.len() > 253 {
        return Some("it has more than 253 letters");
    }
    if !name.chars().all(|letter| legal(letter) || matches!(letter, '-' | '.')) {
        return Some("only small letters, digits, - and . are allowed");
    }
    let parts_fine = name.split('.').all(|part| part.starts_with(legal) && part.ends_with(legal));
    (!parts_fine).then_some("each part between dots must begin and end with a letter or digit")
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
            || prefix.is_some_and(|prefix| illegal(prefix).is_some())
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
    fn node_names_follow_kubernetes_rule() {
        for name in ["edge1", "a", "a-b.c9", "1"] {
            assert_eq!(illegal(name), None, "{name}");
        }
        for name in ["", "Edge", "a_b", "-a", "a-", "a..b", "a b", "ä"] {
            assert!(illegal(name).is_some(), "{name}");
        }
    }

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
