//! `keadm device convert`: a v1alpha2 manifest of KubeEdge's is applied and works, what would be lost is named, and a cluster that still has
//! such objects is told how to get rid of them.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{EdgeOptions, Sensor, Stack, StackOptions, binary, device, eventually};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

fn convert(manifest: &str, more: &[&str]) -> Result<Output> {
    let mut keadm = Command::new(binary("keadm")?)
        .args(["device", "convert", "-f", "-"])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    keadm.stdin.take().context("a pipe")?.write_all(manifest.as_bytes())?;
    Ok(keadm.wait_with_output()?)
}

fn converted(manifest: &str, more: &[&str]) -> Result<String> {
    let output = convert(manifest, more)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

const ROOM: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: room, namespace: default}
data: {mode: "0644"}   # octal elsewhere
---
apiVersion: devices.kubeedge.io/v1alpha2
kind: DeviceModel
metadata: {name: room, namespace: default}
spec:
  properties:
  - name: temperature
    type: {float: {accessMode: ReadOnly, minimum: -40, maximum: 150, unit: celsius}}
  - name: lamp
    type: {string: {accessMode: ReadWrite}}
---
apiVersion: devices.kubeedge.io/v1alpha2
kind: Device
metadata: {name: room-1, namespace: default}
spec:
  deviceModelRef: {name: room}
  nodeSelector:
    nodeSelectorTerms:
    - matchExpressions:
      - {key: kubernetes.io/hostname, operator: In, values: [edge1]}
status:
  twins:
  - propertyName: temperature
    reported: {value: "3"}
  - propertyName: lamp
    desired: {value: "on"}
"#;

#[tokio::test]
async fn a_device_of_v1alpha2_works_once_it_is_converted() -> Result<()> {
    let mut stack = Stack::start(StackOptions::default()).await?;
    stack.join(&EdgeOptions::default()).await?;
    let refused = stack.apply(ROOM).expect_err("v1alpha2 is not served").to_string();
    ensure!(
        refused.contains("no matches for kind \"Device\" in version \"devices.kubeedge.io/v1alpha2\""),
        "{refused}"
    );

    for form in ["yaml", "json"] {
        stack.apply(&converted(ROOM, &["-o", form])?)?;
    }
    let mut sensor = Sensor::new("room", stack.mqtt_port());
    sensor.publish(&device::update_topic("room-1"), &device::reading("temperature", "21"), LIMIT).await?;
    eventually("the device is healthy", LIMIT, || async {
        let shown = stack.kubectl(&["get", "devices", "room-1"]).map_err(|error| error.to_string())?;
        if shown.contains("edge1") && shown.contains("Healthy") { Ok(()) } else { Err(shown) }
    })
    .await?;
    let device: Value = serde_json::from_str(&stack.kubectl(&["get", "device", "room-1", "-o", "json"])?)?;
    let wanted = json!([{"name": "temperature", "reportToCloud": true},
        {"name": "lamp", "reportToCloud": true, "desired": {"value": "on"}}]);
    ensure!(device["spec"]["properties"] == wanted, "{device}");
    let mode = stack.kubectl(&["get", "configmap", "room", "-o", "jsonpath={.data.mode}"])?;
    ensure!(mode == "0644", "what is no device is passed on as it is: {mode}");
    Ok(())
}

#[test]
fn what_would_be_lost_is_named_and_nothing_is_written() -> Result<()> {
    let lossy = ROOM.replace("accessMode: ReadWrite", "accessMode: ReadWrite, defaultValue: dim");
    let lost = "DeviceModel default/room: spec.properties[1].type.string.defaultValue is lost";
    let elsewhere = ROOM.replace("values: [edge1]", "values: [edge1, edge2]");
    for (manifest, more, code, words) in [
        (lossy.as_str(), &[][..], 3, lost),
        (lossy.as_str(), &["--accept-loss"], 0, lost),
        (elsewhere.as_str(), &["--accept-loss"], 3, "--node=default/room-1=edge1"),
        (elsewhere.as_str(), &["--node=room-1=edge2"], 0, "2 converted, 1 passed on as they are"),
        (ROOM, &["--node=room-2=edge2"], 2, "there is no device room-2"),
        (ROOM, &["-f", "-"], 2, "-f - is given twice"),
        (ROOM, &["--node=Edge"], 2, "cannot name a node"),
        ("a: [", &[], 1, "is not valid YAML"),
        ("# nothing\n", &[], 1, "there is nothing to convert"),
    ] {
        let output = convert(manifest, more)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code) && said.contains(words), "{more:?}: {said}");
        ensure!(output.stdout.is_empty() == (code != 0), "{more:?}: {said}");
    }
    Ok(())
}

