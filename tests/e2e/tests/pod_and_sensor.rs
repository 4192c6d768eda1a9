//! The way that a newcomer takes: a pod on an edge node and a sensor's reading in the cloud.

use std::time::Duration;

use anyhow::Result;
use e2e::{Containerd, EdgeOptions, Sensor, Stack, StackOptions, device, eventually, image::BUSYBOX, pod};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);

async fn installation() -> Result<(Containerd, Stack)> {
    installation_with(StackOptions::default()).await
}

async fn installation_with(options: StackOptions) -> Result<(Containerd, Stack)> {
    let mut stack = Stack::start(options).await?;
    let containerd = Containerd::start(stack.dir()).await?;
    stack.join(&EdgeOptions::on(&containerd)).await?;
    stack.node_ready("edge1", LIMIT).await?;
    Ok((containerd, stack))
}

async fn prints(stack: &Stack, args: &[&str], wanted: &str) -> Result<String> {
    eventually(&format!("kubectl {} prints {wanted:?}", args.join(" ")), LIMIT, || async {
        let out = stack.kubectl(args).map_err(|error| error.to_string())?;
        if out.contains(wanted) { Ok(out) } else { Err(out) }
    })
    .await
}

#[tokio::test]
async fn kubectl_shows_the_node_the_running_pod_and_the_reading() -> Result<()> {
    let (_containerd, stack) = installation().await?;
    a_newcomers_way(&stack).await
}

/// The cluster is another control plane of ours, whose cloudcore serves no nodes: no other can be had where this runs.
#[tokio::test]
async fn it_is_the_same_beside_a_cluster_that_cloudcore_reaches_by_kubeconfig() -> Result<()> {
    let off = json!({"enable": false});
    let nothing_else = json!({"modules": {
        "cloudHub": off, "edgeController": off, "deviceController": off, "syncController": off, "taskManager": off,
    }});
    let cluster =
        Stack::start(StackOptions { cloud_overlay: nothing_else, ..StackOptions::default() }).await?;
    let options = StackOptions { cluster: Some(cluster.kubeconfig()), ..StackOptions::default() };
    let (_containerd, mut stack) = installation_with(options).await?;
    anyhow::ensure!(!stack.dir().join("cloud").exists(), "cloudcore has a control plane of its own");
    a_newcomers_way(&stack).await?;
    stack.cloud.restart()?;
    a_newcomers_way(&stack).await
}

async fn a_newcomers_way(stack: &Stack) -> Result<()> {
    let node = stack.kubectl(&["get", "nodes", "-o", "wide"])?;
    assert!(node.contains("edge1") && node.contains("Ready") && node.contains("containerd://"), "{node}");

    stack.apply(&format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {{name: greeting}}
data: {{hello.txt: "hello from a config map\n"}}
---
apiVersion: v1
kind: Secret
metadata: {{name: pass}}
stringData: {{word: open-sesame}}
---
apiVersion: v1
kind: Pod
metadata: {{name: web}}
spec:
  nodeName: edge1
  terminationGracePeriodSeconds: 1
  volumes:
  - name: greeting
    configMap: {{name: greeting}}
  - name: scratch
    emptyDir: {{}}
  containers:
  - name: web
    image: {BUSYBOX}
    env:
    - name: WORD
      valueFrom: {{secretKeyRef: {{name: pass, key: word}}}}
    command: ["/bin/sh", "-c", "cat /greeting/hello.txt > /scratch/index.html; echo $WORD >> /scratch/index.html; exec httpd -f -p 8080 -h /scratch"]
    volumeMounts:
    - {{name: greeting, mountPath: /greeting}}
    - {{name: scratch, mountPath: /scratch}}
"#
    ))?;
    let ready = pod::ready(&stack.client(), "web", LIMIT).await?;
    let line = stack.kubectl(&["get", "pods", "-o", "wide"])?;
    let ip = ready.status.and_then(|status| status.pod_ip).unwrap_or_default();
    assert!(
        line.contains("1/1") && line.contains("Running") && line.contains(&ip) && !ip.is_empty(),
        "{line}"
    );
    let page = eventually("the pod serves its page", LIMIT, || async {
        page(&ip).map_err(|error| error.to_string())
    })
    .await?;
    assert!(page.contains("hello from a config map\nopen-sesame"), "{page}");

    device::apply_thermometer(&stack.client(), "edge1", "sensor1").await?;
    let mut sensor = Sensor::new("sensor1", stack.mqtt_port());
    sensor.report("sensor1", "temperature", "21.5", LIMIT).await?;
    prints(stack, &["get", "devicestatuses"], "21.5").await?;
    let devices = stack.kubectl(&["get", "devices"])?;
    assert!(devices.contains("sensor1") && devices.contains("edge1"), "{devices}");

    stack.kubectl(&["delete", "pod", "web", "--timeout=20s"])?;
    assert!(stack.kubectl(&["get", "pod", "web"]).is_err());
    Ok(())
}

