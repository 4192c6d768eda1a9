//! Events are told for an hour, and never more than a bounded number of them.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::apiserver::Api;
use crate::store::{Collection, ListQuery, Object, ObjectId, Store};

const LIFE_SECONDS: i64 = 3600;
/// They live in memory; beyond this the oldest go first.
const MOST: usize = 2000;
/// But not the last warning about an object: as long as it goes on, it is what `kubectl describe` says of a pod without a node, and who
/// reports it expects it there. Beyond this even those go.
const MOST_WITH_WARNINGS: usize = 10_000;
const EVERY: Duration = Duration::from_secs(60);

pub(super) async fn expire(api: Arc<Api>, token: CancellationToken) -> Result<(), Infallible> {
    loop {
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = tokio::time::sleep(EVERY) => sweep(&api.store, Timestamp::now().as_second()).await,
        }
    }
}

async fn sweep(store: &Store, now: i64) {
    let events = Collection::new("", "events");
    let query = ListQuery { collection: &events, namespace: None, at: None, after: None, limit: 0 };
    let Ok(mut page) = store.list(&query, |_| true) else { return };
    page.objects.sort_by_key(|(_, object)| std::cmp::Reverse((object.written, object.revision)));
    let (mut kept, mut warned) = (0, HashSet::new());
    let mut forgotten = Vec::new();
    for (key, object) in &page.objects {
        let is_last_warning = warning_about(object).is_some_and(|about| warned.insert(about));
        let has_room = kept < MOST || (is_last_warning && kept < MOST_WITH_WARNINGS);
        if has_room && object.written + LIFE_SECONDS > now {
            kept += 1;
        } else {
            forgotten.push((key.clone(), object.revision));
        }
    }
    for (key, revision) in forgotten {
        let id = ObjectId { collection: events.clone(), key };
        if let Err(error) = store.delete(id, revision).await {
            tracing::debug!("an event could not be forgotten yet: {error}");
        }
    }
}

/// What a warning is about.
fn warning_about(event: &Object) -> Option<[&str; 4]> {
    let field = |path| event.index.selectable("events", path);
    const ABOUT: [&str; 4] =
        ["involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid"];
    (field("type") == "Warning").then(|| ABOUT.map(field))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tasks::TaskSet;

    use super::*;
    use crate::store::Config;

    async fn tell(store: &Store, name: &str, kind: &str, about: &str) {
        let event = json!({
            "metadata": {"name": name, "namespace": "n"}, "type": kind,
            "involvedObject": {"kind": "Pod", "namespace": "n", "name": about, "uid": about},
        });
        store.create(ObjectId::new(&Collection::new("", "events"), "n", name), event).await.unwrap();
    }

    #[tokio::test]
    async fn what_goes_on_is_kept_while_other_events_are_too_many_and_nothing_outlives_its_hour() {
        let (dir, tasks) = (tempfile::tempdir().unwrap(), TaskSet::new("test"));
        let store = Store::open(Config::new(dir.path().join("test.db")), &tasks).await.unwrap();
        let events = Collection::new("", "events");
        let left = |prefix: &str| {
            let query = ListQuery { collection: &events, namespace: None, at: None, after: None, limit: 0 };
            let page = store.list(&query, |_| true).unwrap();
            page.objects.iter().filter(|(key, _)| key.name.starts_with(prefix)).count()
        };
        for at in 0..300 {
            tell(&store, &format!("earlier-{at}"), "Warning", &format!("p{at}")).await;
            tell(&store, &format!("waits-{at}"), "Warning", &format!("p{at}")).await;
            tell(&store, &format!("normal-{at}"), "Normal", &format!("p{at}")).await;
        }
        for at in 0..MOST {
            tell(&store, &format!("later-{at}"), "Normal", "busy").await;
        }
        let now = Timestamp::now().as_second();
        sweep(&store, now).await;
        let kinds = ["earlier-", "waits-", "normal-", "later-"];
        assert_eq!(kinds.map(left), [0, 300, 0, MOST]);
        sweep(&store, now + LIFE_SECONDS + 60).await;
        assert_eq!(left(""), 0);
        drop(store);
        assert!(tasks.shutdown(Duration::from_secs(5)).await.is_clean());
    }
}
