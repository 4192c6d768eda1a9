//! keadm against a real cloudcore, a real edgecore, and a real containerd or Docker engine.

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use anyhow::Result;
use e2e::{Containerd, Docker, Stack, StackOptions, binary, eventually, image::PAUSE, pod};
use tempfile::TempDir;

/// An edge machine below a temporary folder.
struct Edge {
    root: TempDir,
}

impl Edge {
    fn new() -> Result<Self> {
        Ok(Self { root: tempfile::Builder::new().prefix("keadm").tempdir()? })
    }

    fn keadm(&self, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(binary("keadm")?).args(arguments).env("KEADM_ROOT", self.root.path()).output()?)
    }

    async fn join(&self, stack: &Stack, containerd: &Containerd, more: &[&str]) -> Result<Output> {
        self.join_on(stack, &containerd.endpoint(), &containerd.cgroup_root(), more).await
    }

    async fn join_on(&self, stack: &Stack, endpoint: &str, cgroups: &str, more: &[&str]) -> Result<Output> {
        let (hub, port) = (stack.link.address().to_string(), stack.https_link.address().port().to_string());
        let token = stack.token().await?;
        let ports = format!(
            "modules.eventBus.mqttServerInternal=tcp://127.0.0.1:{},\
             modules.edged.tailoredKubeletConfig.readOnlyPort={},\
             modules.edged.tailoredKubeletConfig.podLogsDir={},\
             modules.edged.tailoredKubeletConfig.cgroupRoot={cgroups}",
            free_port()?,
            free_port()?,
            self.root.path().join("pod-logs").display(),
        );
        let mut line = vec!["join", "-e", &hub, "-s", &port, "-t", &token, "-i", "edge1", "-p", endpoint];
        line.extend(["--set", &ports, "--timeout", "30"]);
        line.extend(more);
        self.keadm(&line)
    }

    /// Processes that were started for this machine.
    fn processes(&self) -> Result<Vec<String>> {
        let root = self.root.path().to_string_lossy().into_owned();
        let all = procfs::process::all_processes()?.flatten();
        let lines = all.filter_map(|process| Some(process.cmdline().ok()?.join(" ")));
        Ok(lines.filter(|line| line.contains(&root)).collect())
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.keadm(&["reset", "edge", "--force", "-p", "unix:///nowhere"]).ok();
    }
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[track_caller]
fn said(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_connects_a_node_that_is_then_ready_and_a_reset_leaves_nothing() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let containerd = Containerd::start(stack.dir()).await?;
    let edge = Edge::new()?;
    said(&edge.join(&stack, &containerd, &[]).await?, 0, &["Install Complete!", "Node edge1 is connected"]);
    stack.node_ready("edge1", Duration::from_secs(30)).await?;

    // The same name from another machine.
    let other = Edge::new()?;
    let refused = other.join(&stack, &containerd, &[]).await?;
    said(&refused, 3, &["a node named edge1 exists already", "kubectl delete node edge1"]);

    said(&edge.keadm(&["reset", "edge", "--force"])?, 0, &["reset edge node successfully!"]);
    assert_eq!(edge.processes()?, Vec::<String>::new());
    for left in ["etc/kubeedge", "var/lib/kubeedge", "var/lib/kubelet", "run/kubeedge", "var/log/kubeedge"] {
        assert!(!edge.root.path().join(left).exists(), "{left} is left");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_docker_is_joined_and_a_reset_takes_its_pods_from_the_engine() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let docker = Docker::start(&stack.dir().join("docker")).await?;
    let listed = |what: &[&str]| docker.docker(what);
    let networks = listed(&["network", "ls", "-q"])?;
    // What is not of a pod is not touched.
    let own = listed(&["run", "-d", &format!("--cgroup-parent={}", docker.cgroup_root()), PAUSE])?;
    let edge = Edge::new()?;
    // The disk of the machine that runs the tests is not their concern.
    let settings = format!(
        "modules.edged.podSandboxImage={PAUSE},modules.edged.tailoredKubeletConfig.evictionHard=\
         {{nodefs.available:0%,nodefs.inodesFree:0%,imagefs.available:0%,imagefs.inodesFree:0%}}"
    );
    let more = ["--runtimetype=docker", "--set", &settings];
    let joined = edge.join_on(&stack, &docker.endpoint(), &docker.cgroup_root(), &more).await?;
    said(&joined, 0, &["Install Complete!", "Node edge1 is connected"]);
    let node = stack.node_ready("edge1", Duration::from_secs(60)).await?;
    let version = node.status.and_then(|status| status.node_info).map(|info| info.container_runtime_version);
    assert!(version.is_some_and(|version| version.starts_with("docker://")));
    stack.apply(&serde_json::to_string(&pod::sleeper("app", "edge1")?)?)?;
    pod::ready(&stack.client(), "app", Duration::from_secs(60)).await?;
    assert_eq!(listed(&["ps", "-aq"])?.lines().count(), 3, "the pod's two containers and our own");

    said(&edge.keadm(&["reset", "edge", "--force"])?, 0, &["reset edge node successfully!"]);
    eventually("only what is not of a pod is left", Duration::from_secs(20), || async {
        match listed(&["ps", "-aq", "--no-trunc"]) {
            Ok(left) if left == own => Ok(()),
            left => Err(format!("{left:?}")),
        }
    })
    .await?;
    assert_eq!(listed(&["network", "ls", "-q"])?, networks);
    assert_eq!(listed(&["volume", "ls", "-q"])?, "");
    assert_eq!(edge.processes()?, Vec::<String>::new());
    for left in ["etc/kubeedge", "var/lib/kubeedge", "var/lib/kubelet", "run/kubeedge", "var/log/kubeedge"] {
        assert!(!edge.root.path().join(left).exists(), "{left} is left");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cgroup_driver_of_a_real_containerd_is_compared() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let containerd = Containerd::start(stack.dir()).await?;
    let edge = Edge::new()?;
    let output = edge.join(&stack, &containerd, &["--cgroupdriver", "systemd"]).await?;
    said(
        &output,
        3,
        &["the cgroup driver is systemd, but the runtime uses cgroupfs", "--cgroupdriver=cgroupfs"],
    );
    assert!(!edge.root.path().join("etc").exists(), "nothing was changed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_bound_to_a_node_lets_in_that_node_only() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let edge = Edge::new()?;
    // The CA is there once its first token is.
    stack.token().await?;
    let kubeconfig = stack.kubeconfig();
    let minted =
        edge.keadm(&["gettoken", "--kube-config", &path(&kubeconfig), "--node", "kitchen", "--ttl", "5m"])?;
    said(&minted, 0, &[]);
    let token = String::from_utf8(minted.stdout)?.trim().to_owned();
    let (hub, port) = (stack.link.address().to_string(), stack.https_link.address().port().to_string());
    let join = |node: &str| -> Result<Output> {
        let ports = format!(
            "modules.edged.enable=false,modules.eventBus.mqttServerInternal=tcp://127.0.0.1:{},\
             modules.edged.tailoredKubeletConfig.readOnlyPort={}",
            free_port()?,
            free_port()?
        );
        edge.keadm(&["join", "-e", &hub, "-s", &port, "-t", &token, "-i", node, "--set", &ports])
    };
    said(&join("cellar")?, 3, &["the token is not for cellar", "bound to node kitchen"]);
    said(&join("kitchen")?, 0, &["Node kitchen is connected"]);
    Ok(())
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
