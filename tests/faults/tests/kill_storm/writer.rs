//! One client that writes: it creates, replaces and removes its own objects, one request at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::ledger::{Ledger, number, revision};

const OBJECTS: u64 = 4;

/// What the writer knows about one of its objects.
#[derive(Clone, Debug, Default)]
struct Known {
    /// The number and the revision that it holds, if it is there.
    held: Option<(u64, u64)>,
    /// What was tried and not answered: a number, or its removal.
    tried: Option<Option<u64>>,
}

/// Writes until told to stop, and then makes sure of what its objects hold.
pub async fn run(
    writer: u64,
    maps: Api<ConfigMap>,
    ledger: Arc<Ledger>,
    mut random: fastrand::Rng,
    stop: CancellationToken,
) -> Result<BTreeMap<String, u64>> {
    let mut known = vec![Known::default(); OBJECTS as usize];
    let name = |object: u64| format!("w{writer}-{object}");
    let mut step = 0;
    while !stop.is_cancelled() {
        step += 1;
        let object = random.u64(..OBJECTS);
        let one = &mut known[object as usize];
        make_sure(&maps, &ledger, &name(object), one).await?;
        write(&maps, &ledger, &name(object), one, step, random.u8(..8) == 0).await?;
    }
    let mut sure = BTreeMap::new();
    for (object, one) in (0..).zip(&mut known) {
        make_sure(&maps, &ledger, &name(object), one).await?;
        sure.extend(one.held.map(|(number, _)| (name(object), number)));
    }
    Ok(sure)
}

/// After a request that was not answered: whether it was done all the same. Nothing else may have happened.
async fn make_sure(maps: &Api<ConfigMap>, ledger: &Ledger, name: &str, known: &mut Known) -> Result<()> {
    let Some(tried) = known.tried else { return Ok(()) };
    let found = loop {
        match maps.get_opt(name).await {
            Ok(found) => break found,
            Err(error) => wait_out(&error).await?,
        }
    };
    known.tried = None;
    let found = found.map(|map| revision(&map).map(|revision| (number(&map), revision))).transpose()?;
    match (known.held, found) {
        (before, Some((Some(now), revision))) if before == Some((now, revision)) => {}
        (None, None) => {}
        (_, Some((now, revision))) if tried.is_some() && now == tried => {
            let now = tried.unwrap_or_default();
            ledger.found(revision, name, now)?;
            known.held = Some((now, revision));
        }
        (Some(_), None) if tried.is_none() => {
            ledger.removed(name, false);
            known.held = None;
        }
        (before, found) => bail!("{name} held {before:?}, {tried:?} was tried, and now it holds {found:?}"),
    }
    Ok(())
}

async fn write(
    maps: &Api<ConfigMap>,
    ledger: &Ledger,
    name: &str,
    known: &mut Known,
    step: u64,
    remove: bool,
) -> Result<()> {
    let newest = ledger.newest();
    let map = |version: Option<u64>| {
        let version = version.map(|version| version.to_string());
        let metadata = json!({"name": name, "resourceVersion": version});
        serde_json::from_value(json!({"metadata": metadata, "data": {"n": step.to_string()}}))
    };
    let written = match known.held {
        Some(_) if remove => match maps.delete(name, &DeleteParams::default()).await {
            Ok(_) => {
                ledger.removed(name, true);
                known.held = None;
                return Ok(());
            }
            Err(error) => Err(error),
        },
        Some((_, version)) => maps.replace(name, &PostParams::default(), &map(Some(version))?).await,
        None => maps.create(&PostParams::default(), &map(None)?).await,
    };
    match written {
        Ok(written) => {
            let revision = revision(&written)?;
            ensure!(number(&written) == Some(step), "{name} was answered with {written:?}");
            ledger.acknowledge(revision, name, step, newest)?;
            known.held = Some((step, revision));
        }
        Err(error) => {
            known.tried = Some((!(remove && known.held.is_some())).then_some(step));
            wait_out(&error).await?;
        }
    }
    Ok(())
}

/// The process was killed, or is not there yet. What the API itself says is never expected here: nobody else writes.
async fn wait_out(error: &kube::Error) -> Result<()> {
    if let kube::Error::Api(status) = error {
        bail!("the API refuses: {status:?}");
    }
    tokio::time::sleep(Duration::from_millis(3)).await;
    Ok(())
}
