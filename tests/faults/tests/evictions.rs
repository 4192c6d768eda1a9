//! An agent that is killed while a pod has to go for the good of the node.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::containerd::{cgroups, mounts_below};
use e2e::{Containerd, EdgeOptions, Stack, StackOptions, eventually, pod};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const ROUNDS: usize = 4;

/// Makes any machine short of memory, or none.
fn threshold(stack: &Stack, memory: &str) -> Result<()> {
    let path = stack.dir().join("edgecore.yaml");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    // A hard threshold would be taken from what pods may ask for, and no machine has that much.
    let kubelet = &mut config["modules"]["edged"]["tailoredKubeletConfig"];
    kubelet["evictionSoft"] = json!({ "memory.available": memory });
    kubelet["evictionSoftGracePeriod"] = json!({ "memory.available": "0s" });
    kubelet["evictionPressureTransitionPeriod"] = json!("1s");
    Ok(std::fs::write(&path, serde_json::to_vec(&config)?)?)
}

/// What pods have on the machine: sandboxes and containers, mounts, groups, ends of veth pairs.
fn left(containerd: &Containerd) -> Result<Vec<String>> {
    let mut left: Vec<String> =
        containerd.ctr(&["containers", "ls", "-q"])?.lines().map(str::to_owned).collect();
    left.extend(containerd.mounts().iter().map(|mount| mount.display().to_string()));
    let root = containerd.cgroup_root();
    let groups = cgroups(root.trim_start_matches('/'));
    let classes = ["kubepods", "kubepods/burstable", "kubepods/besteffort"];
    for dir in groups.iter().flat_map(|root| classes.iter().map(|class| root.join(class))) {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path().display().to_string());
        left.extend(paths.filter(|path| path.rsplit('/').next().is_some_and(|name| name.starts_with("pod"))));
    }
    let bridge = root.trim_start_matches("/skerry-");
    let out = Command::new("ip").args(["-o", "link", "show", "master", bridge]).output()?;
    left.extend(String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned));
    Ok(left)
}

/// A pod with volumes in memory: one of its own, and its token.
fn holder(name: &str) -> Result<Pod> {
    let mut pod = serde_json::to_value(pod::sleeper(name, "edge1")?)?;
    pod["spec"]["automountServiceAccountToken"] = true.into();
    pod["spec"]["volumes"] = json!([{ "name": "kept", "emptyDir": { "medium": "Memory" } }]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "kept", "mountPath": "/kept" }]);
    Ok(serde_json::from_value(pod)?)
}

#[tokio::test]
async fn a_pod_that_has_to_go_goes_once_whenever_the_agent_is_killed_in_the_middle() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    let containerd = Containerd::start(stack.dir()).await?;
    stack.join(&EdgeOptions::on(&containerd)).await?;
    stack.node_ready("edge1", LIMIT).await?;
    let pods: Api<Pod> = Api::namespaced(stack.client(), "default");
    let volumes = stack.dir().join("edge/kubelet");
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..ROUNDS {
        let name = format!("goes-{round}");
        pods.create(&PostParams::default(), &holder(&name)?).await?;
        pod::ready(&stack.client(), &name, LIMIT).await?;
        let held = left(&containerd)?;
        let holds = |what: &str| held.iter().any(|one| one.contains(what));
        ensure!(holds("veth") && holds("/pod") && holds("/rootfs") && holds("netns"), "{held:?}");
        ensure!(mounts_below(&volumes).len() == 2, "{:?}", mounts_below(&volumes));
        threshold(&stack, "1000Gi")?;
        stack.edge_mut()?.restart()?;
        // From before it is decided to after it is done.
        tokio::time::sleep(Duration::from_millis(random.u64(30..1500))).await;
        stack.edge_mut()?.kill();
        // Until it is known how it ends, the machine stays short: it has to go however far it was.
        stack.edge_mut()?.restart()?;
        let gone = eventually(&format!("{name} has gone"), LIMIT, || async {
            let pod = pods.get(&name).await.map_err(|error| error.to_string())?;
            let status = pod.status.unwrap_or_default();
            if status.phase.as_deref() == Some("Failed") { Ok(status) } else { Err(format!("{status:?}")) }
        })
        .await?;
        ensure!(gone.reason.as_deref() == Some("Evicted"), "{gone:?}");
        let message = gone.message.clone().unwrap_or_default();
        ensure!(message.starts_with("The node was low on resource: memory. "), "{message}");
        let restarts = gone.container_statuses.iter().flatten().map(|one| one.restart_count).sum::<i32>();
        ensure!(restarts == 0, "it did not come back: {gone:?}");
        eventually("nothing of it runs", LIMIT, || async {
            let tasks = containerd.ctr(&["tasks", "ls", "-q"]).map_err(|error| error.to_string())?;
            if tasks.trim().is_empty() { Ok(()) } else { Err(tasks) }
        })
        .await?;
        eventually("its volumes are given back", LIMIT, || async {
            let mounts = mounts_below(&volumes);
            if mounts.is_empty() { Ok(()) } else { Err(mounts) }
        })
        .await?;
        // What is told of it in words is what its status says, and it is told once.
        let events: Api<Event> = Api::namespaced(stack.client(), "default");
        let told = eventually("the event is there", LIMIT, || async {
            let about = ListParams::default().fields(&format!("involvedObject.name={name},reason=Evicted"));
            let told = events.list(&about).await.map_err(|error| error.to_string())?.items;
            if told.is_empty() { Err("none".to_owned()) } else { Ok(told) }
        })
        .await?;
        let count: i32 = told.iter().map(|event| event.count.unwrap_or(1)).sum();
        ensure!(count == 1, "told {count} times: {told:?}");
        ensure!(told[0].message.as_deref() == Some(message.as_str()), "{told:?}");
        threshold(&stack, "0")?;
        stack.edge_mut()?.restart()?;
        pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
        eventually("nothing of it is left", LIMIT, || async {
            let left = left(&containerd).map_err(|error| vec![error.to_string()])?;
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await?;
        eventually("the node takes pods again", LIMIT, || async {
            let nodes = stack.kubectl(&["get", "node", "edge1", "-o", "jsonpath={.spec.taints[*].key}"]);
            let taints = nodes.map_err(|error| error.to_string())?;
            if taints.contains("memory-pressure") { Err(taints) } else { Ok(()) }
        })
        .await?;
    }
    Ok(())
}
