//! The reports as edgehub sees them.

use std::collections::HashSet;

use async_trait::async_trait;
use tokio::sync::watch;
use tracing::warn;

use crate::edgehub::{Outbox, OutboxError, Report, RowKey};

use super::handle::Handle;
use super::reports::{self, Kind};
use super::writer::Write;
use super::{StoreError, sql};

#[async_trait]
impl Outbox for Handle {
    fn name(&self) -> &'static str {
        "metamanager"
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.shared.watch_outbox()
    }

    async fn ahead(&self, limit: usize, in_flight: &HashSet<RowKey>) -> Result<Vec<Report>, OutboxError> {
        let failed = |error: StoreError| OutboxError(error.to_string());
        // Rows that are told or being told may stand first: look past them.
        let look = limit + in_flight.len() + self.shared.unflushed();
        let rows = sql::ahead(&self.shared.pool(), look).await.map_err(failed)?;
        let mut untold_pods = HashSet::new();
        let mut reports = Vec::new();
        for stored in rows {
            let row = stored.row.key();
            if self.shared.is_confirmed(&row, stored.version) {
                continue;
            }
            if stored.row.kind == Kind::Pod {
                untold_pods.insert(stored.row.uid.clone());
            }
            // The last status goes before the removal: whoever watches the pod must see how it ended.
            let waits = stored.row.kind == Kind::Gone && untold_pods.contains(&stored.row.uid);
            if waits || in_flight.contains(&row) || reports.len() == limit {
                continue;
            }
            let message = reports::message(&stored.row, stored.confirmed > 0).map_err(failed)?;
            reports.push(Report { row, version: stored.version, message });
        }
        if let Some(beat) = self.shared.heartbeat() {
            let row = beat.row.key();
            if !in_flight.contains(&row) && reports.len() < limit {
                // It carries all that the stored row says, with a newer heartbeat.
                reports.retain(|report| report.row != row);
                let message = reports::message(&beat.row, true).map_err(failed)?;
                reports.push(Report { row, version: beat.version, message });
            }
        }
        Ok(reports)
    }

    async fn confirm(&self, row: &RowKey, version: u64) -> Result<(), OutboxError> {
        self.shared.confirm(row, version);
        // The removal of a pod may have waited for this.
        if row.0.starts_with("pod/") {
            self.shared.outbox_changed();
        }
        Ok(())
    }

    async fn reject(&self, row: &RowKey, version: u64, reason: &str) -> Result<(), OutboxError> {
        warn!(row = %row, "the cloud will not take this report: {reason}");
        let write = Write::Reject { row: row.clone(), version };
        self.write(write).await.map_err(|error| OutboxError(error.to_string()))?;
        self.shared.drop_heartbeat(row, version);
        if row.0.starts_with("pod/") {
            self.shared.outbox_changed();
        }
        Ok(())
    }
}
