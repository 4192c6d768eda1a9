//! Takes the router's changes to the disk, many in one commit. What the disk refuses is tried again until it takes it.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::journal::Batch;
use super::router::Router;
use super::store::{Store, StoreError};

/// Between two tries while the disk takes nothing.
const RETRY: Duration = Duration::from_secs(1);
/// For the last words of clients when the process stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The only one who writes mqtt.db.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) router: Router,
    pub(super) store: Store,
    /// What the disk refused last.
    pub(super) kept: Option<Batch>,
    /// The file was damaged: another is written from memory.
    pub(super) rewrite: bool,
}

impl Writer {
    pub(super) async fn run(&mut self, token: CancellationToken) -> Result<(), Infallible> {
        loop {
            let batch = tokio::select! {
                batch = self.next() => batch,
                () = token.cancelled() => return self.finish().await,
            };
            if let Err(reason) = self.write(batch).await {
                self.refused(&reason).await;
                // A damaged file is out of the way at once.
                let pause = if self.rewrite { Duration::ZERO } else { RETRY };
                tokio::select! {
                    () = sleep(pause) => {}
                    () = token.cancelled() => return self.finish().await,
                }
            }
        }
    }

    async fn next(&mut self) -> Batch {
        if self.rewrite {
            self.kept = None;
            return self.router.everything();
        }
        match self.kept.take() {
            Some(kept) => kept,
            None => self.router.changes().await,
        }
    }

    async fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        if let Err(reason) = self.store.write(&batch).await {
            self.kept = Some(batch);
            return Err(reason);
        }
        self.router.written(batch.last);
        if batch.anew {
            self.rewrite = false;
            info!(rows = batch.changes.len(), "mqtt.db is written anew with what MQTT clients were promised");
        }
        Ok(())
    }

    async fn refused(&mut self, reason: &StoreError) {
        error!(
            "what MQTT clients are promised cannot be stored: {reason}; they are not answered until it is"
        );
        self.router.not_written();
        if matches!(reason, StoreError::Sql(sql) if sqlite::is_corrupt(sql)) {
            self.store.close().await;
            self.rewrite = true;
        }
    }

    /// Clients that are put out leave marks; they are written as far as the disk allows.
    async fn finish(&mut self) -> Result<(), Infallible> {
        let rest = async {
            while self.router.is_busy() {
                sleep(Duration::from_millis(10)).await;
            }
            while let Ok(batch) = timeout(Duration::from_millis(10), self.next()).await {
                if let Err(reason) = self.write(batch).await {
                    return info!("the last changes of MQTT sessions are not stored: {reason}");
                }
            }
        };
        let _ = timeout(LAST_WORDS, rest).await;
        self.store.close().await;
        Ok(())
    }
}
