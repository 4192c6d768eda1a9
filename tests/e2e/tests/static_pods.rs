//! Pods that a node has from a file, as users see them in the API.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use e2e::{Containerd, EdgeOptions, Fault, Stack, StackOptions, eventually, image::BUSYBOX, pod};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::DeleteParams};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);
const NAME: &str = "web-edge1";

fn manifest(color: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{color: {color}}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {BUSYBOX}
    imagePullPolicy: IfNotPresent
    command: ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM; while :; do /bin/busybox sleep 0.2; done"]
"#
    )
}

/// Ids of what runs, sandboxes included.
fn tasks(containerd: &Containerd) -> Result<BTreeSet<String>> {
    let tasks = containerd.ctr(&["tasks", "ls"])?;
    let running = tasks.lines().filter(|line| line.contains("RUNNING"));
    Ok(running.filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect())
}

#[tokio::test]
async fn a_static_pod_is_shown_in_the_api_and_only_its_file_ends_it() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    let containerd = Containerd::start(stack.dir()).await?;
    let dir = stack.dir().join("edge/manifests");
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("web.yaml"), manifest("blue"))?;
    let kubelet = json!({"fileCheckFrequency": "1s"});
    let overlay = json!({"modules": {"edged": {"tailoredKubeletConfig": kubelet}}});
    stack.join(&EdgeOptions { overlay, ..EdgeOptions::on(&containerd) }).await?;
    stack.node_ready("edge1", LIMIT).await?;
    let pods: Api<Pod> = Api::namespaced(stack.client(), "default");
    let first = pod::ready(&stack.client(), NAME, LIMIT).await?;
    assert!(first.annotations().contains_key("kubernetes.io/config.mirror"), "{:?}", first.annotations());
    assert_eq!(first.owner_references().first().map(|owner| owner.kind.as_str()), Some("Node"));
    let running = tasks(&containerd)?;

    // Whoever deletes it in the API deletes the picture only.
    pods.delete(NAME, &DeleteParams::default()).await?;
    eventually("it is shown again", LIMIT, || async {
        let shown = pods.get_opt(NAME).await.map_err(|error| error.to_string())?;
        match shown {
            Some(pod) if pod.uid() != first.uid() && pod::is_ready(&pod) => Ok(()),
            other => Err(format!("{:?}", other.map(|pod| (pod.uid(), pod.status)))),
        }
    })
    .await?;
    assert_eq!(tasks(&containerd)?, running, "no container was touched");

    // Changed while the link is cut: it follows at once, and is shown later.
    stack.link.set(Fault::Refuse);
    std::fs::write(dir.join("web.yaml"), manifest("green"))?;
    eventually("another container runs", LIMIT, || async {
        let tasks = tasks(&containerd).map_err(|error| error.to_string())?;
        if tasks.len() == 2 && tasks.is_disjoint(&running) { Ok(()) } else { Err(format!("{tasks:?}")) }
    })
    .await?;
    stack.link.set(Fault::None);
    eventually("the new one is shown", LIMIT, || async {
        let shown = pods.get_opt(NAME).await.map_err(|error| error.to_string())?;
        match shown {
            Some(pod)
                if pod.labels().get("color").is_some_and(|color| color == "green") && pod::is_ready(&pod) =>
            {
                Ok(())
            }
            other => Err(format!("{:?}", other.map(|pod| (pod.metadata, pod.status)))),
        }
    })
    .await?;

    std::fs::remove_file(dir.join("web.yaml"))?;
    eventually("it is gone", LIMIT, || async {
        let shown = pods.get_opt(NAME).await.map_err(|error| error.to_string())?;
        let tasks = tasks(&containerd).map_err(|error| error.to_string())?;
        if shown.is_none() && tasks.is_empty() {
            Ok(())
        } else {
            Err(format!("{tasks:?} {:?}", shown.map(|pod| pod.metadata)))
        }
    })
    .await
}

#[tokio::test]
async fn a_static_pod_whose_name_is_taken_is_told_at_the_node_and_at_the_pod_in_the_way() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    let containerd = Containerd::start(stack.dir()).await?;
    let dir = stack.dir().join("edge/manifests");
    std::fs::create_dir_all(&dir)?;
    let kubelet = json!({"fileCheckFrequency": "1s"});
    let overlay = json!({"modules": {"edged": {"tailoredKubeletConfig": kubelet}}});
    stack.join(&EdgeOptions { overlay, ..EdgeOptions::on(&containerd) }).await?;
    stack.node_ready("edge1", LIMIT).await?;
    let pods: Api<Pod> = Api::namespaced(stack.client(), "default");
    pods.create(&Default::default(), &pod::sleeper(NAME, "edge1")?).await?;
    let first = pod::ready(&stack.client(), NAME, LIMIT).await?;
    std::fs::write(dir.join("web.yaml"), manifest("blue"))?;
    let words = "static pod default/web-edge1 runs but is not shown in the API: another pod has its name";
    for of in ["pod", "node"] {
        let name = if of == "pod" { NAME } else { "edge1" };
        eventually(&format!("the {of} tells it"), LIMIT, || async {
            let text = stack.kubectl(&["describe", of, name]).map_err(|error| error.to_string())?;
            if text.contains("FailedMirrorPod") && text.contains(words) { Ok(()) } else { Err(text) }
        })
        .await?;
    }
    eventually("both run", LIMIT, || async {
        let tasks = tasks(&containerd).map_err(|error| error.to_string())?;
        if tasks.len() == 4 { Ok(()) } else { Err(format!("{tasks:?}")) }
    })
    .await?;
    // Once the name is free the static pod is shown by itself.
    pods.delete(NAME, &DeleteParams::default()).await?;
    eventually("it is shown", LIMIT, || async {
        match pods.get_opt(NAME).await.map_err(|error| error.to_string())? {
            Some(pod) if pod.uid() != first.uid() && pod::is_ready(&pod) => Ok(()),
            other => Err(format!("{:?}", other.map(|pod| (pod.uid(), pod.status)))),
        }
    })
    .await
}
