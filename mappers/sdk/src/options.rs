//! What every mapper can be told on its command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Where a mapper finds edgecore, and where it is found: to be flattened into the mapper's own options.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// The socket of edgecore.
    #[arg(long, env = "EDGECORE_SOCKET", default_value = "/etc/kubeedge/dmi.sock")]
    pub edgecore_socket: PathBuf,
    /// The mapper's own socket; edgecore must see it at the same path. Default: PROTOCOL.sock beside edgecore's.
    #[arg(long, env = "MAPPER_SOCKET")]
    pub socket: Option<PathBuf>,
    /// The file in which readings wait that a property's pushMethod sends elsewhere. Default: /var/lib/NAME/push.db.
    #[arg(long, env = "MAPPER_BUFFER")]
    pub buffer: Option<PathBuf>,
    /// Where counts are shown to Prometheus, at /metrics, as 127.0.0.1:9130. Default: nowhere.
    #[arg(long, env = "MAPPER_METRICS")]
    pub metrics: Option<SocketAddr>,
    /// The name that edgecore shows. Default: PROTOCOL-mapper.
    #[arg(long, env = "MAPPER_NAME")]
    pub name: Option<String>,
    /// The protocolName of the devices that it serves, if not the usual.
    #[arg(long, env = "MAPPER_PROTOCOL")]
    pub protocol: Option<String>,
}
