//! One replica of the operator, which works while it holds the lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use e2e::mirror::{MINE, Mirror};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::controller::{Action, Controller, Error};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Config};
use kube::{Api, Client};

use super::election::{Candidate, Terms};

/// What all replicas of a run have counted.
#[derive(Default)]
pub struct Counts {
    /// Objects that were looked at.
    pub looks: Arc<AtomicUsize>,
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
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    let mirror = Arc::new(Mirror::new(client, Some(who.to_owned()), Arc::clone(&counts.looks)));
    Controller::new(maps, Config::default().labels(MINE))
        .trigger_backoff(Soon::new())
        .run(Mirror::reconcile, |_, _, _| Action::requeue(Duration::from_millis(500)), mirror)
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
