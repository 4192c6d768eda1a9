//! Commands that are not there, or that fail.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use e2e::Runtime;
use serde_json::json;

use super::ward::{SLEEP, Ward, container, deployment, mounting, pod};

/// How a container ended that could not start.
fn ended(ward: &Ward) -> [&'static str; 7] {
    let (reason, code) = match ward.runtime {
        Runtime::Containerd => ("Reason: StartError", "Exit Code: 128"),
        Runtime::Docker => ("Reason: ContainerCannotRun", "Exit Code: 127"),
    };
    [
        "State: Waiting",
        "Reason: CrashLoopBackOff",
        "Last State: Terminated",
        reason,
        code,
        "Ready: False",
        "Ready False",
    ]
}

/// The runtime's words for it.
fn failed(ward: &Ward) -> &'static str {
    match ward.runtime {
        Runtime::Containerd => {
            "kubelet Error: failed to create containerd task: failed to create shim task: …"
        }
        Runtime::Docker => "kubelet Error: failed to create …",
    }
}

pub(crate) async fn a_command_is_not_found_until_it_is_there(ward: &Ward) -> Result<()> {
    let (name, dir) = ("command-missing", ward.host("tools"));
    std::fs::create_dir(&dir)?;
    let mut missing = mounting(pod(name, SLEEP), json!({ "hostPath": { "path": dir } }));
    container(&mut missing)["command"][0] = "/v/tool".into();
    ward.apply(&missing).await?;
    let uid = ward.uid(name).await?;
    let back_off = format!("kubelet Back-off restarting failed container c in pod {name}_default({uid})");
    ward.told(name, &ended(ward), &[("Warning Failed", failed(ward)), ("Warning BackOff", &back_off)])
        .await?;
    let last = ward.field(name, ".status.containerStatuses[0].lastState.terminated.message").await?;
    ensure!(last.contains("\"/v/tool\"") && last.contains("no such file or directory"), "{last}");
    ward.waits_because(name, &format!("restarting failed container=c pod={name}_default({uid})")).await?;
    let tool = format!("{dir}/tool");
    std::fs::write(&tool, "#!/bin/sh\nexec /bin/sh \"$@\"\n")?;
    std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o755))?;
    ward.well(name, &uid).await
}

pub(crate) async fn a_command_is_misspelt_in_a_deployment(ward: &Ward) -> Result<()> {
    let name = "command-misspelt";
    let mut wrong = pod(name, SLEEP);
    container(&mut wrong)["command"][0] = "bsuybox".into();
    ward.apply(&deployment(&wrong)).await?;
    let made = ward.pod_of(name).await?;
    ward.told(&made, &ended(ward), &[("Warning Failed", failed(ward))]).await?;
    let last = ward.field(&made, ".status.containerStatuses[0].lastState.terminated.message").await?;
    ensure!(last.contains("exec: \"bsuybox\": executable file not found in $PATH"), "{last}");
    ward.apply(&deployment(&pod(name, SLEEP))).await?;
    ward.rolled_out(name).await
}

pub(crate) async fn a_container_crashes_until_its_setting_is_right(ward: &Ward) -> Result<()> {
    let name = "crashing";
    let map = |mode: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "MODE": mode } });
    ward.apply(&map("bad")).await?;
    let script =
        format!("test $MODE = good || {{ echo no mode $MODE > /dev/termination-log; exit 3; }}; {SLEEP}");
    let mut crashes = pod(name, &script);
    container(&mut crashes)["envFrom"] = json!([{ "configMapRef": { "name": name } }]);
    ward.apply(&crashes).await?;
    let uid = ward.uid(name).await?;
    let lines = [
        "Status: Running",
        "State: Waiting",
        "Reason: CrashLoopBackOff",
        "Last State: Terminated",
        "Reason: Error",
        "Message: no mode bad",
        "Exit Code: 3",
        "Ready: False",
        "Restart Count: 1",
        "PodReadyToStartContainers True",
        "Initialized True",
        "Ready False",
        "ContainersReady False",
    ];
    let back_off = format!("kubelet Back-off restarting failed container c in pod {name}_default({uid})");
    ward.told(name, &lines, &[("Warning BackOff", &back_off)]).await?;
    let words = format!("back-off 20s restarting failed container=c pod={name}_default({uid})");
    ward.waits_because(name, &words).await?;
    ward.apply(&map("good")).await?;
    ward.well(name, &uid).await
}
