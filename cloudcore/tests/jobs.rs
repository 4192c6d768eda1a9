//! Jobs on nodes over real TLS: told to the node in KubeEdge's shapes, and what it reports into the job's status.

#![allow(missing_docs, unreachable_pub, reason = "a test has no users")]
#![allow(clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod cloud;

use cloud::edge::Edge;
use cloud::{Cloud, create, eventually};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject};
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::session::{Dialect, Item, Outcome};
use serde_json::{Value, json};

const TASK: &str = "operations.kubeedge.io/v1alpha2/imageprepulljob/warm/node/edge1";

fn jobs(cloud: &Cloud) -> Api<DynamicObject> {
    cloud.api("operations.kubeedge.io/v1alpha2", "ImagePrePullJob", "imageprepulljobs", None)
}

fn job() -> Value {
    json!({
        "apiVersion": "operations.kubeedge.io/v1alpha2", "kind": "ImagePrePullJob", "metadata": {"name": "warm"},
        "spec": {"imagePrePullTemplate": {"images": ["a:1"], "nodeNames": ["edge1"], "imageSecrets": "shop/login"}},
    })
}

/// A step as KubeEdge's edge reports it.
fn step(resource: &str, action: &str, extend: &str) -> Message {
    let content = json!({"action": action, "succ": true, "finishTime": "2026-01-01T00:01:45Z", "reason": "", "extend": extend});
    let route = Route::new(Source::Websocket, Group::Hub, Operation::UpdateNodeActionStatus, resource.into());
    Message::new(route, Content::json(&content).expect("json"))
}

async fn node(cloud: &Cloud, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || async {
        let job = jobs(cloud).get("warm").await.expect("a job");
        let node = job.data["status"]["nodeStatus"][0].clone();
        is(&node).then_some(node)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_and_its_reports_have_kubeedges_shapes_in_either_dialect() {
    for dialect in [Dialect::KubeEdge, Dialect::SkerryV1] {
        let cloud = Cloud::start().await;
        let mut edge = Edge::registered(&cloud, "edge1", dialect).await;
        create(&jobs(&cloud), job()).await;
        let task = edge.pushed(TASK).await;
        let Route { source, group, operation, .. } = &task.route;
        assert_eq!(
            (source, group, operation),
            (&Source::TaskManager, &Group::TaskManager, &Operation::Check)
        );
        assert_eq!(task.content.parse::<Value>().expect("json"), job()["spec"]);
        assert!(task.header.parent.is_none() && task.header.resource_version.is_none());

        let images = json!([{"image": "a:1", "status": "True"}]);
        for (action, extend) in [("Check", String::new()), ("Pull", images.to_string())] {
            let report = step(TASK, action, &extend);
            match dialect {
                // KubeEdge's edge is not answered.
                Dialect::KubeEdge => edge.send(Item::Message(report)).await,
                Dialect::SkerryV1 => match edge.deliver(report).await {
                    Item::Ack(ack) => assert_eq!(ack.outcome, Outcome::Done),
                    other => panic!("{other:?}"),
                },
            }
        }
        let node = node(&cloud, "the node is done", |node| node["phase"] == "Successful").await;
        let flow = json!([{"action": "Check", "status": "True", "time": "2026-01-01T00:01:45Z"},
                          {"action": "Pull", "status": "True", "time": "2026-01-01T00:01:45Z"}]);
        assert_eq!((&node["actionFlow"], &node["imageStatus"]), (&flow, &images));
        cloud.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_node_with_a_job_may_read_the_jobs_secret_and_only_until_it_is_done() {
    let cloud = Cloud::start().await;
    let secrets = cloud.api("v1", "Secret", "secrets", Some("shop"));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    create(&cloud.api("v1", "Namespace", "namespaces", None), namespace).await;
    let login = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "stringData": {"a": "b"}});
    create(&secrets, login).await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::SkerryV1).await;
    let mut other = Edge::registered(&cloud, "edge2", Dialect::SkerryV1).await;
    let refused = |answer: Message| proto::answer::parse(&answer.content).expect_err("refused").code == 403;
    assert!(refused(edge.ask("shop/secret/login", Operation::Query, Value::Null).await));

    create(&jobs(&cloud), job()).await;
    edge.pushed(TASK).await;
    let answer = edge.ask("shop/secret/login", Operation::Query, Value::Null).await;
    assert_eq!(proto::answer::parse(&answer.content).expect("a secret")["metadata"]["name"], "login");
    assert!(refused(other.ask("shop/secret/login", Operation::Query, Value::Null).await));
    // Nor may another node speak for it.
    match other.deliver(step(TASK, "Pull", "")).await {
        Item::Ack(ack) => assert!(matches!(ack.outcome, Outcome::Rejected(_)), "{ack:?}"),
        other => panic!("{other:?}"),
    }
    edge.deliver(step(TASK, "Pull", "")).await;
    node(&cloud, "the node is done", |node| node["phase"] == "Successful").await;
    assert!(refused(edge.ask("shop/secret/login", Operation::Query, Value::Null).await));
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_cloud_tells_again_what_is_not_done_and_a_deleted_job_is_refused() {
    let cloud = Cloud::start().await;
    let mut edge = Edge::registered(&cloud, "edge1", Dialect::SkerryV1).await;
    create(&jobs(&cloud), job()).await;
    edge.pushed(TASK).await;
    edge.deliver(step(TASK, "Check", "")).await;
    drop(edge);
    let cloud = cloud.restart().await;
    let mut edge = Edge::connect(&cloud, "edge1", Dialect::SkerryV1).await;
    edge.pushed(TASK).await;
    jobs(&cloud).delete("warm", &DeleteParams::default()).await.expect("deleted");
    eventually("the job is gone", || async {
        jobs(&cloud).get_opt("warm").await.expect("an answer").is_none().then_some(())
    })
    .await;
    match edge.deliver(step(TASK, "Pull", "")).await {
        Item::Ack(ack) => assert_eq!(ack.outcome, Outcome::Rejected("there is no job warm".into())),
        other => panic!("{other:?}"),
    }
    cloud.stop().await;
}
