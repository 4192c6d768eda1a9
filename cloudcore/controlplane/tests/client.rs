//! kube-rs against the control plane, over TLS and in-process: watcher, reflector, Controller, finalizers, leases.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{Event as Finalized, finalizer};
use kube::runtime::reflector;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;
use support::Cluster;

const PATIENCE: Duration = Duration::from_secs(20);

async fn both() -> (Cluster, [Client; 2]) {
    let cluster = Cluster::start().await;
    let clients = [cluster.client.clone(), cluster.tls_client().await];
    (cluster, clients)
}

fn map(name: &str, n: u32) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"n": n.to_string()}})).unwrap()
}

async fn put(maps: &Api<ConfigMap>, name: &str, n: u32) {
    let patch = Patch::Merge(json!({"data": {"n": n.to_string()}}));
    if maps.get_opt(name).await.unwrap().is_some() {
        maps.patch(name, &PatchParams::default(), &patch).await.unwrap();
    } else {
        maps.create(&PostParams::default(), &map(name, n)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reflector_holds_what_the_server_holds() {
    let (_cluster, clients) = both().await;
    for (at, client) in clients.into_iter().enumerate() {
        for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
            let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
            put(&maps, "first", 1).await;
            let (reader, writer) = reflector::store();
            let mut stream = Box::pin(reflector(writer, watcher(maps.clone(), config)));
            let seen = async |name: &str, n: Option<&str>| {
                reader
                    .state()
                    .iter()
                    .find(|map| map.name_any() == name)
                    .and_then(|map| map.data.clone())
                    .and_then(|data| data.get("n").cloned())
                    .as_deref()
                    == n
            };
            while !matches!(stream.try_next().await.unwrap().unwrap(), Event::InitDone) {}
            assert!(seen("first", Some("1")).await, "client {at}");
            put(&maps, "first", 2).await;
            put(&maps, "second", 1).await;
            maps.delete("first", &DeleteParams::default()).await.unwrap();
            let caught_up = async {
                while !(seen("first", None).await && seen("second", Some("1")).await) {
                    stream.try_next().await.unwrap().unwrap();
                }
            };
            tokio::time::timeout(PATIENCE, caught_up).await.expect("the reflector does not catch up");
            maps.delete("second", &DeleteParams::default()).await.unwrap();
        }
    }
}

#[derive(thiserror::Error, Debug)]
#[error("{0}")]
struct Failed(String);

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_with_a_finalizer_sees_every_object_come_and_go() {
    let (_cluster, clients) = both().await;
    for client in clients {
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let (gone, mut cleaned) = tokio::sync::mpsc::channel::<String>(64);
        let reconcile =
            |object: Arc<ConfigMap>, context: Arc<(Api<ConfigMap>, tokio::sync::mpsc::Sender<String>)>| async move {
                if !object.name_any().starts_with("owned-") {
                    return Ok(Action::await_change());
                }
                let (maps, gone) = &*context;
                let done = finalizer(maps, "skerry.test/cleanup", object, |event| async {
                    if let Finalized::Cleanup(object) = event {
                        gone.send(object.name_any()).await.map_err(|error| Failed(error.to_string()))?;
                    }
                    Ok::<_, Failed>(Action::await_change())
                });
                done.await.map_err(|error| Failed(error.to_string()))
            };
        let again = |_: Arc<ConfigMap>, _: &Failed, _: Arc<_>| Action::requeue(Duration::from_millis(100));
        let context = Arc::new((maps.clone(), gone));
        let controller =
            Controller::new(maps.clone(), watcher::Config::default()).run(reconcile, again, context);
        let work = async {
            for n in 0..10 {
                maps.create(&PostParams::default(), &map(&format!("owned-{n}"), n)).await.unwrap();
            }
            loop {
                let list = maps.list(&ListParams::default()).await.unwrap();
                let ready = list.iter().filter(|map| !map.finalizers().is_empty()).count();
                if ready == 10 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            for n in 0..10 {
                maps.delete(&format!("owned-{n}"), &DeleteParams::default()).await.unwrap();
            }
            let mut names = BTreeSet::new();
            while names.len() < 10 {
                names.insert(cleaned.recv().await.unwrap());
            }
            while maps
                .list(&ListParams::default())
                .await
                .unwrap()
                .iter()
                .any(|map| map.name_any().starts_with("owned-"))
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let run = async {
            tokio::select! {
                () = controller.for_each(|_| std::future::ready(())) => panic!("the controller ended"),
                () = work => {}
            }
        };
        tokio::time::timeout(PATIENCE, run).await.expect("the controller does not finish");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_register_apply_and_report_through_typed_clients() {
    let (_cluster, clients) = both().await;
    for client in clients {
        let pods: Api<Pod> = Api::default_namespaced(client);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
        let applied = pods.patch("p", &PatchParams::apply("test"), &Patch::Apply(&pod)).await.unwrap();
        assert_eq!(applied.spec.unwrap().node_name.as_deref(), Some("n"));
        let status = json!({"status": {"phase": "Running", "podIP": "10.1.1.1"}, "metadata": {"uid": applied.metadata.uid}});
        let reported =
            pods.patch_status("p", &PatchParams::default(), &Patch::Strategic(&status)).await.unwrap();
        assert_eq!(reported.status.unwrap().phase.as_deref(), Some("Running"));
        let mine = ListParams::default().fields("spec.nodeName=n,status.phase=Running");
        assert_eq!(pods.list(&mine).await.unwrap().items.len(), 1);
        let gone = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        pods.delete("p", &gone).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_watches_follow_a_storm_and_a_slow_one_is_told_to_list_again() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client.clone());
    put(&maps, "m", 0).await;
    let start = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let path = format!("/api/v1/namespaces/default/configmaps?watch=1&resourceVersion={start}");
    const UPDATES: usize = 600;
    let watches = (0..200).map(|_| {
        let (client, path) = (cluster.client.clone(), path.clone());
        async move { support::events(&client, &path, UPDATES).await.len() }
    });
    // One that does not read until all is over, and then asks for more than the history holds.
    let slow = http::Request::builder().uri(&path).body(Vec::new()).unwrap();
    let slow = cluster.client.request_stream(slow).await.unwrap();
    let storm = async {
        for n in 1..=UPDATES as u32 {
            put(&maps, "m", n).await;
        }
    };
    let (seen, ()) = tokio::join!(futures::future::join_all(watches), storm);
    assert!(seen.iter().all(|count| *count == UPDATES), "{seen:?}");
    for n in 0..1200 {
        put(&maps, "m", n).await;
    }
    let lines = futures::AsyncBufReadExt::lines(slow).try_collect::<Vec<_>>();
    let lines = tokio::time::timeout(PATIENCE, lines).await.expect("the slow watch is not ended").unwrap();
    assert!(lines.last().unwrap().contains("\"code\":410"), "{:?}", lines.last());
    // It lists again and follows as if nothing had been.
    let now = maps.list(&ListParams::default()).await.unwrap();
    let found = now.items.iter().find(|map| map.metadata.name.as_deref() == Some("m")).unwrap();
    assert_eq!(found.data.as_ref().unwrap()["n"], "1199");
    let start = now.metadata.resource_version.unwrap();
    put(&maps, "m", 4711).await;
    let path = format!("/api/v1/namespaces/default/configmaps?watch=1&resourceVersion={start}");
    let seen = support::events(&cluster.client, &path, 1).await;
    assert_eq!((&seen[0]["type"], &seen[0]["object"]["data"]["n"]), (&json!("MODIFIED"), &json!("4711")));
}
