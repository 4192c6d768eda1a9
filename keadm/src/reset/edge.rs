use std::path::PathBuf;

use proto::config::{CONTAINERD_SOCKET, RuntimeType};

use super::Removal;
use crate::{
    document,
    host::{cgroups, mounts, process},
    layout::Layout,
    problem::Problem,
    progress::Progress,
    runtime::Runtime,
    service::{Services, Status},
};

/// The edge side of this host, as it was found.
#[derive(Debug)]
pub(super) struct Edge {
    running: Vec<String>,
    endpoint: String,
    runtime: Option<Runtime>,
    /// Sandbox id, what to call it, and its log directory.
    pods: Vec<(String, String)>,
    pod_logs: PathBuf,
    mounts: Vec<PathBuf>,
    cgroups: Vec<PathBuf>,
    files: Removal,
}

/// Finds out what the edge side consists of; `None` when there is nothing of it.
pub(super) async fn find(layout: &Layout, endpoint: Option<&str>) -> Option<Edge> {
    let config = document::read(&layout.config("edgecore")).ok().flatten().unwrap_or_default();
    let kubelet = "modules.edged.tailoredKubeletConfig";
    let configured = document::text(&config, &format!("{kubelet}.containerRuntimeEndpoint"));
    let pod_logs = document::text(&config, &format!("{kubelet}.podLogsDir"));
    let endpoint = endpoint.or(configured).unwrap_or(CONTAINERD_SOCKET);
    let kind = document::text(&config, "modules.edged.containerRuntime");
    let kind: RuntimeType = kind.and_then(|kind| kind.parse().ok()).unwrap_or_default();
    let (_, endpoint) = kind.resolve(endpoint);
    let cgroup_root = document::text(&config, &format!("{kubelet}.cgroupRoot")).unwrap_or("/");
    let cgroups = cgroups::of_pods(cgroup_root);
    let state = document::text(&config, "modules.edged.rootDirectory")
        .map_or_else(|| layout.kubelet_state(), PathBuf::from);
    let running = running(layout).await;
    let files = files(layout, &state);
    if running.is_empty() && files.present().next().is_none() {
        return None;
    }
    let mut runtime = Runtime::connect(kind, &endpoint).await.ok();
    // The pods of a kubelet on the same runtime carry the same labels and are none of our business.
    let kubelet_runs = !process::running("kubelet", None).is_empty();
    let pods = match &mut runtime {
        Some(runtime) if !kubelet_runs => runtime.pods().await.unwrap_or_default(),
        _ => Vec::new(),
    };
    let pod_logs = PathBuf::from(pod_logs.unwrap_or("/var/log/pods"));
    Some(Edge { running, endpoint, runtime, pods, pod_logs, mounts: mounts::below(&state), cgroups, files })
}

async fn running(layout: &Layout) -> Vec<String> {
    match Services::of(layout).status("edgecore").await {
        Status::Running { pid } => vec![format!("edgecore (pid {pid})")],
        Status::Restarting { reason } => vec![format!("edgecore ({reason})")],
        Status::Stopped if layout.is_host() => process::running("edgecore", Some(&layout.config("edgecore")))
            .iter()
            .map(ToString::to_string)
            .collect(),
        Status::Stopped => Vec::new(),
    }
}

/// The files that a join makes and that edgecore makes later.
fn files(layout: &Layout, kubelet_state: &std::path::Path) -> Removal {
    let etc = layout.etc();
    let mut removal = Removal::default()
        .file(layout.config("edgecore"))
        .file(etc.join("bootstrap-edgecore.conf"))
        .file(etc.join("dmi.sock"))
        .tree(etc.join("dmi"))
        .file(etc.join("idempotency_record"))
        .file(etc.join("upgrade_report.json"))
        .tree(etc.join("ca"))
        .tree(etc.join("certs"))
        .tree(etc.join("pki"))
        .tree(etc.join("manifests"))
        .tree(etc.join("backup"))
        .tree(etc.join("upgrade"))
        .tree(layout.edge_state())
        .file(layout.binary("edgecore"))
        .files_like(&layout.log_dir(), "edgecore.log")
        .files_like(&layout.run_dir(), "edgecore");
    // A folder that the user chose may hold other things; only what an edge agent makes in it is removed.
    removal = if kubelet_state == layout.kubelet_state() {
        removal.tree(kubelet_state.to_owned())
    } else {
        ["pods", "plugins", "plugins_registry", "device-plugins"]
            .iter()
            .fold(removal, |removal, name| removal.tree(kubelet_state.join(name)))
    };
    removal.shared(etc.join("config")).shared(etc).shared(layout.log_dir()).shared(layout.run_dir())
}

impl Edge {
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        let running = self.running.iter().map(|one| format!("process {one}"));
        let pods = self.pods.iter().map(|(_, name)| format!("pod {name}"));
        let mounts = self.mounts.iter().map(|point| format!("mount {}", point.display()));
        let files = self.files.present().map(|path| path.display().to_string());
        running.chain(pods).chain(mounts).chain(files)
    }

    pub(super) async fn remove(mut self, layout: &Layout, progress: &Progress) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !self.running.is_empty() {
            progress.step("stopping edgecore");
        }
        if let Err(problem) = Services::of(layout).stop("edgecore").await {
            problems.push(problem);
        }
        if layout.is_host() {
            for stray in process::running("edgecore", Some(&layout.config("edgecore"))) {
                progress.step(format!("stopping {stray}, which nobody supervises"));
                stray.id.end(std::time::Duration::from_secs(20)).await.ok();
            }
        }
        problems.extend(self.remove_pods(progress).await);
        for group in &self.cgroups {
            cgroups::remove(group).await;
        }
        progress.step("removing files");
        problems.extend(self.files.run());
        problems
    }

    async fn remove_pods(&mut self, progress: &Progress) -> Vec<Problem> {
        let Some(runtime) = &mut self.runtime else {
            progress.warn(format!("no runtime answers at {}, so no pods were stopped", self.endpoint));
            return Vec::new();
        };
        let mut problems = Vec::new();
        for (id, name) in &self.pods {
            progress.step(format!("stopping pod {name}"));
            if let Err(error) = runtime.remove_pod(id).await {
                problems.push(
                    Problem::new(format!("pod {name} cannot be removed")).cause(error).next(by_hand(
                        runtime,
                        &self.endpoint,
                        id,
                    )),
                );
            }
            std::fs::remove_dir_all(self.pod_logs.join(name)).ok();
        }
        problems
    }
}

/// What an administrator can do instead.
fn by_hand(runtime: &Runtime, endpoint: &str, id: &str) -> String {
    match runtime {
        Runtime::Cri(_) => format!("crictl --runtime-endpoint {endpoint} rmp --force {id}"),
        Runtime::Docker(_) => format!("docker -H {endpoint} rm --force {id}"),
    }
}
