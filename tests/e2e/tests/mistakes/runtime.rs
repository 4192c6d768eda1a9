//! The runtime itself: hung, away, restarted. What runs is not touched; what is new waits and then runs.

use anyhow::{Result, ensure};

use super::ward::{LIMIT, SLEEP, Ward, pod};

const STEADY: &str = "steady";
const CONTAINER: &str = ".status.containerStatuses[0].containerID";
const RESTARTS: &str = ".status.containerStatuses[0].restartCount";

/// A pod that was well before, and its container.
async fn steady(ward: &Ward) -> Result<(String, String)> {
    ward.apply(&pod(STEADY, SLEEP)).await?;
    ward.told(STEADY, &["State: Running", "Ready True"], &[]).await?;
    Ok((ward.uid(STEADY).await?, ward.field(STEADY, CONTAINER).await?))
}

/// It is said of the node, and of a pod that comes meanwhile. Returns the latter's uid.
async fn is_told(ward: &Ward, late: &str, words: &str) -> Result<String> {
    ward.described("node", "edge1", &["Ready False…"], &[]).await?;
    let node = ward.kubectl(&["describe", "node", "edge1"]).await?;
    ensure!(node.contains("KubeletNotReady") && node.contains(words), "{node}");
    ward.apply(&pod(late, SLEEP)).await?;
    let words = "default-scheduler 0/1 nodes are available: 1 node(s) had untolerated taint(s). \
                 preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    ward.told(late, &["Status: Pending", "PodScheduled False"], &[("Warning FailedScheduling", words)])
        .await?;
    ward.uid(late).await
}

/// All is well again and the steady pod was not touched.
async fn ends(ward: &Ward, before: &(String, String), late: &str, late_uid: &str) -> Result<()> {
    ward.stack.node_ready("edge1", LIMIT).await?;
    ward.well(late, late_uid).await?;
    ward.told(STEADY, &["State: Running", "Ready: True", "Ready True"], &[]).await?;
    let after = (ward.uid(STEADY).await?, ward.field(STEADY, CONTAINER).await?);
    ensure!(after == *before, "{after:?} was {before:?}");
    ensure!(ward.field(STEADY, RESTARTS).await? == "0");
    Ok(())
}

pub(crate) async fn it_hangs(ward: &mut Ward) -> Result<()> {
    let before = steady(ward).await?;
    ward.engine.daemon().hang()?;
    let told = is_told(ward, "came-during-hang", "did not answer within 10 s").await;
    ward.engine.daemon().wake()?;
    ends(ward, &before, "came-during-hang", &told?).await
}

pub(crate) async fn its_socket_is_gone(ward: &mut Ward) -> Result<()> {
    let before = steady(ward).await?;
    ward.engine.kill();
    std::fs::remove_file(ward.engine.socket()).ok();
    let missing = format!("no container runtime answers on {}", ward.engine.endpoint());
    let uid = is_told(ward, "came-without-socket", &missing).await?;
    ward.engine.restart().await?;
    ends(ward, &before, "came-without-socket", &uid).await
}

pub(crate) async fn it_is_restarted_under_the_agent(ward: &mut Ward) -> Result<()> {
    let before = steady(ward).await?;
    ward.apply(&pod("came-during-restart", SLEEP)).await?;
    let uid = ward.uid("came-during-restart").await?;
    ward.engine.kill();
    ward.engine.restart().await?;
    ends(ward, &before, "came-during-restart", &uid).await
}