/// What the web server at `ip` answers.
fn page(ip: &str) -> Result<String> {
    use std::io::{BufRead, BufReader, Write};
    let address: std::net::SocketAddr = format!("{ip}:8080").parse()?;
    let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let lines: Result<Vec<String>, _> = BufReader::new(stream).lines().take(100).collect();
    Ok(lines?.join("\n"))
}

#[tokio::test]
async fn an_image_that_does_not_exist_ends_in_back_off_with_the_runtimes_words() -> Result<()> {
    let (_containerd, stack) = installation().await?;
    stack.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: lost}
spec:
  nodeName: edge1
  containers:
  - {name: main, image: "127.0.0.1:1/no/such:image"}
"#,
    )?;
    let seen = eventually("the pod shows a pull failure", LIMIT, || async {
        let line = stack.kubectl(&["get", "pod", "lost"]).map_err(|error| error.to_string())?;
        if line.contains("ErrImagePull") || line.contains("ImagePullBackOff") { Ok(line) } else { Err(line) }
    })
    .await?;
    assert!(seen.contains("0/1"), "{seen}");
    prints(&stack, &["get", "pod", "lost"], "ImagePullBackOff").await?;
    let described = prints(&stack, &["describe", "pod", "lost"], "Failed to pull image").await?;
    assert!(described.contains("127.0.0.1:1/no/such:image"), "{described}");
    stack.kubectl(&["delete", "pod", "lost", "--timeout=40s"])?;
    Ok(())
}

#[tokio::test]
async fn a_value_outside_the_model_is_refused_with_the_reason_and_changes_nothing() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    device::apply_thermometer(&stack.client(), "edge1", "sensor1").await?;
    let mut sensor = Sensor::new("sensor1", stack.mqtt_port());
    sensor.report("sensor1", "temperature", "20", LIMIT).await?;
    prints(&stack, &["get", "devicestatuses"], "20").await?;
    for bad in ["hot", "200000000"] {
        let error = sensor.report("sensor1", "temperature", bad, LIMIT).await.unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("temperature"), "the reason names the property: {text}");
    }
    sensor.report("sensor1", "temperature", "22", LIMIT).await?;
    prints(&stack, &["get", "devicestatuses"], "22").await?;
    Ok(())
}

#[tokio::test]
async fn the_api_servers_words_reach_the_user_for_every_kind_of_bad_manifest() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let rows = [
        (
            "unknown field",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {nodeNam: x, containers: [{name: c, image: i}]}\n",
            "unknown field \"spec.nodeNam\"",
        ),
        (
            "wrong type",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: 5}]}\n",
            "cannot unmarshal number",
        ),
        ("bad name", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Not_Legal}\n", "RFC 1123 subdomain"),
        (
            "missing field",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{image: i}]}\n",
            "spec.containers[0].name: Required value",
        ),
        (
            "custom schema",
            "apiVersion: devices.kubeedge.io/v1beta1\nkind: DeviceModel\nmetadata: {name: m}\nspec: {properties: [{name: t, type: HOT}]}\n",
            "Unsupported value: \"HOT\"",
        ),
    ];
    for (what, manifest, words) in rows {
        let error = stack.apply(manifest).expect_err(what).to_string();
        assert!(error.contains(words), "{what}: {error}");
    }
    Ok(())
}
