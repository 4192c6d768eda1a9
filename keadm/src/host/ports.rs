use std::net::{IpAddr, SocketAddr, TcpListener};

use procfs::{
    net::TcpState,
    process::{FDTarget, all_processes},
};

use crate::problem::Problem;

/// Why `address` cannot be listened on, or `None` when it can.
///
/// Asks the kernel by binding for a moment, then looks up who is in the way.
pub(crate) fn blocked(address: SocketAddr) -> Option<Blocked> {
    match TcpListener::bind(address) {
        Ok(_) => None,
        Err(error) => Some(Blocked { address, owner: owner(address), error: error.to_string() }),
    }
}

/// A port that somebody else has.
#[derive(Debug)]
pub(crate) struct Blocked {
    address: SocketAddr,
    owner: Option<(i32, String)>,
    error: String,
}

impl Blocked {
    /// As a problem; `purpose` says what the port is for and `setting` how to choose another one.
    pub(crate) fn problem(&self, purpose: &str, setting: &str) -> Problem {
        let what = format!("port {} is in use, and {purpose} needs it", self.address.port());
        match &self.owner {
            Some((pid, name)) => Problem::new(what)
                .cause(format!("{name} (pid {pid}) listens on it"))
                .next(format!("stop {name}, or choose another port with {setting}")),
            None => Problem::new(what)
                .cause(format!("listening on {} fails: {}", self.address, self.error))
                .next(format!("find its owner with `ss -ltnp`, or choose another port with {setting}")),
        }
    }
}

/// Who listens on this port, as process number and program name. Needs root for other users' processes.
fn owner(address: SocketAddr) -> Option<(i32, String)> {
    let listening = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
    let inode = listening
        .filter(|entry| entry.state == TcpState::Listen && entry.local_address.port() == address.port())
        .find(|entry| overlaps(entry.local_address.ip(), address.ip()))?
        .inode;
    all_processes().ok()?.flatten().find_map(|process| {
        let holds = process
            .fd()
            .ok()?
            .flatten()
            .any(|descriptor| matches!(descriptor.target, FDTarget::Socket(number) if number == inode));
        holds.then(|| Some((process.pid, process.stat().ok()?.comm)))?
    })
}

fn overlaps(one: IpAddr, other: IpAddr) -> bool {
    one == other || one.is_unspecified() || other.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_owner_and_a_free_one_is_free() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let blocked = blocked(address).expect("the port is taken");
        assert_eq!(blocked.owner.as_ref().unwrap().0, std::process::id() as i32);
        let shown = blocked.problem("the embedded broker", "--set x=1").to_string();
        assert!(shown.contains(&format!("port {} is in use", address.port())), "{shown}");
        assert!(shown.contains(&format!("(pid {})", std::process::id())), "{shown}");
        drop(listener);
        assert!(super::blocked(address).is_none());
    }
}
