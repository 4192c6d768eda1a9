//! Runs kube's controllers: one task each, with the back-off and the log lines that all share.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::ResourceExt;
use kube::runtime::controller::{Action, Config};
use kube::runtime::{Controller, reflector::ObjectRef};
use tasks::{Restart, TaskSet};

use crate::cache::Cached;
use crate::error::Error;

/// First and longest pause between attempts at one object (Kubernetes' DefaultTypedControllerRateLimiter).
const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1000);
/// How many objects of a kind are worked on at once (Kubernetes: 5).
const CONCURRENCY: u16 = 5;

/// Attempts that failed, by object, since one last succeeded.
struct Failures<K: Cached>(Mutex<HashMap<ObjectRef<K>, u32>>);

impl<K: Cached> Failures<K> {
    fn pause(&self, object: &K) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(ObjectRef::from_obj(object)).or_default();
        let pause = FIRST.saturating_mul(1 << (*count).min(20)).min(LONGEST);
        *count += 1;
        pause
    }

    fn forget(&self, object: &ObjectRef<K>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}

/// Runs `reconcile` for every object that `controller` names, on `tasks`, again with a growing pause after an error, and
/// never twice at once for one object.
///
/// `controller` is called again if the task has to be restarted.
pub(crate) fn run<K, Build, Reconcile, Done>(
    name: &'static str,
    tasks: &TaskSet,
    controller: Build,
    reconcile: Reconcile,
) where
    K: Cached,
    Build: Fn() -> Controller<K> + Send + Sync + 'static,
    Reconcile: Fn(Arc<K>) -> Done + Clone + Send + Sync + 'static,
    Done: Future<Output = Result<Action, Error>> + Send + 'static,
{
    tasks.spawn(name, Restart::on_failure(), move |token| {
        let reconcile = reconcile.clone();
        let failures = Arc::new(Failures::<K>(Mutex::default()));
        let results = controller()
            .with_config(Config::default().concurrency(CONCURRENCY))
            .graceful_shutdown_on(token.cancelled_owned())
            .run(
                move |object, _| reconcile(object),
                move |object: Arc<K>, error, failures: Arc<Failures<K>>| {
                    failed(name, &*object, error, &failures)
                },
                Arc::clone(&failures),
            );
        async move {
            let mut results = std::pin::pin!(results);
            while let Some(result) = results.next().await {
                if let Ok((object, _)) = result {
                    failures.forget(&object);
                }
            }
            Ok::<_, Infallible>(())
        }
    });
}

fn failed<K: Cached>(name: &str, object: &K, error: &Error, failures: &Failures<K>) -> Action {
    let pause = failures.pause(object);
    let (namespace, object) = (object.namespace().unwrap_or_default(), object.name_any());
    if error.is_race() {
        tracing::debug!(controller = name, namespace, object, %error, "changed meanwhile, looking again");
    } else {
        tracing::warn!(controller = name, namespace, object, %error, ?pause, "cannot reconcile, trying again");
    }
    Action::requeue(pause)
}
