//! What CNI keeps of each network that it made. The runtime's CNI library (`libcni`, v1.x) does not sync these files: after a power cut
//! they are there and empty, and then the runtime refuses to stop the sandbox, each time again. Without such a file it works, from
//! the network's configuration.

use std::path::Path;
use std::{fs, io};

use serde_json::Value;

use super::super::{RuntimeError, SandboxId};

/// Where libcni keeps them (its `CacheDir`), for containerd and CRI-O alike.
const DIRECTORY: &str = "/var/lib/cni/results";
/// What libcni says of one that it cannot read.
const COMPLAINT: &str = "cached result";

/// Whether this may be why the runtime refused.
pub(super) fn may_be_why(error: &RuntimeError) -> bool {
    error.to_string().contains(COMPLAINT)
}

/// Removes what cannot be read of this sandbox's networks, so that the runtime can stop it. Whether there was any.
pub(super) async fn forget(sandbox: &SandboxId) -> bool {
    let of = sandbox.clone();
    let forgotten = tokio::task::spawn_blocking(move || forget_damaged(Path::new(DIRECTORY), &of)).await;
    match forgotten {
        Ok(Ok(any)) => {
            if any {
                tracing::warn!(%sandbox, "what CNI kept of a sandbox's network was damaged, by a power cut mostly: it is forgotten");
            }
            any
        }
        Ok(Err(error)) => {
            tracing::warn!(%sandbox, "cannot look for damaged files in {DIRECTORY}: {error}");
            false
        }
        Err(_) => false,
    }
}

/// Blocks.
fn forget_damaged(directory: &Path, sandbox: &SandboxId) -> io::Result<bool> {
    let mut any = false;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // <network>-<sandbox>-<interface>
        if !entry.file_name().to_string_lossy().contains(&format!("-{sandbox}-")) {
            continue;
        }
        if serde_json::from_slice::<Value>(&fs::read(entry.path())?).is_err() {
            fs::remove_file(entry.path())?;
            any = true;
        }
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_damaged_and_the_sandboxs_own_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| fs::write(dir.path().join(name), content).unwrap();
        file("pods-a1-eth0", "");
        file("pods-a1-lo", "{}");
        file("pods-a1-eth1", r#"{"kind":"cniCacheV1","#);
        file("pods-a12-eth0", "");
        let sandbox = SandboxId("a1".into());
        assert!(forget_damaged(dir.path(), &sandbox).unwrap());
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["pods-a1-lo", "pods-a12-eth0"]);
        assert!(!forget_damaged(dir.path(), &sandbox).unwrap(), "there is nothing left to forget");
    }

    #[test]
    fn only_complaints_about_these_files_are_a_reason_to_look() {
        let said = |message: &str| RuntimeError::NotFound { call: "StopPodSandbox", message: message.into() };
        assert!(may_be_why(&said(
            "failed to destroy network for sandbox \"a1\": failed to get network \"pods\" cached result: decoding version \
             from network config: unexpected end of JSON input"
        )));
        assert!(!may_be_why(&said("failed to stop container")));
    }
}
