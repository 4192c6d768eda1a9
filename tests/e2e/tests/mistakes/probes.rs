//! Probes that hang.

use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use serde_json::json;

use super::ward::{SLEEP, Ward, container, mounting, pod};

pub(crate) async fn a_command_that_asks_for_readiness_hangs(ward: &Ward) -> Result<()> {
    let (name, dir) = ("readiness-hangs", ward.host("readiness"));
    std::fs::create_dir(&dir)?;
    let mut hangs = mounting(pod(name, SLEEP), json!({ "hostPath": { "path": dir } }));
    let command = ["/bin/sh", "-c", "test -e /v/ok || sleep 100"];
    container(&mut hangs)["readinessProbe"] =
        json!({ "exec": { "command": command }, "timeoutSeconds": 1, "periodSeconds": 2 });
    ward.apply(&hangs).await?;
    let lines = [
        "Status: Running",
        "State: Running",
        "Ready: False",
        "Restart Count: 0",
        "Readiness: exec [/bin/sh -c test -e /v/ok || sleep 100] delay=0s timeout=1s period=2s #success=1 #failure=3",
        "Initialized True",
        "Ready False",
        "ContainersReady False",
    ];
    let words = format!(
        "kubelet Readiness probe failed: command timed out: \"{}\" timed out after 1s",
        command.join(" ")
    );
    ward.told(name, &lines, &[("Warning Unhealthy", &words)]).await?;
    let uid = ward.uid(name).await?;
    std::fs::write(format!("{dir}/ok"), "")?;
    ward.well(name, &uid).await
}

pub(crate) async fn a_page_that_shows_life_hangs(ward: &Ward) -> Result<()> {
    let (name, dir) = ("liveness-hangs", ward.host("liveness"));
    let scripts = format!("{dir}/cgi-bin");
    std::fs::create_dir_all(&scripts)?;
    let page = format!("{scripts}/health");
    std::fs::write(
        &page,
        "#!/bin/sh\ntest -e /v/ok || sleep 20\nprintf 'Content-Type: text/plain\\r\\n\\r\\nwell'\n",
    )?;
    std::fs::set_permissions(&page, PermissionsExt::from_mode(0o755))?;
    let mut hangs =
        mounting(pod(name, "exec httpd -f -p 8080 -h /v"), json!({ "hostPath": { "path": dir } }));
    container(&mut hangs)["livenessProbe"] = json!({
        "httpGet": { "path": "/cgi-bin/health", "port": 8080 },
        "initialDelaySeconds": 1, "timeoutSeconds": 1, "periodSeconds": 2, "failureThreshold": 2,
    });
    ward.apply(&hangs).await?;
    let words = "kubelet Liveness probe failed: Get \"http://…";
    let killed = "kubelet Container c failed liveness probe, will be restarted";
    let lines = [
        "Last State: Terminated",
        "Exit Code: 137",
        "Restart Count: …",
        "Liveness: http-get http://:8080/cgi-bin/health…",
    ];
    ward.told(name, &lines, &[("Warning Unhealthy", words), ("Normal Killing", killed)]).await?;
    let told = ward.kubectl(&["describe", "pod", name]).await?;
    let end =
        ":8080/cgi-bin/health\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    anyhow::ensure!(told.contains(end), "{told}");
    let uid = ward.uid(name).await?;
    std::fs::write(format!("{dir}/ok"), "")?;
    ward.well(name, &uid).await
}
