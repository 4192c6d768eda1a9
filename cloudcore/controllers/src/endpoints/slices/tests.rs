use serde_json::{Value, json};

use super::*;

fn service(spec: Value) -> Service {
    let mut all = json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80, "targetPort": "web"}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": all})).unwrap()
}

fn member(name: &str, ready: bool, ips: &[&str]) -> Member {
    let ips: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    let pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {
            "phase": "Running", "podIPs": ips, "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        },
    });
    let node = json!({"metadata": {"name": "n", "labels": {ZONE: "z"}}});
    (Arc::new(serde_json::from_value(pod).unwrap()), Some(Arc::new(serde_json::from_value(node).unwrap())))
}

fn going((pod, node): Member) -> Member {
    let mut pod = Arc::unwrap_or_clone(pod);
    pod.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    (Arc::new(pod), node)
}

fn made(service: &Service, members: &[Member]) -> Value {
    let plan = plan(service, members, &[], |_| true);
    assert!(plan.update.is_empty() && plan.delete.is_empty());
    let group = |group: &Group| json!({"type": group.address_type, "ports": group.ports, "endpoints": group.endpoints});
    plan.create.iter().map(group).collect()
}

#[test]
fn conditions_say_who_is_ready_who_serves_and_who_goes() {
    let members = [
        member("a", true, &["10.0.0.1"]),
        member("b", false, &["10.0.0.2"]),
        going(member("c", true, &["10.0.0.3"])),
    ];
    let conditions = |service: &Service| -> Value {
        let made = made(service, &members);
        made[0]["endpoints"].as_array().unwrap().iter().map(|one| one["conditions"].clone()).collect()
    };
    assert_eq!(
        conditions(&service(json!({}))),
        json!([
            {"ready": true, "serving": true, "terminating": false},
            {"ready": false, "serving": false, "terminating": false},
            {"ready": false, "serving": true, "terminating": true},
        ])
    );
    let published = conditions(&service(json!({"publishNotReadyAddresses": true})));
    assert!(published.as_array().unwrap().iter().all(|one| one["ready"] == true));
}

#[test]
fn an_endpoint_names_pod_node_zone_and_port() {
    let made = made(&service(json!({})), &[member("a", true, &["10.0.0.1", "fd00::1"])]);
    assert_eq!(
        made,
        json!([{
            "type": "IPv4", "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{
                "addresses": ["10.0.0.1"], "nodeName": "n", "zone": "z",
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "targetRef": {"kind": "Pod", "namespace": "default", "name": "a", "uid": "a"},
            }],
        }])
    );
}

#[test]
fn each_family_of_the_service_has_slices_of_its_own() {
    let made = made(
        &service(json!({"ipFamilies": ["IPv4", "IPv6"]})),
        &[member("a", true, &["10.0.0.1", "fd00::1"]), member("b", true, &["10.0.0.2"])],
    );
    let seen: Vec<_> = made
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["type"], one["endpoints"].as_array().unwrap().len()))
        .collect();
    assert_eq!(seen, [(&json!("IPv4"), 2), (&json!("IPv6"), 1)]);
}

#[test]
fn a_service_without_pods_has_one_empty_slice_and_keeps_it() {
    let service = service(json!({}));
    assert_eq!(made(&service, &[]), json!([{"type": "IPv4", "ports": [], "endpoints": []}]));
    let empty = Arc::new(EndpointSlice {
        address_type: "IPv4".to_owned(),
        endpoints: Some(Vec::new()),
        ports: Some(Vec::new()),
        ..EndpointSlice::default()
    });
    let kept = plan(&service, &[], std::slice::from_ref(&empty), |_| true);
    assert!(kept.create.is_empty() && kept.update.is_empty() && kept.delete.is_empty());
    // The first pod takes it over.
    let filled = plan(&service, &[member("a", true, &["10.0.0.1"])], &[empty], |_| true);
    assert_eq!((filled.create.len(), filled.update.len(), filled.delete.len()), (0, 1, 0));
}

#[test]
fn a_pod_waits_until_its_node_is_known_unless_everything_is_published() {
    let lost = (member("a", true, &["10.0.0.1"]).0, None);
    assert_eq!(made(&service(json!({})), std::slice::from_ref(&lost))[0]["endpoints"], json!([]));
    let published = made(&service(json!({"publishNotReadyAddresses": true})), &[lost]);
    assert_eq!(published[0]["endpoints"].as_array().unwrap().len(), 1);
}