/// The definition of KubeEdge's devices as far as it matters: both versions, and the older one stored.
fn with_v1alpha2(stack: &Stack, stored: &str) -> Result<()> {
    let mut crd: Value = serde_json::from_str(&stack.kubectl(&["get", "crd", CRD, "-o", "json"])?)?;
    let versions = crd["spec"]["versions"].as_array_mut().context("versions")?;
    versions.retain(|version| version["name"] == "v1beta1");
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    versions
        .push(json!({"name": "v1alpha2", "served": true, "storage": false, "schema": {"openAPIV3Schema": {
        "type": "object", "properties": {"spec": open, "status": open}}}}));
    for version in versions {
        version["storage"] = (version["name"] == stored).into();
    }
    let path = stack.dir().join("crd.json");
    std::fs::write(&path, crd.to_string())?;
    stack.kubectl(&["replace", "-f", &path.to_string_lossy()]).map(drop)
}

const CRD: &str = "devices.devices.kubeedge.io";

#[tokio::test]
async fn a_cluster_that_still_stores_v1alpha2_is_told_how_to_move_on_before_anything_is_changed() -> Result<()>
{
    let stack = Stack::start(StackOptions::default()).await?;
    with_v1alpha2(&stack, "v1alpha2")?;
    let lamp = ROOM.rsplit("---").next().context("a device")?;
    eventually("v1alpha2 is served", LIMIT, || async {
        stack.apply(lamp).map_err(|error| error.to_string())
    })
    .await?;
    with_v1alpha2(&stack, "v1beta1")?;
    let new = "apiVersion: devices.kubeedge.io/v1beta1\nkind: Device\nmetadata: {name: new}\nspec: {nodeName: edge9}\n";
    stack.apply(new)?;

    let root = tempfile::tempdir()?;
    let kubeconfig = stack.kubeconfig();
    // A port that is taken keeps it from being installed once the cluster is in order.
    let taken = TcpListener::bind(("127.0.0.1", 0))?;
    let port = format!("modules.cloudHub.websocket.port={}", taken.local_addr()?.port());
    let init = || -> Result<String> {
        let output = Command::new(binary("keadm")?)
            .args(["init", "--set", &port, "--kube-config", &kubeconfig.to_string_lossy()])
            .env("KEADM_ROOT", root.path())
            .output()?;
        ensure!(output.status.code() == Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stderr)?)
    };
    let said = init()?;
    let patch = r#"{"status":{"storedVersions":["v1beta1"]}}"#;
    for words in [
        "devices of the cluster may still be stored as devices.kubeedge.io/v1alpha2",
        "kubectl get devices.v1alpha2.devices.kubeedge.io -A -o yaml | keadm device convert -f - > devices.yaml",
        &format!("kubectl patch crd {CRD} --subresource=status --type=merge -p '{patch}'"),
    ] {
        ensure!(said.contains(words), "{words}: {said}");
    }

    // What it says, done; from the manifest, since the cloudcore of this cluster has written a v1beta1 status by now, and the API dropped what
    // v1beta1 has not.
    stack.apply(&converted(lamp, &[])?)?;
    stack.kubectl(&["patch", "crd", CRD, "--subresource=status", "--type=merge", "-p", patch])?;
    let said = init()?;
    ensure!(!said.contains("v1alpha2") && said.contains("is in use"), "{said}");
    let node = |name: &str| stack.kubectl(&["get", "device", name, "-o", "jsonpath={.spec.nodeName}"]);
    ensure!(node("room-1")? == "edge1" && node("new")? == "edge9", "both are as they should be");
    Ok(())
}
