//! Pods while the agent, the runtime or the cloud is gone.

use std::time::Duration;

use anyhow::Result;
use e2e::{Containerd, EdgeOptions, Fault, Stack, StackOptions, eventually, pod};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};

const LIMIT: Duration = Duration::from_secs(60);

async fn installation() -> Result<(Containerd, Stack)> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    let containerd = Containerd::start(stack.dir()).await?;
    stack.join(&EdgeOptions::on(&containerd)).await?;
    stack.node_ready("edge1", LIMIT).await?;
    Ok((containerd, stack))
}

async fn run(stack: &Stack, name: &str) -> Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(stack.client(), "default");
    pods.create(&PostParams::default(), &pod::sleeper(name, "edge1")?).await?;
    pod::ready(&stack.client(), name, LIMIT).await
}

/// Process ids of the running tasks, sandboxes included.
fn tasks(containerd: &Containerd) -> Result<Vec<String>> {
    let mut tasks: Vec<String> = containerd
        .ctr(&["tasks", "ls"])?
        .lines()
        .skip(1)
        .filter(|line| line.contains("RUNNING"))
        .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        .collect();
    tasks.sort();
    Ok(tasks)
}

async fn settled(containerd: &Containerd, count: usize) -> Result<Vec<String>> {
    eventually(&format!("{count} tasks run"), LIMIT, || async {
        let tasks = tasks(containerd).map_err(|error| vec![error.to_string()])?;
        if tasks.len() == count { Ok(tasks) } else { Err(tasks) }
    })
    .await
}

#[tokio::test]
async fn containers_run_on_and_are_adopted_when_the_agent_is_killed_with_and_without_its_cloud() -> Result<()>
{
    let (containerd, mut stack) = installation().await?;
    run(&stack, "steady").await?;
    let before = settled(&containerd, 2).await?;

    stack.edge_mut()?.restart()?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(tasks(&containerd)?, before, "the agent was killed and started again");

    stack.cloud.kill();
    stack.edge_mut()?.restart()?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(tasks(&containerd)?, before, "the same, while the cloud was away");

    stack.cloud.restart()?;
    stack.node_ready("edge1", LIMIT).await?;
    let again = pod::ready(&stack.client(), "steady", LIMIT).await?;
    let statuses = again.status.and_then(|status| status.container_statuses).unwrap_or_default();
    assert_eq!(statuses.iter().map(|status| status.restart_count).sum::<i32>(), 0);
    assert_eq!(tasks(&containerd)?, before);
    Ok(())
}

#[tokio::test]
async fn a_node_that_was_rebooted_without_its_cloud_starts_its_pods() -> Result<()> {
    let (mut containerd, mut stack) = installation().await?;
    run(&stack, "steady").await?;
    settled(&containerd, 2).await?;

    stack.cloud.kill();
    stack.edge_mut()?.kill();
    containerd.power_off();
    containerd.restart().await?;
    assert_eq!(tasks(&containerd)?, Vec::<String>::new(), "everything ended with the power");
    stack.edge_mut()?.restart()?;
    settled(&containerd, 2).await?;

    stack.cloud.restart()?;
    pod::ready(&stack.client(), "steady", LIMIT).await?;
    Ok(())
}

#[tokio::test]
async fn a_crash_of_the_runtime_touches_no_container() -> Result<()> {
    let (mut containerd, stack) = installation().await?;
    run(&stack, "steady").await?;
    let before = settled(&containerd, 2).await?;
    containerd.kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    containerd.restart().await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(tasks(&containerd)?, before);
    stack.node_ready("edge1", LIMIT).await?;
    run(&stack, "second").await?;
    Ok(())
}

#[tokio::test]
async fn a_node_without_a_link_is_given_up_after_40_seconds_and_taken_back_with_all_its_pods() -> Result<()> {
    let (containerd, stack) = installation().await?;
    let uid = run(&stack, "steady").await?.metadata.uid;
    let before = settled(&containerd, 2).await?;
    let nodes: Api<Node> = Api::all(stack.client());
    let pods: Api<Pod> = Api::namespaced(stack.client(), "default");
    let node = async || {
        let node = nodes.get("edge1").await.map_err(|error| error.to_string())?;
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        Ok::<_, String>((
            ready.map(|ready| ready.status).unwrap_or_default(),
            taints.into_iter().map(|taint| taint.key).collect::<Vec<_>>(),
        ))
    };

    stack.link.set(Fault::Refuse);
    eventually("the node is given up", Duration::from_secs(90), || async {
        match node().await? {
            (ready, taints) if ready == "Unknown" && !taints.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    eventually("its pod is not ready", LIMIT, || async {
        let pod = pods.get("steady").await.map_err(|error| error.to_string())?;
        if pod::is_ready(&pod) { Err(format!("{:?}", pod.status)) } else { Ok(()) }
    })
    .await?;
    assert_eq!(tasks(&containerd)?, before);

    stack.link.set(Fault::None);
    eventually("the node is taken back", LIMIT, || async {
        match node().await? {
            (ready, taints) if ready == "True" && taints.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    let pod = pod::ready(&stack.client(), "steady", LIMIT).await?;
    assert_eq!((pod.metadata.uid, pod.metadata.deletion_timestamp), (uid, None));
    assert_eq!(tasks(&containerd)?, before, "no container was touched");
    Ok(())
}

#[tokio::test]
async fn what_was_created_and_deleted_while_the_link_was_cut_is_done_when_it_heals() -> Result<()> {
    let (containerd, stack) = installation().await?;
    run(&stack, "old").await?;
    settled(&containerd, 2).await?;
    let pods: Api<Pod> = Api::namespaced(stack.client(), "default");

    stack.link.set(Fault::Refuse);
    pods.delete("old", &DeleteParams::default().grace_period(1)).await?;
    pods.create(&PostParams::default(), &pod::sleeper("new", "edge1")?).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(pods.get_opt("old").await?.is_some(), "a pod that may still run is not forgotten");
    stack.link.set(Fault::None);

    pod::ready(&stack.client(), "new", LIMIT).await?;
    eventually("the deleted pod is gone", LIMIT, || async {
        match pods.get_opt("old").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    settled(&containerd, 2).await?;
    Ok(())
}

#[tokio::test]
async fn a_forced_deletion_while_the_link_was_cut_ends_the_container_when_it_heals() -> Result<()> {
    let (containerd, stack) = installation().await?;
    run(&stack, "old").await?;
    settled(&containerd, 2).await?;
    let pods: Api<Pod> = Api::namespaced(stack.client(), "default");
    stack.link.set(Fault::Refuse);
    pods.delete("old", &DeleteParams::default().grace_period(0)).await?;
    eventually("the pod is gone from the API", LIMIT, || async {
        match pods.get_opt("old").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    assert_eq!(tasks(&containerd)?.len(), 2);
    stack.link.set(Fault::None);
    settled(&containerd, 0).await?;
    Ok(())
}
