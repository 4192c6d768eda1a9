use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::super::super::config::Settings;
use super::super::super::downward::Facts;
use super::super::super::objects::{Absent, Claim, Objects};
use super::super::{directory, sync as sync_all};
use super::*;

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "shop", "uid": "u1"},
        "spec": {
            "securityContext": {"fsGroup": 4242},
            "containers": [{"name": "c"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "db"}}],
        },
    }))
    .unwrap()
}

/// A claim with this phase, and the volume behind it.
fn claim(phase: &str, spec: Value) -> Claim {
    let mut pv = json!({"metadata": {"name": "disk"}, "spec": spec});
    pv["spec"]["claimRef"] = json!({"namespace": "shop", "name": "db", "uid": "c1"});
    let claim = json!({
        "metadata": {"name": "db", "namespace": "shop", "uid": "c1"},
        "spec": {"volumeName": "disk"}, "status": {"phase": phase},
    });
    Claim {
        claim: serde_json::from_value(claim).unwrap(),
        volume: Some(Ok(serde_json::from_value(pv).unwrap())),
    }
}

fn on_node(found: Result<Claim, Absent>, check: impl FnOnce(Ingredients<'_>)) {
    let dir = tempfile::tempdir().unwrap();
    let address = [192, 0, 2, 1].into();
    let settings = Settings::new("edge1", address, dir.path().join("kubelet"), dir.path().join("logs"));
    let facts = Facts {
        node: "edge1".into(),
        host: address,
        pod: vec![],
        cpu_milli: 1,
        memory: 1,
        machine_memory: 1,
        storage: 1,
    };
    let mut objects = Objects::default();
    objects.node_labels.insert("kubernetes.io/hostname".into(), "edge1".into());
    objects.claims.insert("db".into(), found);
    let pod = pod();
    check(Ingredients { pod: &pod, objects: &objects, facts: &facts, settings: &settings });
}

fn refusal(found: Result<Claim, Absent>) -> String {
    let mut words = String::new();
    on_node(found, |from| words = sync_all(from).unwrap_err().to_string());
    words
}

#[test]
fn what_keeps_a_claim_from_being_mounted_is_said_in_the_kubelets_words() {
    let elsewhere = json!({"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["edge2"]}]}]}});
    let mut foreign = claim("Bound", json!({"hostPath": {"path": "/srv"}}));
    foreign.claim.metadata.uid = Some("c2".into());
    let mut lost = claim("Bound", json!({}));
    lost.volume = Some(Err(Absent::NotFound));
    for (found, words) in [
        (Err(Absent::NotFound), "persistentvolumeclaim \"db\" not found"),
        (Err(Absent::Offline), "the cloud is not connected"),
        (
            Ok(claim("Pending", json!({"hostPath": {"path": "/srv"}}))),
            "error processing PVC shop/db: PVC is not bound",
        ),
        (Ok(lost), "persistentvolume \"disk\" not found"),
        (Ok(foreign), "is bound to another claim"),
        (
            Ok(claim("Bound", json!({"nfs": {"server": "s", "path": "/x"}}))),
            "is of type nfs, which is not supported",
        ),
        (Ok(claim("Bound", json!({"local": {"path": "/srv"}, "volumeMode": "Block"}))), "volumeMode Block"),
        (Ok(claim("Bound", json!({"local": {"path": "/none/such"}}))), "path \"/none/such\" does not exist"),
        (
            Ok(claim("Bound", json!({"local": {"path": "/"}, "nodeAffinity": elsewhere}))),
            "NodeAffinity check failed",
        ),
    ] {
        let said = refusal(found);
        assert!(said.contains(words), "{said:?} does not say {words:?}");
    }
}

#[test]
fn a_local_volume_is_given_to_the_pods_group_and_a_path_of_the_host_is_not() {
    let disk = tempfile::tempdir().unwrap();
    fs::write(disk.path().join("file"), "x").unwrap();
    let group = || fs::metadata(disk.path().join("file")).unwrap().gid();
    let path = disk.path().to_string_lossy();
    let here = json!({"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["edge1"]}]}]}});
    let before = group();
    on_node(Ok(claim("Bound", json!({"hostPath": {"path": path}}))), |from| {
        sync_all(from).unwrap();
        assert_eq!(group(), before);
    });
    on_node(Ok(claim("Bound", json!({"local": {"path": path}, "nodeAffinity": here}))), |from| {
        sync_all(from).unwrap();
        assert_eq!(group(), 4242);
        let volume = &from.pod.spec.as_ref().unwrap().volumes.as_ref().unwrap()[0];
        assert_eq!(directory(from, volume).unwrap(), disk.path());
    });
}

#[test]
fn every_operator_of_a_node_selector_is_known() {
    let labels = BTreeMap::from([("a".to_owned(), "5".to_owned())]);
    let holds = |operator: &str, key: &str, values: &[&str]| {
        let requirement = json!({"key": key, "operator": operator, "values": values});
        matches(&serde_json::from_value(requirement).unwrap(), &labels)
    };
    assert!(holds("In", "a", &["4", "5"]) && !holds("In", "b", &["5"]));
    assert!(holds("NotIn", "b", &["5"]) && !holds("NotIn", "a", &["5"]));
    assert!(holds("Exists", "a", &[]) && holds("DoesNotExist", "b", &[]));
    assert!(holds("Gt", "a", &["4"]) && !holds("Gt", "a", &["5"]) && holds("Lt", "a", &["6"]));
}
