//! Failures of the engine in our words.

use std::time::Duration;

use bollard::ClientVersion;
use bollard::errors::Error;

use super::RuntimeError;

const START: &str =
    "Start it (`systemctl start docker`) or set edged.tailoredKubeletConfig.containerRuntimeEndpoint";
const ALLOW: &str =
    "Run edgecore as root, or let its user into the group that owns the socket (usually `docker`)";
const UPGRADE: &str = "Docker Engine 20.10 or newer is needed: upgrade it, or use containerd";

/// What the engine's refusals were for a kubelet, whose shim of CRI before Docker gave none of them a code of its own.
pub(super) const UNKNOWN: &str = "Unknown";

pub(super) fn translate(endpoint: &str, call: &'static str, limit: Duration, error: Error) -> RuntimeError {
    let endpoint = endpoint.to_owned();
    let unreachable = |cause: String| {
        let remedy = if cause.contains("ermission denied") { ALLOW } else { START };
        RuntimeError::Unreachable { endpoint: endpoint.clone(), cause, remedy }
    };
    match error {
        Error::DockerResponseServerError { status_code: 400, message } if wrong_version(&message) => {
            RuntimeError::Unsupported { endpoint, cause: message, remedy: UPGRADE }
        }
        Error::DockerResponseServerError { status_code: 404, message } => {
            RuntimeError::NotFound { call, message }
        }
        Error::DockerResponseServerError { message, .. } | Error::DockerStreamError { error: message } => {
            RuntimeError::Failed { call, code: Some(UNKNOWN), message }
        }
        Error::RequestTimeoutError => RuntimeError::Timeout { endpoint, call, limit },
        Error::SocketNotFoundError(path) => unreachable(format!("there is no socket {path}")),
        Error::HyperLegacyError { err } => unreachable(root_cause(&err)),
        Error::HyperResponseError { err } => unreachable(root_cause(&err)),
        Error::IOError { err } => unreachable(err.to_string()),
        other => RuntimeError::failed(call, other.to_string()),
    }
}

fn wrong_version(message: &str) -> bool {
    message.starts_with("client version ")
}

/// The version that an engine names which finds ours too old.
pub(super) fn oldest_served(error: &Error) -> Option<ClientVersion> {
    let Error::DockerResponseServerError { status_code: 400, message } = error else { return None };
    let (_, rest) = message.split_once("Minimum supported API version is ")?;
    let version = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let (major, minor) = version.split_once('.')?;
    Some(ClientVersion {
        major_version: major.parse().ok()?,
        minor_version: minor.trim_end_matches('.').parse().ok()?,
    })
}

/// The innermost error: the one that names the system's reason.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &str) -> Error {
        Error::DockerResponseServerError { status_code: 400, message: message.into() }
    }

    #[test]
    fn an_engine_that_finds_us_too_old_names_the_version_to_speak() {
        let error = refused(
            "client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version",
        );
        let version = oldest_served(&error).expect("a version");
        assert_eq!((version.major_version, version.minor_version), (1, 44));
    }

    #[test]
    fn an_engine_that_is_too_old_is_an_outage_with_a_remedy() {
        let error = refused("client version 1.41 is too new. Maximum supported API version is 1.39");
        assert!(oldest_served(&error).is_none());
        let error = translate("unix:///d.sock", "version", Duration::ZERO, error);
        assert!(error.is_outage() && error.to_string().contains("20.10 or newer"), "{error}");
    }

    #[test]
    fn a_socket_that_may_not_be_used_is_told_from_one_that_nobody_serves() {
        let told = |kind: std::io::ErrorKind| {
            let error = Error::IOError { err: std::io::Error::from(kind) };
            translate("unix:///d.sock", "version", Duration::ZERO, error).to_string()
        };
        assert!(told(std::io::ErrorKind::PermissionDenied).contains("group that owns the socket"));
        assert!(told(std::io::ErrorKind::ConnectionRefused).contains("systemctl start docker"));
    }
}
