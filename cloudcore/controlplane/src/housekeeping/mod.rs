//! What the control plane does by itself, without being asked: furnishes namespaces, empties those that go, brings custom kinds
//! in and out, says where the API answers, gathers roles, fills token secrets, signs certificates, counts quotas, and forgets old events and requests.
//!
//! Level-triggered: every pass looks at what is there and does what is missing, so a restart in the middle costs nothing. May call:
//! `apiserver` (its rules for objects), `registry`, `store`. Called by: `plane`, and by `apiserver` right after a write where the
//! writer should not have to wait for the next pass.

mod aggregation;
mod bootstrap;
mod certificates;
mod crds;
mod endpoint;
mod events;
mod namespaces;
mod quotas;
mod requests;
mod roles;
mod tokens;

pub(crate) use bootstrap::bootstrap;
pub(crate) use endpoint::advertised;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tasks::{Restart, TaskSet};
use tokio_util::sync::CancellationToken;

use crate::apiserver::{Api, Target};
use crate::pki::Pki;
use crate::store::{Collection, Key, ListQuery, Watcher};

/// Changes that come together are handled together.
const PAUSE: Duration = Duration::from_millis(20);
/// How long unfinished work waits when nothing changes.
const RETRY: Duration = Duration::from_secs(1);
/// Collections whose changes may need a pass.
const WATCHED: &[(&str, &str)] = &[
    ("", "namespaces"),
    ("", "serviceaccounts"),
    ("", "configmaps"),
    ("", "secrets"),
    ("", "services"),
    ("certificates.k8s.io", "certificatesigningrequests"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
];

/// Starts the housekeepers on `tasks`. `port` is where the API is served.
pub(crate) fn start(api: &Arc<Api>, pki: &Arc<Pki>, port: u16, tasks: &TaskSet) {
    let (keeper, pki) = (Arc::clone(api), Arc::clone(pki));
    let own = move |token| keep(Arc::clone(&keeper), Arc::clone(&pki), port, token);
    tasks.spawn("housekeeping", Restart::on_failure(), own);
    let keeper = Arc::clone(api);
    tasks.spawn("quotas", Restart::on_failure(), move |token| quotas::keep(Arc::clone(&keeper), token));
    let keeper = Arc::clone(api);
    tasks.spawn("events", Restart::on_failure(), move |token| events::expire(Arc::clone(&keeper), token));
    let keeper = Arc::clone(api);
    let expire = move |token| requests::expire(Arc::clone(&keeper), token);
    tasks.spawn("requests for certificates", Restart::on_failure(), expire);
}

async fn keep(api: Arc<Api>, pki: Arc<Pki>, port: u16, token: CancellationToken) -> Result<(), Infallible> {
    let now = api.store.revision();
    let watch = |(group, plural): &(&str, &str)| api.store.watch(&Collection::new(group, plural), now);
    let mut watchers: Vec<Watcher> = WATCHED.iter().map(watch).collect();
    loop {
        let revision = api.store.revision();
        let unfinished = pass(&api, &pki, port).await;
        let something = async {
            if unfinished {
                // Whatever was waited for may be in any collection.
                api.store.reached(revision + 1, RETRY).await;
            } else {
                let changes = watchers.iter_mut().map(|watcher| Box::pin(watcher.next()));
                // A watcher that fell behind is a change too: the pass looks at everything.
                let _ = futures::future::select_all(changes).await;
            }
        };
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = something => {}
        }
        tokio::time::sleep(PAUSE).await;
        for (watcher, place) in watchers.iter_mut().zip(WATCHED) {
            if watcher.look().is_err() {
                let (group, plural) = place;
                *watcher = api.store.watch(&Collection::new(group, plural), api.store.revision());
            }
        }
    }
}

/// Does what is missing; tells whether something has to be waited for.
async fn pass(api: &Api, pki: &Pki, port: u16) -> bool {
    if let Err(error) = bootstrap::own_service(api, port).await {
        tracing::warn!(%error, "the service of the API itself could not be made");
    }
    let namespaces = namespaces::pass(api).await;
    let crds = crds::pass(api).await;
    aggregation::pass(api).await;
    tokens::pass(api).await;
    certificates::pass(api, &pki.authority).await;
    namespaces || crds
}

/// Everything of a collection, in one namespace or in all.
fn all(api: &Api, target: &Target, namespace: Option<&str>) -> Vec<(Key, Value)> {
    let query = ListQuery { collection: &target.collection, namespace, at: None, after: None, limit: 0 };
    // The newest state is always there.
    let page = api.store.list(&query, |_| true).map(|page| page.objects).unwrap_or_default();
    page.into_iter().map(|(key, object)| (key, object.value())).collect()
}

/// The place of an object of a built-in kind.
fn place(api: &Api, group: &str, version: &str, plural: &str, namespace: &str, name: &str) -> Option<Target> {
    let resource = api.registry.resolve(group, version, plural)?;
    Some(Target::new(resource, namespace, name))
}
