//! The mappers that registered, and what each has been told, in memory and on disk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use tracing::warn;

use super::plan::Told;
use crate::folder::Folder;

/// Most protocols that have a mapper on one node.
const MOST: usize = 256;

/// All mappers, by protocol.
#[derive(Debug)]
pub(super) struct Registry {
    folder: Folder,
    mappers: Mutex<BTreeMap<String, Mapper>>,
    /// Counts registrations.
    changed: watch::Sender<u64>,
}

/// A mapper that registered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Mapper {
    /// What it speaks; there is one for each.
    pub protocol: String,
    pub name: String,
    pub version: String,
    pub api_version: String,
    /// The path of its socket.
    pub address: String,
    /// Whether it asked for its devices, and so wants to hear what changes.
    pub called: bool,
    /// What it has.
    pub told: Told,
    /// Tells this registration from those before it. After a restart of the agent it is the same mapper still.
    #[serde(skip)]
    pub registration: u64,
}

/// There are too many.
#[derive(Debug, thiserror::Error)]
#[error("{MOST} protocols have a mapper on this node already")]
pub(super) struct Full;

// === impl Registry ===

impl Registry {
    pub(super) async fn open(folder: Folder) -> Self {
        let known: Vec<Mapper> = folder.load().await;
        let mappers = known.into_iter().map(|mapper| (mapper.protocol.clone(), mapper)).collect();
        Self { folder, mappers: Mutex::new(mappers), changed: watch::Sender::new(0) }
    }

    /// Counts up with each registration.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Everybody who registered.
    pub(super) async fn all(&self) -> Vec<Mapper> {
        self.mappers.lock().await.values().cloned().collect()
    }

    /// The mappers that want to hear what changes.
    pub(super) async fn called(&self) -> Vec<Mapper> {
        self.mappers.lock().await.values().filter(|mapper| mapper.called).cloned().collect()
    }

    /// Takes the mapper in, instead of the one before it of the same protocol.
    pub(super) async fn register(&self, mut mapper: Mapper) -> Result<(), Full> {
        let mut mappers = self.mappers.lock().await;
        if mappers.len() >= MOST && !mappers.contains_key(&mapper.protocol) {
            return Err(Full);
        }
        let number = *self.changed.borrow() + 1;
        mapper.registration = number;
        self.save(&mapper).await;
        mappers.insert(mapper.protocol.clone(), mapper);
        self.changed.send_replace(number);
        Ok(())
    }

    /// Keeps what the mapper was told, unless another one has registered meanwhile.
    pub(super) async fn told(&self, of: &Mapper) {
        let mut mappers = self.mappers.lock().await;
        let same = |mapper: &&mut Mapper| mapper.registration == of.registration;
        if let Some(mapper) = mappers.get_mut(&of.protocol).filter(same) {
            mapper.told.clone_from(&of.told);
            self.save(mapper).await;
        }
    }

    /// A mapper works without its file: it is told everything again after a restart of the agent, or registers again.
    async fn save(&self, mapper: &Mapper) {
        if let Err(error) = self.folder.save(&mapper.protocol, mapper).await {
            let folder = self.folder.path().display();
            warn!(mapper = mapper.name, "a mapper cannot be kept in {folder}: {error}");
        }
    }
}
