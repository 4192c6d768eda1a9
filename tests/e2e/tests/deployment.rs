//! A Deployment on a real edge node: its pods are made, placed, run, rolled over and ended, whoever is killed meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use e2e::{Containerd, EdgeOptions, Stack, StackOptions, eventually, image::BUSYBOX};

const LIMIT: Duration = Duration::from_secs(60);

async fn installation() -> Result<(Containerd, Stack)> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    let containerd = Containerd::start(stack.dir()).await?;
    stack.join(&EdgeOptions::on(&containerd)).await?;
    stack.node_ready("edge1", LIMIT).await?;
    Ok((containerd, stack))
}

fn web(replicas: u32, color: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: {BUSYBOX}
        imagePullPolicy: IfNotPresent
        env: [{{name: COLOR, value: "{color}"}}]
        command: ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM; while :; do /bin/busybox sleep 0.2; done"]
"#
    )
}

async fn rolled_out(stack: &Stack) -> Result<()> {
    eventually("the rollout is through", LIMIT, || async {
        let args = ["rollout", "status", "deployment/web", "--watch=false"];
        let said = stack.kubectl(&args).map_err(|error| error.to_string())?;
        if said.contains("successfully rolled out") { Ok(()) } else { Err(said) }
    })
    .await
}

/// The pods that are not about to go: name, colour and node.
fn pods(stack: &Stack) -> Result<BTreeSet<(String, String, String)>> {
    let list = stack.kubectl(&["get", "pods", "-l", "app=web", "-o", "json"])?;
    let list: serde_json::Value = serde_json::from_str(&list)?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| {
            let color = &pod["spec"]["containers"][0]["env"][0]["value"];
            (text(&pod["metadata"]["name"]), text(color), text(&pod["spec"]["nodeName"]))
        })
        .collect())
}

/// Waits until the runtime holds the containers and sandboxes of `count` pods and nothing else.
async fn runs(containerd: &Containerd, count: usize) -> Result<BTreeSet<String>> {
    eventually(&format!("the runtime holds {count} pods"), LIMIT, || async {
        let tasks = containerd.ctr(&["tasks", "ls"]).map_err(|error| error.to_string())?;
        let running: BTreeSet<String> = tasks
            .lines()
            .skip(1)
            .filter(|line| line.contains("RUNNING"))
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .collect();
        if running.len() == 2 * count && tasks.lines().count() == 2 * count + 1 {
            Ok(running)
        } else {
            Err(tasks)
        }
    })
    .await
}

#[tokio::test]
async fn a_deployment_is_placed_replaced_scaled_and_ended_on_an_edge_node() -> Result<()> {
    let (containerd, stack) = installation().await?;
    stack.apply(&web(2, "blue"))?;
    rolled_out(&stack).await?;
    let first = pods(&stack)?;
    assert_eq!(first.len(), 2, "{first:?}");
    assert!(first.iter().all(|(name, _, node)| name.starts_with("web-") && node == "edge1"), "{first:?}");
    let before = runs(&containerd, 2).await?;

    let victim = first.first().map(|(name, ..)| name.clone()).unwrap_or_default();
    stack.kubectl(&["delete", "pod", &victim])?;
    rolled_out(&stack).await?;
    let second = pods(&stack)?;
    assert_eq!(second.len(), 2, "{second:?}");
    assert_eq!(second.intersection(&first).count(), 1, "one stays, one is new: {first:?} {second:?}");
    let after = runs(&containerd, 2).await?;
    assert_eq!(
        after.intersection(&before).count(),
        2,
        "the other pod's sandbox and container are not touched"
    );

    stack.kubectl(&["scale", "deployment/web", "--replicas=5"])?;
    rolled_out(&stack).await?;
    runs(&containerd, 5).await?;
    stack.kubectl(&["delete", "deployment", "web"])?;
    runs(&containerd, 0).await?;
    eventually("its pods are gone", LIMIT, || async {
        let left = stack.kubectl(&["get", "pods,rs", "-o", "name"]).map_err(|error| error.to_string())?;
        if left.trim().is_empty() { Ok(()) } else { Err(left) }
    })
    .await
}

#[tokio::test]
async fn a_rollout_survives_kills_of_cloud_and_edge_in_the_middle_of_it() -> Result<()> {
    let (containerd, mut stack) = installation().await?;
    stack.apply(&web(4, "blue"))?;
    rolled_out(&stack).await?;
    runs(&containerd, 4).await?;

    for (round, color) in ["green", "red", "white"].into_iter().enumerate() {
        stack.apply(&web(4, color))?;
        eventually("the rollout is in the middle", LIMIT, || async {
            let pods = pods(&stack).map_err(|error| error.to_string())?;
            let new = pods.iter().filter(|(_, seen, _)| seen == color).count();
            if new > 0 { Ok(()) } else { Err(format!("{pods:?}")) }
        })
        .await?;
        if round != 1 {
            stack.cloud.restart()?;
        }
        if round != 0 {
            stack.edge_mut()?.restart()?;
        }
        eventually("the API answers", LIMIT, || async {
            stack.kubectl(&["get", "--raw", "/readyz"]).map(drop).map_err(|error| error.to_string())
        })
        .await?;
        rolled_out(&stack).await?;
        let pods = pods(&stack)?;
        assert_eq!(pods.len(), 4, "{pods:?}");
        assert!(pods.iter().all(|(_, seen, _)| seen == color), "{pods:?}");
        runs(&containerd, 4).await?;
    }
    let history = stack.kubectl(&["rollout", "history", "deployment/web"])?;
    let revisions: Vec<&str> = history.lines().filter(|line| line.starts_with(char::is_numeric)).collect();
    assert_eq!(revisions.len(), 4, "{history}");
    Ok(())
}
