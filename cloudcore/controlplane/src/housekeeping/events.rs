//! Events are told for an hour, and never more than a bounded number of them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::apiserver::Api;
use crate::store::{Collection, ListQuery, ObjectId};

const LIFE_SECONDS: i64 = 3600;
/// They live in memory; beyond this the oldest go first.
const MOST: usize = 2000;
const EVERY: Duration = Duration::from_secs(60);

pub(super) async fn expire(api: Arc<Api>, token: CancellationToken) -> Result<(), Infallible> {
    loop {
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = tokio::time::sleep(EVERY) => sweep(&api, Timestamp::now().as_second()).await,
        }
    }
}

async fn sweep(api: &Api, now: i64) {
    let events = Collection::new("", "events");
    let query = ListQuery { collection: &events, namespace: None, at: None, after: None, limit: 0 };
    let Ok(mut page) = api.store.list(&query, |_| true) else { return };
    page.objects.sort_by_key(|(_, object)| object.written);
    let surplus = page.objects.len().saturating_sub(MOST);
    for (at, (key, object)) in page.objects.into_iter().enumerate() {
        if at >= surplus && object.written + LIFE_SECONDS > now {
            return;
        }
        let id = ObjectId { collection: events.clone(), key };
        if let Err(error) = api.store.delete(id, object.revision).await {
            tracing::debug!("an event could not be forgotten yet: {error}");
        }
    }
}
