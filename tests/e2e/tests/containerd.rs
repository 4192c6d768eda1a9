//! The private containerd of the harness.

use e2e::{Containerd, containerd, image};

#[tokio::test]
async fn a_private_containerd_runs_a_container_and_leaves_nothing_behind() {
    let dir = tempfile::Builder::new().prefix("sk").tempdir().expect("a temporary folder");
    let containerd = Containerd::start(dir.path()).await.expect("containerd starts");
    let said = containerd
        .ctr(&["run", "--rm", image::BUSYBOX, "t1", "/bin/sh", "-c", "echo from inside"])
        .expect("a container runs");
    assert_eq!(said.trim(), "from inside");
    containerd.ctr(&["run", "-d", image::PAUSE, "t2"]).expect("a second container runs");
    assert!(!containerd.mounts().is_empty());
    let root = containerd.cgroup_root();
    drop(containerd);
    assert_eq!(containerd::mounts_below(dir.path()), Vec::<std::path::PathBuf>::new());
    assert_eq!(containerd::cgroups(root.trim_start_matches('/')), Vec::<std::path::PathBuf>::new());
    dir.close().expect("the folder can be removed");
}
