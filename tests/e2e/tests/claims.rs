//! Containers with a claim: their data lies on the node, and is there again after a reboot without the cloud.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use e2e::{Containerd, EdgeOptions, Stack, StackOptions, eventually, image::BUSYBOX};

const LIMIT: Duration = Duration::from_secs(60);

fn volume(name: &str, source: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  storageClassName: {name}
  persistentVolumeReclaimPolicy: Retain
{source}
---
"#
    )
}

fn claim(name: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}, namespace: default}}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: {name}
  resources: {{requests: {{storage: 1Gi}}}}
---
"#
    )
}

/// Writes a line at each start of its container.
fn writer(claims: &[&str]) -> String {
    let volumes: String = claims
        .iter()
        .map(|claim| format!("  - {{name: {claim}, persistentVolumeClaim: {{claimName: {claim}}}}}\n"))
        .collect();
    let mounts: String =
        claims.iter().map(|claim| format!("    - {{name: {claim}, mountPath: /{claim}}}\n")).collect();
    let writes: String = claims.iter().map(|claim| format!("echo started >> /{claim}/log; ")).collect();
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: writer, namespace: default}}
spec:
  nodeName: edge1
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  containers:
  - name: main
    image: {BUSYBOX}
    imagePullPolicy: Never
    command: ["/bin/sh", "-c", "{writes} trap 'exit 0' TERM; while :; do sleep 0.2; done"]
    volumeMounts:
{mounts}
  volumes:
{volumes}
"#
    )
}

async fn lines(file: &Path, count: usize) -> Result<()> {
    eventually(&format!("{count} lines in {}", file.display()), LIMIT, || async {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.lines().count() == count { Ok(()) } else { Err(text) }
    })
    .await
}

#[tokio::test]
async fn a_container_keeps_its_data_in_claimed_volumes_through_a_reboot_without_the_cloud() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    let mut containerd = Containerd::start(stack.dir()).await?;
    stack.join(&EdgeOptions::on(&containerd)).await?;
    stack.node_ready("edge1", LIMIT).await?;
    let (disk, folder) = (stack.dir().join("disk"), stack.dir().join("folder"));
    std::fs::create_dir(&disk)?;

    // Nothing is there yet: the pod says for what it waits.
    stack.apply(&writer(&["disk", "folder"]))?;
    let said = |words: &'static str| {
        let stack = &stack;
        eventually(words, LIMIT, move || async move {
            let told = stack.kubectl(&["describe", "pod", "writer"]).map_err(|error| error.to_string())?;
            if told.contains(words) { Ok(()) } else { Err(told) }
        })
    };
    said("persistentvolumeclaim \"disk\" not found").await?;
    stack.apply(&[claim("disk"), claim("folder")].concat())?;
    said("PVC is not bound").await?;
    let local = format!(
        "  local: {{path: {}}}\n  nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: \
         [{{key: kubernetes.io/hostname, operator: In, values: [edge1]}}]}}]}}}}",
        disk.display()
    );
    let host = format!("  hostPath: {{path: {}, type: DirectoryOrCreate}}", folder.display());
    stack.apply(&[volume("disk", &local), volume("folder", &host)].concat())?;
    e2e::pod::ready(&stack.client(), "writer", LIMIT * 3).await?;
    lines(&disk.join("log"), 1).await?;
    lines(&folder.join("log"), 1).await?;

    stack.cloud.kill();
    stack.edge_mut()?.kill();
    containerd.power_off();
    containerd.restart().await?;
    stack.edge_mut()?.restart()?;
    lines(&disk.join("log"), 2).await?;
    lines(&folder.join("log"), 2).await?;

    stack.cloud.restart()?;
    e2e::pod::ready(&stack.client(), "writer", LIMIT).await?;
    Ok(())
}
