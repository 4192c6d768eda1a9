//! One client that watches, and resumes where it was cut off.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};

use super::END;
use super::ledger::{number, revision};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub revision: u64,
    pub name: String,
    pub change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added(u64),
    Modified(u64),
    Removed,
}

/// Everything after revision `start`, until the last object of the test comes.
pub async fn run(maps: Api<ConfigMap>, start: String) -> Result<Vec<Seen>> {
    let mut story = Vec::new();
    let mut last: u64 = start.parse()?;
    let params = WatchParams::default().disable_bookmarks();
    loop {
        let Ok(events) = maps.watch(&params, &last.to_string()).await else {
            tokio::time::sleep(Duration::from_millis(3)).await;
            continue;
        };
        let mut events = std::pin::pin!(events);
        while let Some(Ok(event)) = events.next().await {
            let (map, make): (_, fn(u64) -> Change) = match event {
                WatchEvent::Added(map) => (map, Change::Added),
                WatchEvent::Modified(map) => (map, Change::Modified),
                WatchEvent::Deleted(map) => (map, |_| Change::Removed),
                other => bail!("after revision {last}: {other:?}"),
            };
            let name = map.metadata.name.clone().context("an object has a name")?;
            let revision = revision(&map)?;
            ensure!(revision > last, "{name} comes at revision {revision} after {last}");
            last = revision;
            if name == END {
                return Ok(story);
            }
            // What the control plane keeps there itself holds no number.
            if let Some(number) = number(&map) {
                story.push(Seen { revision, name, change: make(number) });
            }
        }
    }
}
