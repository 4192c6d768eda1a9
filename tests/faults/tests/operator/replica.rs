//! One replica of an operator as people write them: it keeps a Secret beside every labelled ConfigMap, and takes it away with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller, Error};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{Error as Failed, Event as Finalizer, finalizer};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Config};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use super::election::{Candidate, Terms};

pub const MINE: &str = "mirror=yes";
pub const MADE: &str = "made-by=operator";

/// What all replicas of a run have counted.
#[derive(Default)]
pub struct Counts {
    /// Objects that were looked at.
    pub looks: AtomicUsize,
    /// How often the store's watch was told to list again.
    pub store_gone: AtomicUsize,
    /// How often that of a replica was.
    pub gone: AtomicUsize,
}

/// Doubles from 100 ms to 2 s: kube's own waits half a minute, longer than the faults here last.
#[derive(Clone)]
pub struct Soon(Duration);

impl Soon {
    pub fn new() -> Self {
        Self(Duration::from_millis(100))
    }
}

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = self.0;
        self.0 = (now * 2).min(Duration::from_secs(2));
        Some(now)
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {
        *self = Self::new();
    }
}

pub fn is_gone(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchError(status) if status.code == 410)
}

struct Work {
    client: Client,
    recorder: Recorder,
    counts: Arc<Counts>,
}

/// Works whenever it holds the lease, until it is aborted.
pub async fn run(client: Client, who: String, terms: Terms, counts: Arc<Counts>) {
    let mut candidate = Candidate::new(Api::default_namespaced(client.clone()), &who);
    loop {
        let term = candidate.win(&terms).await;
        tokio::select! {
            () = candidate.keep() => {}
            () = work(client.clone(), &who, Arc::clone(&counts)) => {}
        }
        drop(term);
    }
}

async fn work(client: Client, who: &str, counts: Arc<Counts>) {
    let reporter = Reporter { controller: "operator.test".to_owned(), instance: Some(who.to_owned()) };
    let recorder = Recorder::new(client.clone(), reporter);
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    let context = Arc::new(Work { client, recorder, counts: Arc::clone(&counts) });
    Controller::new(maps, Config::default().labels(MINE))
        .trigger_backoff(Soon::new())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(500)), context)
        .for_each(|done| {
            if let Err(Error::QueueError(error)) = &done
                && is_gone(error)
            {
                counts.gone.fetch_add(1, Ordering::Relaxed);
            }
            std::future::ready(())
        })
        .await;
}

async fn reconcile(map: Arc<ConfigMap>, work: Arc<Work>) -> Result<Action, Failed<kube::Error>> {
    work.counts.looks.fetch_add(1, Ordering::Relaxed);
    let maps = Api::<ConfigMap>::default_namespaced(work.client.clone());
    let secrets = Api::<Secret>::default_namespaced(work.client.clone());
    finalizer(&maps, "operator.test/secret", map, |event| async {
        match event {
            Finalizer::Apply(map) => {
                let secret = json!({
                    "apiVersion": "v1", "kind": "Secret",
                    "metadata": {"name": map.name_any(), "labels": {"made-by": "operator"}},
                    "stringData": map.data,
                });
                let params = PatchParams::apply("operator.test").force();
                secrets.patch(&map.name_any(), &params, &Patch::Apply(secret)).await?;
                let event = Event {
                    type_: EventType::Normal,
                    reason: "Mirrored".to_owned(),
                    note: None,
                    action: "Mirror".to_owned(),
                    secondary: None,
                };
                work.recorder.publish(&event, &map.object_ref(&())).await?;
            }
            Finalizer::Cleanup(map) => {
                match secrets.delete(&map.name_any(), &DeleteParams::default()).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    result => drop(result?),
                }
            }
        }
        Ok(Action::await_change())
    })
    .await
}
