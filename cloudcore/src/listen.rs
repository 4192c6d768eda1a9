//! Listening sockets, and who has the port if it is taken.
//!
//! Owns: nothing after [`bind`] returned. May call: the operating system. Called by: the wiring, before anything starts.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// A port cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Someone else has it.
    #[error("{purpose} cannot listen on {address}: port {} is already used by {owner}; stop that process, or set {key} to another port", address.port())]
    Taken {
        /// What the port is for.
        purpose: &'static str,
        /// Where.
        address: SocketAddr,
        /// The process, as far as `/proc` tells.
        owner: String,
        /// The key of the configuration to change.
        key: &'static str,
    },
    /// Anything else: no such address, no permission.
    #[error("{purpose} cannot listen on {address}: {source}; correct {key}")]
    Other {
        /// What the port is for.
        purpose: &'static str,
        /// Where.
        address: SocketAddr,
        /// The key of the configuration to change.
        key: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

/// Listens at `address`; `purpose` and the configuration's `key` are for the error.
///
/// # Errors
/// If the port is taken or the address is not this host's.
pub async fn bind(
    address: SocketAddr,
    purpose: &'static str,
    key: &'static str,
) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => {
            BindError::Taken { purpose, address, owner: owner_of(address.port()), key }
        }
        _ => BindError::Other { purpose, address, key, source },
    })
}

/// The process that listens on a port, in words.
fn owner_of(port: u16) -> String {
    match inode_of(port).and_then(process_with) {
        Some((pid, name)) => format!("{name} (process {pid})"),
        None => "another process".to_owned(),
    }
}

fn inode_of(port: u16) -> Option<u64> {
    let v4 = procfs::net::tcp().unwrap_or_default();
    let v6 = procfs::net::tcp6().unwrap_or_default();
    let mut entries = v4.into_iter().chain(v6);
    let listens = entries
        .find(|entry| entry.state == procfs::net::TcpState::Listen && entry.local_address.port() == port);
    listens.map(|entry| entry.inode)
}

fn process_with(inode: u64) -> Option<(i32, String)> {
    let holds = |process: &procfs::process::Process| {
        process.fd().is_ok_and(|mut fds| {
            fds.any(|fd| {
                fd.is_ok_and(
                    |fd| matches!(fd.target, procfs::process::FDTarget::Socket(held) if held == inode),
                )
            })
        })
    };
    let process = procfs::process::all_processes().ok()?.filter_map(Result::ok).find(holds)?;
    let name = process.stat().map_or_else(|_| "a process".to_owned(), |stat| stat.comm);
    Some((process.pid, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_reported_with_its_owner_and_the_key_to_change() {
        let first = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = first.local_addr().expect("an address");
        let error =
            bind(address, "the node channel", "modules.cloudHub.websocket.port").await.expect_err("taken");
        let text = error.to_string();
        assert!(text.contains(&format!("port {} is already used by", address.port())), "{text}");
        assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
        assert!(text.contains("modules.cloudHub.websocket.port"), "{text}");
    }
}
