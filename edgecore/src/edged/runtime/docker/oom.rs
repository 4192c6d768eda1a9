//! How far the engine may lower an OOM score. Where CAP_SYS_RESOURCE is missing, runc cannot go below the score that it
//! inherits, and a container that asks for less would not start at all.

use std::path::Path;

use tokio::net::UnixStream;

/// Bit of CAP_SYS_RESOURCE in a capability set (linux/capability.h).
const SYS_RESOURCE: u64 = 1 << 24;

/// The lowest score that can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Floor(i64);

impl Floor {
    /// No bound of ours.
    const NONE: Self = Self(-1000);

    /// What the process that serves the socket may do.
    pub(super) async fn of(socket: &Path) -> Self {
        let peer = async { UnixStream::connect(socket).await.ok()?.peer_cred().ok()?.pid() };
        peer.await.and_then(Self::of_process).unwrap_or_default()
    }

    fn of_process(pid: i32) -> Option<Self> {
        let process = procfs::process::Process::new(pid).ok()?;
        if process.status().ok()?.capeff & SYS_RESOURCE != 0 {
            return Some(Self::NONE);
        }
        std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok()?.trim().parse().ok().map(Self)
    }

    /// The score to ask for instead of `wanted`.
    pub(super) fn raise(self, wanted: i64) -> i64 {
        wanted.max(self.0)
    }
}

impl Default for Floor {
    fn default() -> Self {
        Self::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_raised_to_what_can_be_had() {
        assert_eq!((Floor(0).raise(-998), Floor(0).raise(500)), (0, 500));
        assert_eq!(Floor::NONE.raise(-998), -998);
    }
}
