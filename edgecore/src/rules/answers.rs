//! What local programs answered, until the cloud has it. In memory: who called in the cloud waits no longer than this process lives.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use proto::message::Message;
use tokio::sync::watch;

use crate::edgehub::{Outbox, OutboxError, Report, RowKey};

/// Answers that wait; the oldest go, whose callers have given up.
const MOST: usize = 256;
/// Bytes of such answers.
const MOST_BYTES: usize = 64 << 20;

/// The answers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Answers {
    waiting: Arc<Mutex<VecDeque<Message>>>,
    changed: watch::Sender<u64>,
}

impl Default for Answers {
    fn default() -> Self {
        Self { waiting: Arc::default(), changed: watch::Sender::new(0) }
    }
}

impl Answers {
    pub(super) fn add(&self, answer: Message) {
        let mut waiting = self.lock();
        waiting.push_back(answer);
        let bytes = |answer: &Message| answer.content.get().len();
        while waiting.len() > MOST
            || (waiting.len() > 1 && waiting.iter().map(bytes).sum::<usize>() > MOST_BYTES)
        {
            waiting.pop_front();
        }
        drop(waiting);
        self.changed.send_modify(|count| *count += 1);
    }

    fn remove(&self, row: &RowKey) {
        self.lock().retain(|answer| answer.header.id.as_str() != row.0);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Message>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Outbox for Answers {
    fn name(&self) -> &'static str {
        "answers"
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn ahead(&self, limit: usize, in_flight: &HashSet<RowKey>) -> Result<Vec<Report>, OutboxError> {
        let waiting = self.lock();
        let reports = waiting.iter().map(|answer| Report {
            row: RowKey(answer.header.id.to_string()),
            version: 1,
            message: answer.clone(),
        });
        Ok(reports.filter(|report| !in_flight.contains(&report.row)).take(limit).collect())
    }

    async fn confirm(&self, row: &RowKey, _: u64) -> Result<(), OutboxError> {
        self.remove(row);
        Ok(())
    }

    async fn reject(&self, row: &RowKey, _: u64, _: &str) -> Result<(), OutboxError> {
        self.remove(row);
        Ok(())
    }
}
