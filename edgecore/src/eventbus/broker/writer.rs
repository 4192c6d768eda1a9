//! Takes the router's changes to the disk, many in one commit. What the disk refuses is tried again until it takes it.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::journal::{Change, Ticket};
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
    pub(super) kept: Option<(Vec<Change>, Ticket)>,
}

impl Writer {
    pub(super) async fn run(&mut self, token: CancellationToken) -> Result<(), Infallible> {
        loop {
            let (changes, last) = match self.kept.take() {
                Some(kept) => kept,
                None => tokio::select! {
                    changes = self.router.changes() => changes,
                    () = token.cancelled() => return self.finish().await,
                },
            };
            match self.store.write(&changes, last).await {
                Ok(()) => self.router.written(last),
                Err(reason) => {
                    self.kept = Some((changes, last));
                    self.refused(&reason).await;
                    tokio::select! {
                        () = sleep(RETRY) => {}
                        () = token.cancelled() => return self.finish().await,
                    }
                }
            }
        }
    }

    async fn refused(&mut self, reason: &StoreError) {
        error!(
            "what MQTT clients are promised cannot be stored: {reason}; they are not answered until it is"
        );
        self.router.not_written();
        if matches!(reason, StoreError::Sql(sql) if sqlite::is_corrupt(sql)) {
            self.store.close().await;
        }
    }

    /// Clients that are put out leave marks; they are written as far as the disk allows.
    async fn finish(&mut self) -> Result<(), Infallible> {
        let rest = async {
            while self.router.is_busy() {
                sleep(Duration::from_millis(10)).await;
            }
            let mut rest = self.kept.take();
            loop {
                let (changes, last) = match rest.take() {
                    Some(rest) => rest,
                    None => match timeout(Duration::from_millis(10), self.router.changes()).await {
                        Ok(changes) => changes,
                        Err(_) => return,
                    },
                };
                match self.store.write(&changes, last).await {
                    Ok(()) => self.router.written(last),
                    Err(reason) => {
                        return info!("the last changes of MQTT sessions are not stored: {reason}");
                    }
                }
            }
        };
        let _ = timeout(LAST_WORDS, rest).await;
        self.store.close().await;
        Ok(())
    }
}
