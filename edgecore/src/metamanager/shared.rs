//! What handle and writer share: the file, who watches what, and what is known but not yet on disk.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use proto::resource::ResourceKind;
use sqlx::SqlitePool;
use tokio::sync::{Notify, watch};

use crate::edgehub::RowKey;

use super::reports::Row;

/// A node status that differs from the stored one only in its heartbeat: told, but not worth a write.
#[derive(Debug, Clone)]
pub(super) struct Heartbeat {
    pub(super) row: Row,
    pub(super) version: u64,
}

#[derive(Debug)]
pub(super) struct Shared {
    pool: RwLock<SqlitePool>,
    kinds: Mutex<HashMap<ResourceKind, watch::Sender<u64>>>,
    outbox: watch::Sender<u64>,
    rebuilds: watch::Sender<u64>,
    /// Confirmed by the cloud, not yet on disk. At most one entry per row that was in flight.
    confirmed: Mutex<HashMap<RowKey, u64>>,
    confirmed_some: Notify,
    heartbeat: Mutex<Option<Heartbeat>>,
}

/// Nothing that holds one of these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(pool: SqlitePool) -> Self {
        Self {
            pool: RwLock::new(pool),
            kinds: Mutex::default(),
            outbox: watch::Sender::new(0),
            rebuilds: watch::Sender::new(0),
            confirmed: Mutex::default(),
            confirmed_some: Notify::new(),
            heartbeat: Mutex::default(),
        }
    }

    pub(super) fn pool(&self) -> SqlitePool {
        self.pool.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The file was replaced by an empty one.
    pub(super) fn rebuilt(&self, pool: SqlitePool) {
        *self.pool.write().unwrap_or_else(PoisonError::into_inner) = pool;
        lock(&self.confirmed).clear();
        self.rebuilds.send_modify(|count| *count += 1);
        for sender in lock(&self.kinds).values() {
            sender.send_modify(|count| *count += 1);
        }
    }

    pub(super) fn rebuilds(&self) -> watch::Receiver<u64> {
        self.rebuilds.subscribe()
    }

    // --- who watches what

    pub(super) fn watch_kind(&self, kind: ResourceKind) -> watch::Receiver<u64> {
        lock(&self.kinds).entry(kind).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    pub(super) fn bump(&self, kind: &ResourceKind) {
        if let Some(sender) = lock(&self.kinds).get(kind) {
            sender.send_modify(|count| *count += 1);
        }
    }

    pub(super) fn watch_outbox(&self) -> watch::Receiver<u64> {
        self.outbox.subscribe()
    }

    pub(super) fn outbox_changed(&self) {
        self.outbox.send_modify(|count| *count += 1);
    }

    // --- confirmations that wait for the next write

    pub(super) fn confirm(&self, row: &RowKey, version: u64) {
        let mut confirmed = lock(&self.confirmed);
        let known = confirmed.entry(row.clone()).or_default();
        *known = version.max(*known);
        drop(confirmed);
        self.drop_heartbeat(row, version);
        self.confirmed_some.notify_one();
    }

    /// Whether the cloud has `version` of the row although the disk does not say so yet.
    pub(super) fn is_confirmed(&self, row: &RowKey, version: u64) -> bool {
        lock(&self.confirmed).get(row).is_some_and(|confirmed| *confirmed >= version)
    }

    pub(super) fn confirmations(&self) -> Vec<(RowKey, u64)> {
        lock(&self.confirmed).iter().map(|(row, version)| (row.clone(), *version)).collect()
    }

    pub(super) fn unflushed(&self) -> usize {
        lock(&self.confirmed).len()
    }

    pub(super) fn flushed(&self, written: &[(RowKey, u64)]) {
        let mut confirmed = lock(&self.confirmed);
        for (row, version) in written {
            if confirmed.get(row) == Some(version) {
                confirmed.remove(row);
            }
        }
    }

    /// Ends `linger` after a confirmation came that nothing else has written meanwhile.
    pub(super) async fn confirmations_to_flush(&self, linger: Duration) {
        while self.unflushed() == 0 {
            self.confirmed_some.notified().await;
        }
        tokio::time::sleep(linger).await;
    }

    // --- the node's heartbeat

    /// A full node status replaces the heartbeat that waits: `None`.
    pub(super) fn set_heartbeat(&self, heartbeat: Option<Heartbeat>) {
        *lock(&self.heartbeat) = heartbeat;
    }

    /// The cloud has it, or will never take it.
    pub(super) fn drop_heartbeat(&self, row: &RowKey, version: u64) {
        lock(&self.heartbeat).take_if(|beat| beat.row.key() == *row && beat.version <= version);
    }

    pub(super) fn heartbeat(&self) -> Option<Heartbeat> {
        lock(&self.heartbeat).clone()
    }
}
