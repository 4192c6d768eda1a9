//! Rules.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ANY;
use crate::config::Seconds;

/// Rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Router {
    /// Whether it runs.
    pub enable: bool,
    /// Local address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// How long a REST caller waits.
    pub rest_timeout: Seconds,
    /// Our addition: who may call. `plain` is what KubeEdge does.
    pub mode: RouterMode,
    /// Our addition: the file with the token that callers show in mode `secure`; made with a token of its own if it is not there.
    pub token_file: PathBuf,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            enable: false,
            address: ANY,
            port: 9443,
            rest_timeout: Seconds(60),
            mode: RouterMode::Secure,
            token_file: "/var/lib/cloudcore/router.token".into(),
        }
    }
}

/// How the REST port of rules is guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouterMode {
    /// TLS with cloudcore's certificate, and `Authorization: Bearer` with the token.
    #[default]
    Secure,
    /// Plain HTTP for whoever reaches the port, as KubeEdge has it.
    Plain,
}
