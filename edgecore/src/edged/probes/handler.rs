//! One question to a container: what to ask, and the answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container as Spec, ExecAction, GRPCAction, HTTPGetAction, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use super::{grpc, http};
use crate::edged::runtime::{ContainerId, ContainerRuntime, RuntimeError};

/// The container that is asked, and where it is reached.
#[derive(Clone, Debug)]
pub struct Place {
    /// Identity in the runtime.
    pub container: ContainerId,
    /// Address of the pod; the node's for a pod on the node's network.
    pub address: IpAddr,
}

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub enum Handler {
    /// Does this command end with 0?
    Exec(Vec<String>),
    /// Is this page there?
    Http(http::Target),
    /// Does somebody take connections?
    Tcp {
        /// Where; the pod's address if not given.
        host: String,
        /// The port.
        port: u16,
    },
    /// Does the service say that it is serving (gRPC health checking protocol)?
    Grpc {
        /// The pod's address.
        host: String,
        /// The port.
        port: u16,
        /// Which service; empty for the server as a whole.
        service: String,
    },
}

/// An answer, with the kubelet's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Success,
    /// Well enough, but somebody should look.
    Warning(String),
    /// It is not well.
    Failure(String),
    /// The question could not be asked.
    Error(String),
}

impl Handler {
    /// What a probe asks of this container.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn of_probe(probe: &Probe, spec: &Spec, address: IpAddr) -> Result<Self, String> {
        Self::of(
            spec,
            address,
            (probe.exec.as_ref(), probe.http_get.as_ref(), probe.tcp_socket.as_ref(), probe.grpc.as_ref()),
        )
    }

    /// What one of these asks; the first that is there counts.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn of(
        spec: &Spec,
        address: IpAddr,
        (exec, get, tcp, grpc): (
            Option<&ExecAction>,
            Option<&HTTPGetAction>,
            Option<&TCPSocketAction>,
            Option<&GRPCAction>,
        ),
    ) -> Result<Self, String> {
        if let Some(command) =
            exec.and_then(|exec| exec.command.clone()).filter(|command| !command.is_empty())
        {
            return Ok(Self::Exec(command));
        }
        if let Some(get) = get {
            let port = port(&get.port, spec).map_err(|error| format!("httpGet.port: {error}"))?;
            return http::Target::of(get, address, port).map(Self::Http);
        }
        if let Some(tcp) = tcp {
            let port = port(&tcp.port, spec).map_err(|error| format!("tcpSocket.port: {error}"))?;
            let host =
                tcp.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| address.to_string());
            return Ok(Self::Tcp { host, port });
        }
        if let Some(grpc) = grpc {
            let port = number(grpc.port).map_err(|error| format!("grpc.port: {error}"))?;
            let service = grpc.service.clone().unwrap_or_default();
            return Ok(Self::Grpc { host: address.to_string(), port, service });
        }
        Err(format!("container {:?} has a probe or hook without exec, httpGet, tcpSocket or grpc", spec.name))
    }

    /// Asks, once, for at most this time.
    pub async fn ask(&self, runtime: &dyn ContainerRuntime, place: &Place, limit: Duration) -> Outcome {
        match self {
            Self::Exec(command) => exec(runtime, place, command, limit).await,
            Self::Http(target) => http::probe(target, limit).await,
            Self::Tcp { host, port } => tcp(host, *port, limit).await,
            Self::Grpc { host, port, service } => grpc::probe(host, *port, service, limit).await,
        }
    }
}

async fn exec(runtime: &dyn ContainerRuntime, place: &Place, command: &[String], limit: Duration) -> Outcome {
    match runtime.exec(&place.container, command.to_vec(), limit).await {
        Ok((0, _)) => Outcome::Success,
        Ok((_, output)) => Outcome::Failure(output),
        Err(error) if is_late(&error) => {
            let command = command.join(" ");
            Outcome::Failure(format!("command timed out: {command:?} timed out after {}s", limit.as_secs()))
        }
        Err(error) => Outcome::Error(format!("command failed: {error}")),
    }
}

/// Runtimes say themselves that the command took too long.
fn is_late(error: &RuntimeError) -> bool {
    match error {
        RuntimeError::Timeout { .. } => true,
        RuntimeError::Failed { message, .. } => {
            message.contains("DeadlineExceeded")
                || message.contains("deadline exceeded")
                || message.contains("timed out")
        }
        _ => false,
    }
}

async fn tcp(host: &str, port: u16, limit: Duration) -> Outcome {
    match tokio::time::timeout(limit, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(error)) => Outcome::Failure(dialing(host, port, &error)),
        Err(_) => Outcome::Failure(format!("dial tcp {}: i/o timeout", joined(host, port))),
    }
}

/// Go's words for a connection that was not to be had: users search for them.
pub(super) fn dialing(host: &str, port: u16, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let why = match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        ErrorKind::ConnectionReset => "connect: connection reset by peer".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {}: {why}", joined(host, port))
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn joined(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}

fn port(port: &IntOrString, spec: &Spec) -> Result<u16, String> {
    match port {
        IntOrString::Int(given) => number(*given),
        IntOrString::String(text) => {
            let named = spec.ports.iter().flatten().find(|port| port.name.as_deref() == Some(text));
            match named {
                Some(port) => number(port.container_port),
                None => text
                    .parse()
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or_else(|| format!("container {:?} has no port named {text:?}", spec.name)),
            }
        }
    }
}

fn number(port: i32) -> Result<u16, String> {
    u16::try_from(port)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("{port} is not between 1 and 65535"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn handler(probe: serde_json::Value) -> Result<Handler, String> {
        let spec: Spec = serde_json::from_value(
            json!({"name": "main", "ports": [{"name": "web", "containerPort": 8080}]}),
        )
        .expect("a container");
        Handler::of_probe(&serde_json::from_value(probe).expect("a probe"), &spec, [10, 0, 0, 9].into())
    }

    #[test]
    fn ports_are_numbers_names_or_numbers_as_text() {
        let tcp = |port| handler(json!({"tcpSocket": {"port": port}}));
        let at = |port| Ok(Handler::Tcp { host: "10.0.0.9".into(), port });
        assert_eq!(tcp(json!(80)), at(80));
        assert_eq!(tcp(json!("web")), at(8080));
        assert_eq!(tcp(json!("81")), at(81));
        for (wrong, words) in [
            (json!("ui"), "tcpSocket.port: container \"main\" has no port named \"ui\""),
            (json!(0), "tcpSocket.port: 0 is not between 1 and 65535"),
            (json!(70000), "tcpSocket.port: 70000 is not between 1 and 65535"),
        ] {
            assert_eq!(tcp(wrong), Err(words.to_owned()));
        }
    }

    #[test]
    fn a_probe_that_asks_nothing_is_named() {
        let error = handler(json!({"exec": {"command": []}})).expect_err("nothing to ask");
        assert!(error.contains("main") && error.contains("httpGet"), "{error}");
    }

    #[tokio::test]
    async fn a_port_is_open_closed_or_silent() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let limit = Duration::from_secs(5);
        assert_eq!(tcp("127.0.0.1", port, limit).await, Outcome::Success);
        drop(listener);
        let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(tcp("127.0.0.1", port, limit).await, Outcome::Failure(refused));
    }
}
