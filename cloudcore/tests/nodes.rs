//! A node's life over real TLS, in both dialects: registration, lease, status, pods and what they use.

#![allow(missing_docs, unreachable_pub, reason = "a test has no users")]
#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod cloud;

use cloud::edge::{Edge, join};
use cloud::{Cloud, config_map, create, eventually, node, pod};
use kube::api::{DeleteParams, Patch, PatchParams};
use proto::message::{Content, Operation};
use proto::session::{Dialect, Held, Item};
use serde_json::{Value, json};

const BOTH: [Dialect; 2] = [Dialect::KubeEdge, Dialect::SkerryV1];

#[tokio::test(flavor = "multi_thread")]
async fn a_node_registers_keeps_its_lease_and_becomes_ready() {
    for dialect in BOTH {
        let cloud = Cloud::start().await;
        let mut edge = Edge::registered(&cloud, "edge1", dialect).await;

        let lease = "kube-node-lease/lease/edge1";
        let missing = edge.ask(lease, Operation::Query, Value::Null).await;
        assert!(proto::answer::parse(&missing.content).expect_err("none yet").is_not_found());
        let spec = json!({"metadata": {"name": "edge1", "namespace": "kube-node-lease"},
                          "spec": {"holderIdentity": "edge1", "leaseDurationSeconds": 40}});
        let created = edge.ask(lease, Operation::Insert, spec).await;
        let mut created = proto::answer::parse(&created.content).expect("a lease");
        created["spec"]["leaseDurationSeconds"] = 41.into();
        let renewed = edge.ask(lease, Operation::Update, created.clone()).await;
        assert_eq!(
            proto::answer::parse(&renewed.content).expect("a lease")["spec"]["leaseDurationSeconds"],
            41
        );
        let stale = edge.ask(lease, Operation::Update, created).await;
        assert!(proto::answer::parse(&stale.content).expect_err("an old version").is_conflict());

        let patch = json!({"status": {"conditions": [{"type": "Ready", "status": "True",
            "lastHeartbeatTime": "2026-01-01T00:00:10Z", "lastTransitionTime": "2026-01-01T00:00:10Z"}]}});
        let patched = edge.ask("null/nodepatch/edge1", Operation::Patch, patch.to_string().into()).await;
        assert!(patched.header.resource_version.is_some());
        let object = proto::answer::parse(&patched.content).expect("the node");
        assert_eq!(object["status"]["conditions"][0]["status"], "True");

        let again = edge.ask("null/node/edge1", Operation::Insert, cloud::edge::node_object("edge1")).await;
        assert!(proto::answer::parse(&again.content).expect_err("registered").is_already_exists());
        edge.pushed("null/node/edge1").await;
        cloud.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_comes_with_what_it_uses_reports_and_goes() {
    for dialect in BOTH {
        let cloud = Cloud::start().await;
        create(&cloud.config_maps(), config_map("conf", "one")).await;
        let mut edge = Edge::registered(&cloud, "edge1", dialect).await;
        let uid = create(&cloud.pods(), pod("web", "edge1", "conf")).await;
        let push = edge.pushed("default/pod/web").await;
        assert_eq!(push.route.operation, Operation::Insert);
        let sent: Value = push.content.parse().expect("json");
        assert_eq!((&sent["kind"], &sent["metadata"]["uid"]), (&json!("Pod"), &json!(uid)));

        let found = edge.ask("default/configmap/conf", Operation::Query, Value::Null).await;
        let found = proto::answer::parse(&found.content).expect("the config map");
        assert_eq!((&found["kind"], &found["data"]["k"]), (&json!("ConfigMap"), &json!("one")));
        let change = Patch::Merge(json!({"data": {"k": "two"}}));
        cloud.config_maps().patch("conf", &PatchParams::default(), &change).await.expect("patched");
        loop {
            let push: Value = edge.pushed("default/configmap/conf").await.content.parse().expect("json");
            if push["data"]["k"] == "two" {
                break;
            }
        }

        let status = json!({"metadata": {"uid": uid}, "status": {"phase": "Running", "podIP": "10.0.0.9"}});
        let patched = edge.ask("default/podpatch/web", Operation::Patch, status.to_string().into()).await;
        let object = proto::answer::parse(&patched.content).expect("the pod");
        assert_eq!(
            (&object["status"]["phase"], &object["spec"]["nodeName"]),
            (&json!("Running"), &json!("edge1"))
        );
        let namesake = json!({"metadata": {"uid": "other"}, "status": {"phase": "Failed"}});
        let refused = edge.ask("default/podpatch/web", Operation::Patch, namesake.to_string().into()).await;
        assert!(proto::answer::parse(&refused.content).expect_err("another uid").is_conflict());

        let graceful = DeleteParams { grace_period_seconds: Some(2), ..DeleteParams::default() };
        cloud.pods().delete("web", &graceful).await.expect("deleted");
        let push = edge.pushed("default/pod/web").await;
        assert_eq!(push.route.operation, Operation::Update);
        assert!(push.content.get().contains("deletionTimestamp"));
        let last = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
        let done = edge.ask("default/pod/web", Operation::Delete, last.clone()).await;
        assert!(done.content.is_ok_literal(), "{done:?}");
        while edge.pushed("default/pod/web").await.route.operation != Operation::Delete {}
        let gone = edge.ask("default/pod/web", Operation::Delete, last).await;
        assert!(gone.content.is_ok_literal(), "a pod that is gone is gone");
        // The config map is taken away with the last pod that used it.
        while edge.pushed("default/configmap/conf").await.route.operation != Operation::Delete {}
        cloud.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cannot_touch_what_is_not_its_own() {
    let cloud = Cloud::start().await;
    create(&cloud.config_maps(), config_map("conf", "one")).await;
    create(&cloud.config_maps(), config_map("other", "secret of others")).await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::SkerryV1).await;
    let _neighbour = Edge::registered(&cloud, "edge2", Dialect::KubeEdge).await;
    create(&cloud.pods(), pod("mine", "edge1", "conf")).await;
    let uid = create(&cloud.pods(), pod("theirs", "edge2", "other")).await;
    edge.pushed("default/pod/mine").await;

    let lease = json!({"metadata": {"name": "edge2"}, "spec": {}});
    let status = json!({"metadata": {"uid": uid}, "status": {"phase": "Failed"}}).to_string();
    let token =
        json!({"spec": {"audiences": [], "boundObjectRef": {"kind": "Pod", "name": "theirs", "uid": uid}}});
    let mirror = pod("mirror", "edge2", "x");
    for (resource, operation, content) in [
        ("default/configmap/other", Operation::Query, Value::Null),
        ("kube-system/configmap/kube-root-ca.crt", Operation::Query, Value::Null),
        ("kubeedge/secret/casecret", Operation::Query, Value::Null),
        ("default/podpatch/theirs", Operation::Patch, status.into()),
        ("default/pod/theirs", Operation::Delete, json!({"gracePeriodSeconds": 0})),
        ("default/pod/theirs", Operation::Query, Value::Null),
        ("default/pod/mirror", Operation::Insert, mirror),
        ("null/node/edge2", Operation::Insert, cloud::edge::node_object("edge2")),
        ("null/node/edge2", Operation::Update, json!({"metadata": {"labels": {"x": "y"}}})),
        ("null/node/edge2", Operation::Query, Value::Null),
        ("null/nodepatch/edge2", Operation::Patch, json!("{}")),
        ("kube-node-lease/lease/edge2", Operation::Update, lease.clone()),
        ("default/lease/edge1", Operation::Insert, lease),
        ("default/serviceaccounttoken/default", Operation::Query, token),
    ] {
        let answer = edge.ask(resource, operation.clone(), content).await;
        let failure = proto::answer::parse(&answer.content).expect_err(resource);
        assert!(failure.is_forbidden(), "{operation} {resource}: {failure:?}");
    }
    assert!(cloud.pods().get("theirs").await.is_ok());
    assert!(cloud.app.metrics.forbidden.get() >= 14);
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Node", "name": "edge2"}});
    let content = Content::json(&event).expect("json");
    let answer = edge.deliver(edge.message("default/event/e", Operation::Insert, content)).await;
    assert!(
        matches!(&answer, Item::Ack(ack) if matches!(ack.outcome, proto::session::Outcome::Rejected(_))),
        "{answer:?}"
    );
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_that_does_not_exist_never_reaches_an_edge_as_an_empty_one() {
    let cloud = Cloud::start().await;
    for (dialect, name) in [(Dialect::KubeEdge, "edge1"), (Dialect::SkerryV1, "edge2")] {
        let mut edge = Edge::registered(&cloud, name, dialect).await;
        create(&cloud.pods(), pod(&format!("pod-{name}"), name, "not-there")).await;
        edge.pushed(&format!("default/pod/pod-{name}")).await;
        let answer = edge.ask("default/configmap/not-there", Operation::Query, Value::Null).await;
        match dialect {
            Dialect::KubeEdge => {
                assert_eq!(answer.route.operation, Operation::Error);
                assert!(answer.content.as_str().is_some_and(|text| text.contains("not found")), "{answer:?}");
            }
            Dialect::SkerryV1 => {
                assert!(proto::answer::parse(&answer.content).expect_err("missing").is_not_found());
            }
        }
        // As soon as it is created, the node that waits for it gets it.
        if dialect == Dialect::SkerryV1 {
            create(&cloud.config_maps(), config_map("not-there", "now")).await;
            edge.pushed("default/configmap/not-there").await;
        }
    }
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_node_reach_the_api_and_are_confirmed() {
    let cloud = Cloud::start().await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::SkerryV1).await;
    let event = json!({"metadata": {"name": "edge1.1", "namespace": "default"}, "reason": "Starting", "type": "Normal",
        "message": "hello", "involvedObject": {"kind": "Node", "name": "edge1"}, "source": {"component": "kubelet"}});
    let content = Content::json(&event).expect("json");
    let answer = edge.deliver(edge.message("default/event/edge1.1", Operation::Insert, content)).await;
    assert!(matches!(&answer, Item::Ack(ack) if ack.outcome == proto::session::Outcome::Done), "{answer:?}");
    let events = cloud.api("v1", "Event", "events", Some("default"));
    assert_eq!(events.get("edge1.1").await.expect("the event").data["reason"], "Starting");
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_a_node_gets_what_changed_and_only_that() {
    let cloud = Cloud::start().await;
    create(&cloud.config_maps(), config_map("conf", "one")).await;
    let identity = join(&cloud, "edge1").await;
    let mut edge = Edge::reconnect(&cloud, "edge1", Dialect::SkerryV1, &identity, Vec::new()).await;
    edge.ask("null/node/edge1", Operation::Insert, cloud::edge::node_object("edge1")).await;
    let mut held = Vec::new();
    for name in ["keep", "gone"] {
        create(&cloud.pods(), pod(name, "edge1", "conf")).await;
        let push = edge.pushed(&format!("default/pod/{name}")).await;
        let object: Value = push.content.parse().expect("json");
        held.push(Held {
            key: push.route.resource.object().expect("a pod").clone(),
            uid: object["metadata"]["uid"].as_str().expect("uid").into(),
            resource_version: push.header.resource_version.clone().expect("a version"),
        });
    }
    drop(edge);
    eventually("the session ended", || async { cloud.app.sessions.is_empty().then_some(()) }).await;
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    cloud.pods().delete("gone", &now).await.expect("deleted");
    create(&cloud.pods(), pod("fresh", "edge1", "conf")).await;

    let mut edge = Edge::reconnect(&cloud, "edge1", Dialect::SkerryV1, &identity, held).await;
    let mut pods = Vec::new();
    while pods.len() < 2 {
        let Some(Item::Message(push)) = edge.next().await else { panic!("a push") };
        if push.route.resource.to_string().contains("/pod/") {
            pods.push(format!("{} {}", push.route.operation, push.route.resource));
        }
    }
    pods.sort();
    assert_eq!(pods, ["delete default/pod/gone", "insert default/pod/fresh"]);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_replaces_the_first_and_survives_its_end() {
    let cloud = Cloud::start().await;
    let identity = join(&cloud, "edge1").await;
    let mut first = Edge::reconnect(&cloud, "edge1", Dialect::KubeEdge, &identity, Vec::new()).await;
    first.ask("null/node/edge1", Operation::Insert, cloud::edge::node_object("edge1")).await;
    let mut second = Edge::reconnect(&cloud, "edge1", Dialect::KubeEdge, &identity, Vec::new()).await;
    while first.next().await.is_some() {}
    drop(first);
    create(&cloud.pods(), pod("web", "edge1", "conf")).await;
    second.pushed("default/pod/web").await;
    assert!(cloud.app.sessions.connected(&node("edge1")).is_some());
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_node_is_disconnected_and_can_register_again() {
    let cloud = Cloud::start().await;
    let identity = join(&cloud, "edge1").await;
    let mut edge = Edge::reconnect(&cloud, "edge1", Dialect::SkerryV1, &identity, Vec::new()).await;
    edge.ask("null/node/edge1", Operation::Insert, cloud::edge::node_object("edge1")).await;
    edge.pushed("null/node/edge1").await;
    cloud.nodes().delete("edge1", &DeleteParams::default()).await.expect("deleted");
    while edge.next().await.is_some() {}
    let mut edge = Edge::reconnect(&cloud, "edge1", Dialect::SkerryV1, &identity, Vec::new()).await;
    let answer = edge.ask("null/node/edge1", Operation::Insert, cloud::edge::node_object("edge1")).await;
    assert!(proto::answer::parse(&answer.content).is_ok());
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_cloud_deletes_nothing_before_it_knows_everything() {
    let cloud = Cloud::start().await;
    let identity = join(&cloud, "edge1").await;
    let mut edge = Edge::reconnect(&cloud, "edge1", Dialect::SkerryV1, &identity, Vec::new()).await;
    edge.ask("null/node/edge1", Operation::Insert, cloud::edge::node_object("edge1")).await;
    create(&cloud.pods(), pod("web", "edge1", "conf")).await;
    let push = edge.pushed("default/pod/web").await;
    let object: Value = push.content.parse().expect("json");
    let held = vec![Held {
        key: push.route.resource.object().expect("a pod").clone(),
        uid: object["metadata"]["uid"].as_str().expect("uid").into(),
        resource_version: push.header.resource_version.clone().expect("a version"),
    }];
    let cloud = cloud.restart().await;
    let mut edge = Edge::reconnect(&cloud, "edge1", Dialect::SkerryV1, &identity, held).await;
    let change = Patch::Merge(json!({"metadata": {"labels": {"tier": "front"}}}));
    edge.pushed("null/node/edge1").await;
    cloud.pods().patch("web", &PatchParams::default(), &change).await.expect("patched");
    let push = edge.pushed("default/pod/web").await;
    assert_eq!(push.route.operation, Operation::Update, "it was never deleted nor inserted again");
    cloud.stop().await;
}
