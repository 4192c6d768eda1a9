//! Many pods that find no node: each is told of once, whoever restarts.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use controllers::Settings;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use support::Managed;

/// Some more than there are places for events that wait.
const PODS: usize = 2500;
/// Created between two looks at how far the events are: fewer than those places.
const AT_ONCE: usize = 500;

const EVENTS: &str = "/apis/events.k8s.io/v1/events?fieldSelector=reason%3DFailedScheduling";

/// The revisions of all events about pods without a node, by name.
async fn told(managed: &Managed) -> BTreeMap<String, String> {
    let (code, list) = managed.cluster.call("GET", EVENTS, Value::Null).await;
    assert_eq!(code, 200, "{list}");
    let metadata = |event: &Value, field: &str| event["metadata"][field].as_str().unwrap().to_owned();
    let events = list["items"].as_array().unwrap().iter();
    events.map(|event| (metadata(event, "name"), metadata(event, "resourceVersion"))).collect()
}

async fn create(managed: &Managed, name: &str) {
    let pod = json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]},
    });
    let (code, answer) = managed.cluster.call("POST", "/api/v1/namespaces/default/pods", pod).await;
    assert_eq!(code, 201, "{answer}");
}

/// Creates a pod, which is the youngest and so the last in turn, and waits until it was tried and no more events come.
async fn last_in_turn(managed: &Managed, name: &str) {
    create(managed, name).await;
    let path = format!("/api/v1/namespaces/default/pods/{name}");
    managed.until(&path, "tried", |pod| pod["status"]["conditions"].is_array()).await;
    let mut known = BTreeMap::new();
    loop {
        let now = told(managed).await;
        if now == known {
            return;
        }
        known = now;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_writes_no_event_about_pods_that_were_told_of_before() {
    let mut managed = Managed::start().await;
    let names: Vec<_> = (0..PODS).map(|at| format!("p{at:05}")).collect();
    for (at, some) in names.chunks(AT_ONCE).enumerate() {
        stream::iter(some).for_each_concurrent(16, |name| create(&managed, name)).await;
        let all = at * AT_ONCE + some.len();
        managed.until(EVENTS, "told of", |list| list["items"].as_array().unwrap().len() == all).await;
    }
    let before = told(&managed).await;

    managed.restart_controllers(Settings::default()).await;
    last_in_turn(&managed, "first-round").await;
    // A changed label is a reason to try a pod again as soon as the second of its pause is over.
    let label = |name: String| {
        let (managed, path) = (&managed, format!("/api/v1/namespaces/default/pods/{name}"));
        async move {
            let change = json!({"metadata": {"labels": {"try": "again"}}});
            managed.cluster.patch("merge-patch+json", &path, change).await;
        }
    };
    stream::iter(names).for_each_concurrent(16, label).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    last_in_turn(&managed, "second-round").await;

    let mut after = told(&managed).await;
    after.retain(|name, _| !name.contains("-round"));
    let anew = after.iter().filter(|(name, revision)| before.get(*name) != Some(revision)).count();
    assert_eq!((after.len(), anew), (PODS, 0), "events, and those written after the restart");
}
