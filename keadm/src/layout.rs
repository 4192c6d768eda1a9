use std::path::{Path, PathBuf};

/// Where an installation's files are. All paths hang below one root, which is `/` except in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Whether this is the host itself, where systemd units and process names count.
    pub(crate) fn is_host(&self) -> bool {
        self.root == Path::new("/")
    }

    /// `path`, which starts with `/`, below the root.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(crate) fn etc(&self) -> PathBuf {
        self.at("/etc/kubeedge")
    }

    pub(crate) fn config(&self, program: &str) -> PathBuf {
        self.at(&format!("/etc/kubeedge/config/{program}.yaml"))
    }

    pub(crate) fn binary(&self, program: &str) -> PathBuf {
        self.at(&format!("/usr/local/bin/{program}"))
    }

    pub(crate) fn admin_kubeconfig(&self) -> PathBuf {
        self.at("/etc/kubeedge/admin.conf")
    }

    /// The copy of a foreign cluster's kubeconfig that cloudcore uses.
    pub(crate) fn cluster_kubeconfig(&self) -> PathBuf {
        self.at("/var/lib/cloudcore/kubeconfig")
    }

    pub(crate) fn cloud_state(&self) -> PathBuf {
        self.at("/var/lib/cloudcore")
    }

    pub(crate) fn edge_state(&self) -> PathBuf {
        self.at("/var/lib/kubeedge")
    }

    pub(crate) fn kubelet_state(&self) -> PathBuf {
        self.at("/var/lib/kubelet")
    }

    pub(crate) fn ca_certificate(&self) -> PathBuf {
        self.at("/etc/kubeedge/ca/rootCA.crt")
    }

    pub(crate) fn edge_certificate(&self) -> PathBuf {
        self.at("/etc/kubeedge/certs/server.crt")
    }

    pub(crate) fn edge_key(&self) -> PathBuf {
        self.at("/etc/kubeedge/certs/server.key")
    }

    pub(crate) fn unit(&self, service: &str) -> PathBuf {
        self.at(&format!("/etc/systemd/system/{service}.service"))
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.at("/run/kubeedge")
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.at("/var/log/kubeedge")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_hang_below_the_root() {
        assert_eq!(Layout::new("/").config("edgecore"), Path::new("/etc/kubeedge/config/edgecore.yaml"));
        assert_eq!(Layout::new("/tmp/x").edge_state(), Path::new("/tmp/x/var/lib/kubeedge"));
    }
}
