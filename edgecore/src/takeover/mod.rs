//! What KubeEdge's edgecore left in edgecore.db, taken over once: a node that is swapped has its devices, twins, models,
//! mappers and rules' topics before it has seen the cloud.
//!
//! Owns: the one table that says that it is done. May call: metamanager, devicetwin, dmi and rules, each to put its part in. Called
//! by: `main`, after metamanager is open and before the others are. KubeEdge's own tables stay as they are, for the way
//! back. Killed in the middle, it is begun anew: what is there already is left alone.

mod found;

use std::path::Path;

use proto::message::{Group, Message, Operation, Route, Source};
use proto::resource::Resource;
use proto::session::Outcome;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tracing::{info, warn};

use crate::{devicetwin, dmi, metamanager, rules};

/// Where the parts go.
#[derive(Debug, Clone)]
pub struct Settings {
    /// devicetwin.db.
    pub twins: devicetwin::Settings,
    /// The mappers' folder.
    pub mappers: dmi::Settings,
    /// rules.db.
    pub rules: rules::Settings,
}

/// Why not everything could be taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// KubeEdge's tables, or the mark that they were read.
    #[error("KubeEdge's tables in edgecore.db: {0}")]
    Tables(#[from] sqlx::Error),
    /// The twins.
    #[error(transparent)]
    Twins(#[from] devicetwin::StoreError),
    /// The mappers.
    #[error("the mappers cannot be kept: {0}")]
    Mappers(std::io::Error),
    /// The topics of rules.
    #[error(transparent)]
    Rules(#[from] rules::StoreError),
    /// Devices and models.
    #[error("{0}")]
    Objects(String),
}

/// What was taken over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Device and DeviceModel objects.
    pub objects: usize,
    /// Devices with twins or a state.
    pub devices: usize,
    /// Mappers.
    pub mappers: usize,
    /// Topics and URLs of rules.
    pub topics: usize,
}

/// Takes over what KubeEdge left in the database, unless that was done before or there is nothing of it.
///
/// # Errors
/// Names the part that failed; the next start tries again.
pub async fn run(
    database: &Path,
    settings: &Settings,
    objects: &metamanager::Handle,
) -> Result<Option<Taken>, TakeoverError> {
    let mut file = SqliteConnectOptions::new().filename(database).create_if_missing(false).connect().await?;
    if !is_due(&mut file).await? {
        return Ok(None);
    }
    let found = found::read(&mut file).await?;
    let mut taken = Taken {
        objects: found.objects.len(),
        devices: found.devices.len(),
        mappers: found.mappers.len(),
        topics: found.orders.topics.len() + found.orders.urls.len(),
    };
    devicetwin::put_in(&settings.twins, found.devices).await?;
    dmi::put_in(&settings.mappers, found.mappers).await.map_err(TakeoverError::Mappers)?;
    rules::put_in(&settings.rules, found.orders).await?;
    taken.objects -= store(objects, found.objects).await?;
    sqlx::raw_sql("CREATE TABLE taken_over (at INTEGER NOT NULL)").execute(&mut file).await?;
    info!(
        objects = taken.objects,
        devices = taken.devices,
        mappers = taken.mappers,
        topics = taken.topics,
        "taken over from KubeEdge's edgecore"
    );
    Ok(Some(taken))
}

/// There are KubeEdge's tables, and no mark of ours.
async fn is_due(file: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('meta', 'device', 'device_twin', 'taken_over')",
    )
    .fetch_all(file)
    .await?;
    Ok(names.len() == 3 && names.iter().all(|name| name != "taken_over"))
}

/// Stores the objects as if the cloud had pushed them; returns how many are refused for good.
async fn store(
    objects: &metamanager::Handle,
    found: Vec<(proto::resource::ObjectKey, proto::message::Content)>,
) -> Result<usize, TakeoverError> {
    let mut refused = 0;
    let messages = found.into_iter().map(|(key, content)| {
        let resource = Resource::Object(key);
        let route = Route::new(Source::DeviceController, Group::Resource, Operation::Insert, resource);
        Message::new(route, content)
    });
    for outcome in objects.accept(messages.collect()).await {
        match outcome {
            Outcome::Done => {}
            Outcome::Rejected(why) => {
                warn!("an object of KubeEdge's is not taken over: {why}");
                refused += 1;
            }
            Outcome::Retry(why) => return Err(TakeoverError::Objects(why)),
        }
    }
    Ok(refused)
}
