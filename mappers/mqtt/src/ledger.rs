//! Messages that the broker keeps until they are acknowledged, in the order in which they came: acknowledgements must have the same
//! (MQTT 3.1.1, 4.6). One connection has one ledger: the next one gets what was not acknowledged again, under other identifiers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mapper::Receipt;
use rumqttc::{AsyncClient, Publish, QoS};
use tokio::sync::Notify;

/// What is not acknowledged yet. The broker's window bounds it, or else the 65,535 identifiers that there are.
#[derive(Default)]
pub(crate) struct Ledger {
    page: Mutex<Page>,
    news: Notify,
}

#[derive(Default)]
struct Page {
    /// The number of the first entry.
    first: u64,
    entries: VecDeque<Entry>,
}

struct Entry {
    id: u16,
    qos: QoS,
    /// Values of it that could be lost if the broker forgot it.
    needed: usize,
}

/// Gives the receipts of a message's values.
pub(crate) struct Receipts {
    ledger: Arc<Ledger>,
    /// `None`: the broker keeps no such message.
    number: Option<u64>,
}

// === impl Ledger ===

impl Ledger {
    /// A message, as many values of which are needed as receipts are taken from what this returns.
    pub(crate) fn enter(self: &Arc<Self>, message: &Publish, values: usize) -> Receipts {
        let number = (message.qos != QoS::AtMostOnce).then(|| {
            let mut page = self.page();
            page.entries.push_back(Entry { id: message.pkid, qos: message.qos, needed: values });
            page.first + page.entries.len() as u64 - 1
        });
        if values == 0 {
            self.news.notify_one();
        }
        Receipts { ledger: Arc::clone(self), number }
    }

    /// Acknowledges what is not needed any more, until the connection ends.
    pub(crate) async fn acknowledge(&self, client: &AsyncClient) {
        loop {
            while let Some(message) = self.next() {
                if client.ack(&message).await.is_err() {
                    return;
                }
            }
            self.news.notified().await;
        }
    }

    /// The oldest one, if it is not needed.
    pub(crate) fn next(&self) -> Option<Publish> {
        let mut page = self.page();
        let Entry { id, qos, .. } = page.entries.pop_front_if(|oldest| oldest.needed == 0)?;
        page.first += 1;
        // Nothing else of a message is looked at.
        let mut message = Publish::new("", qos, Vec::new());
        message.pkid = id;
        Some(message)
    }

    fn received(&self, number: u64) {
        let mut page = self.page();
        let place = number.checked_sub(page.first).and_then(|place| usize::try_from(place).ok());
        if let Some(entry) = place.and_then(|place| page.entries.get_mut(place)) {
            entry.needed -= 1;
            self.news.notify_one();
        }
    }

    /// Nothing that holds it can panic half-way.
    fn page(&self) -> MutexGuard<'_, Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Receipts ===

impl Receipts {
    /// For one more of its values.
    pub(crate) fn one(&self) -> Option<Receipt> {
        let (number, ledger) = (self.number?, Arc::clone(&self.ledger));
        Some(Receipt::new(move || ledger.received(number)))
    }
}
