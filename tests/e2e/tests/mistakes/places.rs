//! Paths that cannot be mounted, on the host and in the container.

use anyhow::Result;
use e2e::Runtime;
use serde_json::{Value, json};

use super::ward::{SLEEP, UNREADY, Ward, container, deployment, mounting, pod};

fn folder(path: &str) -> Value {
    json!({ "hostPath": { "path": path, "type": "Directory" } })
}

async fn is_no_folder(ward: &Ward, name: &str, path: &str) -> Result<String> {
    ward.apply(&mounting(pod(name, SLEEP), folder(path))).await?;
    let words = "kubelet MountVolume.SetUp failed for volume \"v\" : hostPath type check failed:";
    let words = format!("{words} {path} is not a directory");
    let start = ["Status: Pending", "State: Waiting", "Reason: ContainerCreating", "Ready: False"];
    let lines = [start.as_slice(), &["PodReadyToStartContainers False"], &UNREADY].concat();
    ward.told(name, &lines, &[("Warning FailedMount", &words)]).await?;
    ward.uid(name).await
}

pub(crate) async fn a_folder_of_the_host_is_missing(ward: &Ward) -> Result<()> {
    let (name, path) = ("folder-missing", ward.host("missing"));
    let uid = is_no_folder(ward, name, &path).await?;
    std::fs::create_dir(&path)?;
    ward.well(name, &uid).await
}

pub(crate) async fn a_file_is_where_a_folder_should_be(ward: &Ward) -> Result<()> {
    let (name, path) = ("folder-is-file", ward.host("file"));
    std::fs::write(&path, "")?;
    let uid = is_no_folder(ward, name, &path).await?;
    std::fs::remove_file(&path)?;
    std::fs::create_dir(&path)?;
    ward.well(name, &uid).await
}

/// No runtime mounts anything on what the kernel shows of processes.
pub(crate) async fn a_place_in_the_container_cannot_be_mounted_on(ward: &Ward) -> Result<()> {
    let name = "mounted-in-proc";
    let mut wrong = mounting(pod(name, SLEEP), json!({ "emptyDir": {} }));
    container(&mut wrong)["volumeMounts"][0]["mountPath"] = "/proc/v".into();
    ward.apply(&deployment(&wrong)).await?;
    let made = ward.pod_of(name).await?;
    let reason = match ward.runtime {
        Runtime::Containerd => "Reason: StartError",
        Runtime::Docker => "Reason: ContainerCannotRun",
    };
    let lines = [
        "State: Waiting",
        "Reason: CrashLoopBackOff",
        "Last State: Terminated",
        reason,
        "Exit Code: 128",
        "Ready: False",
    ];
    let failed = match ward.runtime {
        Runtime::Containerd => {
            "kubelet Error: failed to create containerd task: failed to create shim task: …"
        }
        Runtime::Docker => "kubelet Error: failed to create …",
    };
    ward.told(&made, &lines, &[("Warning Failed", failed)]).await?;
    let message = ward.field(&made, ".status.containerStatuses[0].lastState.terminated.message").await?;
    anyhow::ensure!(message.contains("/proc/v"), "{message}");
    container(&mut wrong)["volumeMounts"][0]["mountPath"] = "/v".into();
    ward.apply(&deployment(&wrong)).await?;
    ward.rolled_out(name).await
}
