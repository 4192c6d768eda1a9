//! An operator as people write them with the kube crate, over TLS: a watch, a store, finalizers, server-side apply, events and a lease;
//! while the API is restarted under it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use e2e::mirror::{MADE, MINE, Mirror};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher::{self, Config, Event as Watched};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tasks::TaskSet;

use crate::support::Cluster;

const OBJECTS: usize = 40;
const RESTARTS: usize = 3;
/// Kube's watcher waits up to half a minute between attempts, and longer after several outages in a row.
const PATIENCE: Duration = Duration::from_secs(150);

/// Works until `tasks` end. Returns how often it looked at an object.
fn start(client: Client, tasks: &TaskSet) -> Arc<AtomicUsize> {
    let looks = Arc::<AtomicUsize>::default();
    let maps = Api::<ConfigMap>::namespaced(client.clone(), "default");
    let mirror = Arc::new(Mirror::new(client, None, Arc::clone(&looks)));
    tasks.spawn_once("operator", move |token| async move {
        Controller::new(maps, Config::default().labels(MINE))
            .graceful_shutdown_on(token.cancelled_owned())
            .run(Mirror::reconcile, |_, _, _| Action::requeue(Duration::from_millis(200)), mirror)
            .for_each(|_| async {})
            .await;
    });
    looks
}

fn map(number: usize) -> ConfigMap {
    let map = json!({
        "metadata": {"name": format!("map-{number}"), "labels": {"mirror": "yes"}},
        "data": {"number": number.to_string()},
    });
    serde_json::from_value(map).unwrap()
}

async fn until<Check: AsyncFn() -> bool>(what: &str, check: Check) {
    let found = tokio::time::timeout(PATIENCE, async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(found.await.is_ok(), "not {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_misses_nothing_while_the_api_is_restarted() {
    let mut cluster = Cluster::start().await;
    let client = cluster.tls_client().await;
    let tasks = TaskSet::new("operator");
    let looks = start(client.clone(), &tasks);
    let maps = Api::<ConfigMap>::namespaced(client.clone(), "default");
    let secrets = Api::<Secret>::namespaced(client, "default");
    let mut wanted = BTreeMap::new();
    for round in 0..=RESTARTS {
        for number in 0..OBJECTS {
            let name = format!("map-{number}");
            match (number + round) % 4 {
                0 if wanted.remove(&name).is_some() => {
                    drop(maps.delete(&name, &DeleteParams::default()).await.unwrap())
                }
                _ if wanted.contains_key(&name) => {
                    let data = json!({"data": {"number": format!("{number}-{round}")}});
                    maps.patch(&name, &PatchParams::default(), &Patch::Merge(data)).await.unwrap();
                    wanted.insert(name, format!("{number}-{round}"));
                }
                _ => {
                    // One that still goes has the name.
                    until("gone", async || maps.get_opt(&name).await.unwrap().is_none()).await;
                    maps.create(&PostParams::default(), &map(number)).await.unwrap();
                    wanted.insert(name, number.to_string());
                }
            }
        }
        if round < RESTARTS {
            cluster = cluster.restart().await;
        }
    }
    until("mirrored", async || {
        let made = secrets.list(&ListParams::default().labels(MADE)).await.unwrap();
        let value = |secret: &Secret| secret.data.as_ref().and_then(|data| data.get("number").cloned());
        let made = made.items.iter().map(|secret| {
            let value = value(secret).map(|value| String::from_utf8(value.0).unwrap());
            (secret.name_any(), value.unwrap_or_default())
        });
        made.collect::<BTreeMap<_, _>>() == wanted
    })
    .await;
    // The finalizer, the change and a repetition for each of the rounds; a loop would be thousands.
    let looks = looks.load(Ordering::Relaxed);
    assert!(looks < OBJECTS * (RESTARTS + 1) * 8, "{looks} looks");
    assert!(tasks.shutdown(Duration::from_secs(10)).await.is_clean());
    drop((maps, secrets));
    drop(cluster.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streaming_lists_and_watches_of_metadata_begin_complete() {
    let cluster = Cluster::start().await;
    let client = cluster.tls_client().await;
    let maps = Api::<ConfigMap>::namespaced(client.clone(), "default");
    for number in 0..5 {
        maps.create(&PostParams::default(), &map(number)).await.unwrap();
    }
    let mine = Config::default().labels(MINE).streaming_lists();
    let mut seen = Vec::new();
    let mut events = std::pin::pin!(watch(maps.clone(), mine.clone()));
    while let Some(event) = events.try_next().await.unwrap() {
        match event {
            Watched::Init => seen.clear(),
            Watched::InitApply(map) => seen.push(map.name_any()),
            Watched::InitDone => break,
            other => panic!("{other:?} before the list was complete"),
        }
    }
    seen.sort();
    assert_eq!(seen, ["map-0", "map-1", "map-2", "map-3", "map-4"]);
    let metadata = Api::<PartialObjectMeta<ConfigMap>>::namespaced(client, "default");
    let mut metadata = std::pin::pin!(watch(metadata, mine).applied_objects());
    let first: Result<_, watcher::Error> = metadata.try_next().await;
    assert!(first.unwrap().unwrap().name_any().starts_with("map-"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_changes_hands_only_when_it_may() {
    let cluster = Cluster::start().await;
    let leases = Api::<Lease>::namespaced(cluster.tls_client().await, "default");
    let lease = json!({"metadata": {"name": "leader"}, "spec": {"holderIdentity": "one", "leaseDurationSeconds": 15}});
    let lease: Lease = serde_json::from_value(lease).unwrap();
    let mut mine = leases.create(&PostParams::default(), &lease).await.unwrap();
    let mut theirs = mine.clone();
    mine.spec.as_mut().unwrap().lease_transitions = Some(1);
    leases.replace("leader", &PostParams::default(), &mine).await.unwrap();
    theirs.spec.as_mut().unwrap().holder_identity = Some("two".to_owned());
    let refused = leases.replace("leader", &PostParams::default(), &theirs).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.is_conflict()), "{refused}");
}
