//! The private Docker engine of the harness.

use e2e::{Docker, containerd, image};

#[tokio::test]
async fn a_private_docker_engine_runs_a_container_and_leaves_nothing_behind() {
    let dir = tempfile::Builder::new().prefix("sk").tempdir().expect("a temporary folder");
    let docker = Docker::start(dir.path()).await.expect("dockerd starts");
    let root = docker.cgroup_root();
    let parent = format!("--cgroup-parent={root}");
    let said = docker
        .docker(&["run", "--rm", &parent, image::BUSYBOX, "/bin/sh", "-c", "echo from inside"])
        .expect("a container runs");
    assert_eq!(said.trim(), "from inside");
    docker.docker(&["run", "-d", &parent, image::PAUSE]).expect("a second container runs");
    assert!(!containerd::mounts_below(dir.path()).is_empty());
    drop(docker);
    assert_eq!(containerd::mounts_below(dir.path()), Vec::<std::path::PathBuf>::new());
    assert_eq!(containerd::cgroups(root.trim_start_matches('/')), Vec::<std::path::PathBuf>::new());
    dir.close().expect("the folder can be removed");
}
