//! A node with more and more pods: what the agent needs, how fast many pods come, and how fast they come back after a cold boot.

use std::ops::Range;
use std::time::Duration;

use anyhow::Result;
use e2e::{Containerd, Stack, eventually, pod};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, PostParams};
use tokio::time::{Instant, sleep};

use crate::{Measure, pod::node};

/// After pods are Ready, before the agent counts as idle.
const SETTLE: Duration = Duration::from_secs(20);
/// How long its use of the processor is counted.
const WATCHED: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(300);
const MANY: usize = 50;

pub(crate) async fn run() -> Result<Vec<Measure>> {
    let (mut containerd, mut stack) = node().await?;
    let mut measures = idle(&mut stack, 0, "edge.rss-0", "edge.cpu-0").await?;

    create(&stack, 0..10).await?;
    ready(&stack, 10, LIMIT).await?;
    measures.extend(idle(&mut stack, 10, "edge.rss-10", "edge.cpu-10").await?);

    remove_all(&stack).await?;
    let start = Instant::now();
    create(&stack, 0..MANY).await?;
    ready(&stack, MANY, LIMIT).await?;
    let method = format!("{MANY} pods created at once → all Ready; image present");
    measures.push(Measure::seconds("edge.ready-50", start.elapsed(), method));
    measures.extend(idle(&mut stack, MANY, "edge.rss-50", "edge.cpu-50").await?);

    measures.push(cold_boot(&mut containerd, &mut stack).await?);
    Ok(measures)
}

/// Memory and processor of an agent that has nothing to do.
async fn idle(stack: &mut Stack, pods: usize, rss: &'static str, cpu: &'static str) -> Result<Vec<Measure>> {
    sleep(SETTLE).await;
    let edge = stack.edge_mut()?;
    let before = edge.cpu_time()?;
    sleep(WATCHED).await;
    let used = edge.cpu_time()?.saturating_sub(before).as_secs_f64() / WATCHED.as_secs_f64();
    let memory = edge.resident_bytes()?;
    let method = format!("{pods} pods, {} s after they were Ready", (SETTLE + WATCHED).as_secs());
    Ok(vec![
        Measure::bytes(rss, memory, format!("VmRSS, {method}")),
        Measure::share(cpu, used, format!("of one processor over {} s, {pods} idle pods", WATCHED.as_secs())),
    ])
}

/// The power goes while the cloud is away: everything is stopped, then the runtime and the agent are started.
async fn cold_boot(containerd: &mut Containerd, stack: &mut Stack) -> Result<Measure> {
    stack.cloud.kill();
    stack.edge_mut()?.kill();
    containerd.power_off();
    containerd.restart().await?;
    let start = Instant::now();
    stack.edge_mut()?.restart()?;
    eventually("all containers run", LIMIT, || async {
        let tasks = containerd.ctr(&["tasks", "ls"]).map_err(|error| error.to_string())?;
        // A sandbox and a container for each pod.
        let running = tasks.lines().filter(|line| line.contains("RUNNING")).count();
        if running == 2 * MANY { Ok(()) } else { Err(format!("{running} run")) }
    })
    .await?;
    let method = format!("start of edgecore after a power cut, without its cloud → {MANY} pods run");
    Ok(Measure::seconds("edge.boot-50", start.elapsed(), method))
}

/// Creates idle pods with these numbers, all at once.
pub(crate) async fn create(stack: &Stack, numbers: Range<usize>) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(stack.client(), "default");
    let made = numbers.map(|number| {
        let pods = pods.clone();
        async move {
            let mut pod = pod::sleeper(&format!("idle-{number}"), "edge1")?;
            // The agent is measured, not shells that look at the clock.
            for container in pod.spec.iter_mut().flat_map(|spec| &mut spec.containers) {
                container.command = Some(["/bin/busybox", "sleep", "1000000"].map(str::to_owned).to_vec());
            }
            pods.create(&PostParams::default(), &pod).await?;
            anyhow::Ok(())
        }
    });
    try_join_all(made).await?;
    Ok(())
}

/// Waits until so many pods are Ready.
pub(crate) async fn ready(stack: &Stack, count: usize, limit: Duration) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(stack.client(), "default");
    eventually(&format!("{count} pods are Ready"), limit, || async {
        let list = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let ready = list.iter().filter(|pod| pod::is_ready(pod)).count();
        if ready == count { Ok(()) } else { Err(format!("{ready} are")) }
    })
    .await
}

async fn remove_all(stack: &Stack) -> Result<()> {
    stack.kubectl(&["delete", "pods", "--all", "--grace-period=1"])?;
    Ok(())
}
