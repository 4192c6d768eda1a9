//! Runs between the session and one outbox: orders there, rows and changes back, in order.

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::join_all;
use tasks::TaskSet;
use tokio::sync::mpsc;
use tracing::warn;

use super::connection::Event;
use super::outbox::{Outbox, RowKey};
use super::session::{Input, OutboxId};

/// Orders taken at once, so that the outbox can group its writes.
const GROUP: usize = 256;

#[derive(Debug)]
pub(super) enum Order {
    Pull { limit: usize, in_flight: HashSet<RowKey> },
    Confirm { row: RowKey, version: u64 },
    Reject { row: RowKey, version: u64, reason: String },
}

/// The way to one outbox.
#[derive(Debug)]
pub(super) struct Courier {
    orders: mpsc::Sender<Order>,
}

impl Courier {
    /// False if the outbox is hopelessly behind.
    pub(super) fn give(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }
}

/// One courier per outbox, on `tasks`.
pub(super) fn spawn(
    outboxes: &[Arc<dyn Outbox>],
    window: usize,
    events: &mpsc::Sender<Event>,
    tasks: &TaskSet,
) -> Vec<Courier> {
    let spawn = |(id, outbox): (OutboxId, &Arc<dyn Outbox>)| {
        // Rows are only pulled after the confirmations before, so a window of them is the most that can wait.
        let (orders, queue) = mpsc::channel(2 * window + 16);
        let (outbox, events) = (Arc::clone(outbox), events.clone());
        tasks.spawn_once(format!("outbox {}", outbox.name()), move |_| run(id, outbox, queue, events));
        Courier { orders }
    };
    outboxes.iter().enumerate().map(spawn).collect()
}

async fn run(
    id: OutboxId,
    outbox: Arc<dyn Outbox>,
    mut queue: mpsc::Receiver<Order>,
    events: mpsc::Sender<Event>,
) {
    let mut changed = outbox.changed();
    // The session looks at every outbox once by itself.
    changed.mark_unchanged();
    let mut orders = Vec::with_capacity(GROUP);
    loop {
        let input = tokio::select! {
            biased;
            count = queue.recv_many(&mut orders, GROUP) => {
                if count == 0 {
                    return;
                }
                carry(id, &*outbox, &mut orders).await
            }
            Ok(()) = changed.changed() => Some(Input::Changed(id)),
        };
        if let Some(input) = input
            && events.send(Event::Input(input)).await.is_err()
        {
            return;
        }
    }
}

/// Carries out the orders; the rows, if a pull was among them. There is never more than one.
async fn carry(id: OutboxId, outbox: &dyn Outbox, orders: &mut Vec<Order>) -> Option<Input> {
    let mut pull = None;
    let mut verdicts = Vec::with_capacity(orders.len());
    for order in orders.drain(..) {
        match order {
            Order::Pull { limit, in_flight } => pull = Some((limit, in_flight)),
            verdict => verdicts.push(verdict),
        }
    }
    let deliver = verdicts.iter().map(|verdict| async move {
        let done = match verdict {
            Order::Confirm { row, version } => outbox.confirm(row, *version).await,
            Order::Reject { row, version, reason } => outbox.reject(row, *version, reason).await,
            Order::Pull { .. } => Ok(()),
        };
        if let Err(reason) = done {
            warn!(outbox = outbox.name(), "a confirmation is lost, the row will be sent again: {reason}");
        }
    });
    join_all(deliver).await;
    let (limit, in_flight) = pull?;
    let reports = match outbox.ahead(limit, &in_flight).await {
        Ok(reports) => Some(reports),
        Err(reason) => {
            warn!(outbox = outbox.name(), "the outbox cannot be read: {reason}");
            None
        }
    };
    Some(Input::Ahead { outbox: id, limit, reports })
}
