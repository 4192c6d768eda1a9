use serde_json::{Value, json};

use super::*;
use crate::registry::Registry;

fn now() -> Timestamp {
    "2026-11-21T06:12:18Z".parse().unwrap()
}

fn row(group: &str, plural: &str, object: &Value) -> Vec<String> {
    let registry = Registry::new();
    let resource = registry.resolve(group, "v1", plural).unwrap();
    let table = render(&resource, [object], json!({}), IncludeObject::None, true, now());
    for include in [IncludeObject::None, IncludeObject::Metadata] {
        let text = row_text(&resource, object.to_string().as_bytes(), include, now()).unwrap();
        let parsed: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(parsed, super::row(&resource, object, include, now()), "a stored object has the same row");
    }
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells.len(), table["columnDefinitions"].as_array().unwrap().len(), "a cell for every column");
    cells.iter().map(|cell| cell.as_str().map_or_else(|| cell.to_string(), ToOwned::to_owned)).collect()
}

fn pod(status: Value) -> Value {
    json!({"metadata": {"name": "web", "creationTimestamp": "2026-11-21T06:10:18Z"},
        "spec": {"nodeName": "edge1", "containers": [{"name": "a"}, {"name": "b"}]}, "status": status})
}

#[test]
fn a_running_pod_shows_readiness_restarts_and_place() {
    let status = json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.2"}], "containerStatuses": [
        {"name": "a", "ready": true, "restartCount": 2, "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": "2026-11-21T06:11:18Z"}}},
        {"name": "b", "ready": true, "restartCount": 0, "state": {"running": {}}}]});
    assert_eq!(
        row("", "pods", &pod(status)),
        ["web", "2/2", "Running", "2 (60s ago)", "2m", "10.0.0.2", "edge1", "<none>", "<none>"]
    );
}

#[test]
fn the_status_of_a_pod_is_what_keeps_it_from_running() {
    let of = |status: Value| row("", "pods", &pod(status))[2].clone();
    assert_eq!(of(json!({"phase": "Pending"})), "Pending");
    let waiting = |reason: &str| json!({"phase": "Pending", "containerStatuses": [{"name": "a", "state": {"waiting": {"reason": reason}}}]});
    assert_eq!(of(waiting("ImagePullBackOff")), "ImagePullBackOff");
    assert_eq!(of(waiting("CrashLoopBackOff")), "CrashLoopBackOff");
    let ended = |terminated: Value| json!({"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": terminated}}]});
    assert_eq!(of(ended(json!({"exitCode": 3}))), "ExitCode:3");
    assert_eq!(of(ended(json!({"exitCode": 137, "signal": 9}))), "Signal:9");
    assert_eq!(of(ended(json!({"exitCode": 1, "reason": "Error"}))), "Error");
    let half = json!({"phase": "Running", "containerStatuses": [
        {"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}, {"name": "b", "ready": true, "state": {"running": {}}}]});
    assert_eq!(of(half), "NotReady");
}

#[test]
fn init_containers_are_counted_until_they_are_done() {
    let mut pod = pod(json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {"waiting": {"reason": "PodInitializing"}}}]}));
    pod["spec"]["initContainers"] = json!([{"name": "i"}, {"name": "j"}]);
    assert_eq!(row("", "pods", &pod)[2], "Init:1/2");
    pod["status"]["initContainerStatuses"][1]["state"] = json!({"terminated": {"exitCode": 2}});
    assert_eq!(row("", "pods", &pod)[2], "Init:ExitCode:2");
    pod["status"]["initContainerStatuses"][1]["state"] = json!({"waiting": {"reason": "ErrImagePull"}});
    assert_eq!(row("", "pods", &pod)[2], "Init:ErrImagePull");
}

#[test]
fn a_deleted_pod_is_terminating_until_it_has_ended() {
    let mut pod = pod(json!({"phase": "Running"}));
    pod["metadata"]["deletionTimestamp"] = json!("2026-11-21T06:12:18Z");
    assert_eq!(row("", "pods", &pod)[2], "Terminating");
    pod["status"]["phase"] = json!("Succeeded");
    assert_eq!(row("", "pods", &pod)[2], "Succeeded");
}

#[test]
fn a_node_shows_its_roles_addresses_and_software() {
    let node = json!({"metadata": {"name": "edge1", "creationTimestamp": "2026-11-21T01:12:18Z",
            "labels": {"node-role.kubernetes.io/edge": "", "node-role.kubernetes.io/agent": ""}},
        "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.1.1.1"}],
            "nodeInfo": {"kubeletVersion": "v1.36.0", "kernelVersion": "6.1.0", "architecture": "amd64", "osImage": "Debian",
                "containerRuntimeVersion": "containerd://1.6"}}});
    assert_eq!(
        row("", "nodes", &node),
        [
            "edge1",
            "Ready,SchedulingDisabled",
            "agent,edge",
            "5h",
            "v1.36.0",
            "10.1.1.1",
            "<none>",
            "Debian",
            "6.1.0 (amd64)",
            "containerd://1.6"
        ]
    );
    let silent = json!({"metadata": {"name": "n"}});
    assert_eq!(row("", "nodes", &silent)[..4], ["n", "Unknown", "<none>", "<unknown>"]);
}

#[test]
fn a_watch_sends_columns_once_and_rows_carry_metadata() {
    let registry = Registry::new();
    let pods = registry.resolve("", "v1", "pods").unwrap();
    let table = render(
        &pods,
        [&pod(json!({}))],
        json!({"resourceVersion": "7"}),
        IncludeObject::Metadata,
        false,
        now(),
    );
    assert!(table["columnDefinitions"].is_null());
    assert_eq!(table["metadata"]["resourceVersion"], "7");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "web");
}

#[test]
fn every_kind_has_as_many_cells_as_columns_even_for_an_empty_object() {
    let registry = Registry::new();
    for resource in &registry.snapshot().resources {
        let table = render(resource, [&json!({})], json!({}), IncludeObject::None, true, now());
        let (cells, columns) = (&table["rows"][0]["cells"], &table["columnDefinitions"]);
        assert_eq!(cells.as_array().unwrap().len(), columns.as_array().unwrap().len(), "{}", resource.plural);
    }
}

#[test]
fn a_workload_shows_its_numbers_images_and_selector() {
    let deployment = json!({"metadata": {"name": "d", "creationTimestamp": "2026-11-21T06:12:00Z"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "d"}}, "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}},
        "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}});
    assert_eq!(row("apps", "deployments", &deployment), ["d", "1/2", "2", "1", "18s", "c", "i:1", "app=d"]);
}

#[test]
fn an_event_shows_the_same_in_both_shapes() {
    let core = json!({"metadata": {"name": "e"}, "type": "Normal", "reason": "Started", "message": "Started container c\n",
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
        "source": {"component": "edged", "host": "edge1"}, "firstTimestamp": "2026-11-21T06:12:00Z", "lastTimestamp": "2026-11-21T06:12:08Z", "count": 2});
    let cells = row("", "events", &core);
    assert_eq!(
        cells,
        [
            "10s",
            "Normal",
            "Started",
            "pod/p",
            "spec.containers{c}",
            "edged, edge1",
            "Started container c",
            "18s",
            "2",
            "e"
        ]
    );
    let mut new = core.clone();
    registry_event(&mut new);
    assert_eq!(row("", "events", &new), cells);
}

fn registry_event(event: &mut Value) {
    let registry = Registry::new();
    if let Some(resource) = registry.resolve("events.k8s.io", "v1", "events") {
        resource.from_stored(event);
    }
}
