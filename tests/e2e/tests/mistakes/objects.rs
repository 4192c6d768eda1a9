//! Config maps and secrets.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::ward::{SLEEP, Ward, container, mounting, pod};

fn object(kind: &str, name: &str, key: &str, value: &str) -> Value {
    let data = if kind == "Secret" { "stringData" } else { "data" };
    json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": name }, data: { key: value } })
}

pub(crate) async fn a_map_or_secret_of_a_variable_is_missing_then_its_key(
    ward: &Ward,
    kind: &str,
) -> Result<()> {
    let name = format!("{}-in-variable", kind.to_lowercase());
    let reference = if kind == "Secret" { "secretKeyRef" } else { "configMapKeyRef" };
    let mut waits = pod(&name, &format!("test \"$MODE\" = good || exit 3; {SLEEP}"));
    let from = json!({ reference: { "name": name, "key": "mode" } });
    container(&mut waits)["env"] = json!([{ "name": "MODE", "valueFrom": from }]);
    ward.apply(&waits).await?;
    let lines = [
        "Status: Pending",
        "State: Waiting",
        "Reason: CreateContainerConfigError",
        "Ready: False",
        "PodReadyToStartContainers True",
        "Initialized True",
        "Ready False",
        "ContainersReady False",
        "PodScheduled True",
    ];
    let none = format!("kubelet Error: {} \"{name}\" not found", kind.to_lowercase());
    ward.told(&name, &lines, &[("Warning Failed", &none)]).await?;
    let uid = ward.uid(&name).await?;

    ward.apply(&object(kind, &name, "other", "good")).await?;
    let no_key = format!("couldn't find key mode in {kind} default/{name}");
    ward.told(&name, &lines, &[("Warning Failed", &format!("kubelet Error: {no_key}"))]).await?;
    ward.waits_because(&name, &no_key).await?;

    ward.apply(&object(kind, &name, "mode", "good")).await?;
    ward.well(&name, &uid).await
}

pub(crate) async fn a_map_or_secret_of_a_volume_is_missing_then_its_key(
    ward: &Ward,
    kind: &str,
) -> Result<()> {
    let name = format!("{}-in-volume", kind.to_lowercase());
    let items = json!([{ "key": "mode", "path": "mode" }]);
    let volume = if kind == "Secret" {
        json!({ "secret": { "secretName": name, "items": items } })
    } else {
        json!({ "configMap": { "name": name, "items": items } })
    };
    let waits = mounting(pod(&name, &format!("test $(cat /v/mode) = good || exit 3; {SLEEP}")), volume);
    ward.apply(&waits).await?;
    let lines = [
        "Status: Pending",
        "State: Waiting",
        "Reason: ContainerCreating",
        "Ready: False",
        "PodReadyToStartContainers False",
        "Initialized True",
        "Ready False",
        "ContainersReady False",
        "PodScheduled True",
    ];
    let setup = "kubelet MountVolume.SetUp failed for volume \"v\" :";
    let none = format!("{setup} {} \"{name}\" not found", kind.to_lowercase());
    ward.told(&name, &lines, &[("Warning FailedMount", &none)]).await?;
    let uid = ward.uid(&name).await?;

    ward.apply(&object(kind, &name, "other", "good")).await?;
    let no_key = match kind {
        "Secret" => "references non-existent secret key: mode",
        _ => "configmap references non-existent config key: mode",
    };
    ward.told(&name, &lines, &[("Warning FailedMount", &format!("{setup} {no_key}"))]).await?;

    ward.apply(&object(kind, &name, "mode", "good")).await?;
    ward.well(&name, &uid).await
}

pub(crate) async fn a_secret_is_too_large_for_the_api_then_for_a_variable(ward: &Ward) -> Result<()> {
    let name = "secret-too-large";
    let of_size = |bytes: usize| object("Secret", name, "k", &"x".repeat(bytes));
    let mut big = pod(name, SLEEP);
    let from = json!({ "secretKeyRef": { "name": name, "key": "k" } });
    container(&mut big)["env"] = json!([{ "name": "BIG", "valueFrom": from }]);
    container(&mut big)["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
    ward.apply(&big).await?;

    let refused = ward.refused("create", &of_size((1 << 20) + 1)).await?;
    let words =
        format!("The Secret \"{name}\" is invalid: data: Too long: may not be more than 1048576 bytes");
    ensure!(refused.contains(&words), "{refused}");
    let map = object("ConfigMap", name, "k", &"x".repeat((1 << 20) + 1));
    let refused = ward.refused("create", &map).await?;
    let words =
        format!("The ConfigMap \"{name}\" is invalid: []: Too long: may not be more than 1048576 bytes");
    ensure!(refused.contains(&words), "{refused}");
    let refused = ward.refused("apply", &of_size(1 << 18)).await?;
    let words = format!(
        "The Secret \"{name}\" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes"
    );
    ensure!(refused.contains(&words), "{refused}");
    let none = format!("kubelet Error: secret \"{name}\" not found");
    ward.told(name, &["Reason: CreateContainerConfigError"], &[("Warning Failed", &none)]).await?;
    let uid = ward.uid(name).await?;

    // As large as may be for the API, too large for the kernel, which starts no program with a variable like that.
    ward.create(&of_size(1 << 20)).await?;
    let lines = [
        "State: Waiting",
        "Reason: CrashLoopBackOff",
        "Last State: Terminated",
        "Ready: False",
        "Ready False",
    ];
    let told = format!("kubelet Back-off restarting failed container c in pod {name}_default({uid})");
    ward.told(name, &lines, &[("Warning BackOff", &told)]).await?;
    let last = ward.field(name, ".status.containerStatuses[0].lastState.terminated.message").await?;
    ensure!(last.contains("argument list too long"), "{last}");

    ward.kubectl(&["delete", "secret", name]).await?;
    ward.apply(&of_size(2_000)).await?;
    ward.well(name, &uid).await
}
