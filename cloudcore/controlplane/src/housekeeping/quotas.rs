//! The status of resource quotas: how much of each is used.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{all, place};
use crate::apiserver::objects::Part;
use crate::apiserver::{Api, Target, Write, usage};
use crate::status::Reason;
use crate::store::Collection;

/// Counting takes a look at everything, so changes are let come together.
const PAUSE: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn keep(api: Arc<Api>, token: CancellationToken) -> Result<(), Infallible> {
    loop {
        let seen = api.store.revision();
        let any = pass(&api).await;
        let change = async {
            if any {
                // Whatever is counted may be in any collection.
                api.store.reached(seen + 1, PATIENCE).await;
            } else {
                let quotas = Collection::new("", "resourcequotas");
                // A watcher that fell behind is a change too.
                let _ = api.store.watch(&quotas, seen).next().await;
            }
            tokio::time::sleep(PAUSE).await;
        };
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = change => {}
        }
    }
}

/// Writes what has changed; tells whether there is any quota.
async fn pass(api: &Api) -> bool {
    let Some(quotas) = place(api, "", "v1", "resourcequotas", "", "") else { return false };
    let known = all(api, &quotas, None);
    for (key, quota) in &known {
        let used: Map<String, Value> = usage(api, &key.namespace, quota)
            .into_iter()
            .map(|(name, amount)| (name, json!(amount.to_string())))
            .collect();
        let status = json!({"hard": quota["spec"]["hard"], "used": used});
        if quota["spec"]["hard"].is_null() || quota["status"] == status {
            continue;
        }
        let counted = |old: &Value| {
            let mut new = old.clone();
            new["status"] = status.clone();
            Ok(new)
        };
        let target = Target { namespace: key.namespace.to_string(), ..quotas.named(&key.name) };
        match api.modify(&target, Part::Status, &Write::by_nobody(false), counted).await {
            Err(status) if status.reason != Reason::NotFound => {
                tracing::warn!(quota = &*key.name, "cannot write what is used of a quota yet: {status}");
            }
            _ => {}
        }
    }
    !known.is_empty()
}
