//! Pods while the agent, the runtime or the cloud is gone.

use std::time::Duration;

use anyhow::Result;
use e2e::{Engine, Fault, Runtime, Stack, StackOptions, eventually, pod};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};

const LIMIT: Duration = Duration::from_secs(60);

/// Makes each of these functions a test on each runtime.
macro_rules! on_each_runtime {
    ($($name:ident),+ $(,)?) => {
        mod containerd {
            $(#[tokio::test]
            async fn $name() -> anyhow::Result<()> {
                super::$name(e2e::Runtime::Containerd).await
            })+
        }
        mod docker {
            $(#[tokio::test]
            async fn $name() -> anyhow::Result<()> {
                super::$name(e2e::Runtime::Docker).await
            })+
        }
    };
}

on_each_runtime!(
    containers_run_on_and_are_adopted_when_the_agent_is_killed_with_and_without_its_cloud,
    a_node_that_was_rebooted_without_its_cloud_starts_its_pods,
    a_crash_of_the_runtime_touches_no_container,
    a_node_without_a_link_is_given_up_after_40_seconds_and_taken_back_with_all_its_pods,
    what_was_created_and_deleted_while_the_link_was_cut_is_done_when_it_heals,
    a_forced_deletion_while_the_link_was_cut_ends_the_container_when_it_heals,
);

async fn installation(runtime: Runtime) -> Result<(Engine, Stack)> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    let engine = Engine::start(runtime, stack.dir()).await?;
    stack.join(&engine.options()).await?;
    stack.node_ready("edge1", LIMIT).await?;
    Ok((engine, stack))
}

async fn run(stack: &Stack, name: &str) -> Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(stack.client(), "default");
    pods.create(&PostParams::default(), &pod::sleeper(name, "edge1")?).await?;
    pod::ready(&stack.client(), name, LIMIT).await
}

async fn settled(engine: &Engine, count: usize) -> Result<Vec<String>> {
    eventually(&format!("{count} tasks run"), LIMIT, || async {
        let tasks = engine.tasks().map_err(|error| vec![error.to_string()])?;
        if tasks.len() == count { Ok(tasks) } else { Err(tasks) }
    })
    .await
}

async fn containers_run_on_and_are_adopted_when_the_agent_is_killed_with_and_without_its_cloud(
    runtime: Runtime,
) -> Result<()> {
    let (engine, mut stack) = installation(runtime).await?;
    run(&stack, "steady").await?;
    let before = settled(&engine, 2).await?;

    stack.edge_mut()?.restart()?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(engine.tasks()?, before, "the agent was killed and started again");

    stack.cloud.kill();
    stack.edge_mut()?.restart()?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(engine.tasks()?, before, "the same, while the cloud was away");

    stack.cloud.restart()?;
    stack.node_ready("edge1", LIMIT).await?;
    let again = pod::ready(&stack.client(), "steady", LIMIT).await?;
    let statuses = again.status.and_then(|status| status.container_statuses).unwrap_or_default();
    assert_eq!(statuses.iter().map(|status| status.restart_count).sum::<i32>(), 0);
    assert_eq!(engine.tasks()?, before);
    Ok(())
}

async fn a_node_that_was_rebooted_without_its_cloud_starts_its_pods(runtime: Runtime) -> Result<()> {
    let (mut engine, mut stack) = installation(runtime).await?;
    run(&stack, "steady").await?;
    settled(&engine, 2).await?;

    stack.cloud.kill();
    stack.edge_mut()?.kill();
    engine.power_off();
    engine.restart().await?;
    assert_eq!(engine.tasks()?, Vec::<String>::new(), "everything ended with the power");
    stack.edge_mut()?.restart()?;
    settled(&engine, 2).await?;

    stack.cloud.restart()?;
    pod::ready(&stack.client(), "steady", LIMIT).await?;
    Ok(())
}

async fn a_crash_of_the_runtime_touches_no_container(runtime: Runtime) -> Result<()> {
    let (mut engine, stack) = installation(runtime).await?;
    run(&stack, "steady").await?;
    let before = settled(&engine, 2).await?;
    engine.kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    engine.restart().await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(engine.tasks()?, before);
    stack.node_ready("edge1", LIMIT).await?;
    run(&stack, "second").await?;
    Ok(())
}

async fn a_node_without_a_link_is_given_up_after_40_seconds_and_taken_back_with_all_its_pods(
    runtime: Runtime,
) -> Result<()> {
    let (engine, stack) = installation(runtime).await?;
    let uid = run(&stack, "steady").await?.metadata.uid;
    let before = settled(&engine, 2).await?;
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
    assert_eq!(engine.tasks()?, before);

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
    assert_eq!(engine.tasks()?, before, "no container was touched");
    Ok(())
}

async fn what_was_created_and_deleted_while_the_link_was_cut_is_done_when_it_heals(
    runtime: Runtime,
) -> Result<()> {
    let (engine, stack) = installation(runtime).await?;
    run(&stack, "old").await?;
    settled(&engine, 2).await?;
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
    settled(&engine, 2).await?;
    Ok(())
}

async fn a_forced_deletion_while_the_link_was_cut_ends_the_container_when_it_heals(
    runtime: Runtime,
) -> Result<()> {
    let (engine, stack) = installation(runtime).await?;
    run(&stack, "old").await?;
    settled(&engine, 2).await?;
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
    assert_eq!(engine.tasks()?.len(), 2);
    stack.link.set(Fault::None);
    settled(&engine, 0).await?;
    Ok(())
}
