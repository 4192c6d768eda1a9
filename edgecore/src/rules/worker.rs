//! Owns the store: takes commands in groups, writes each group at once, and answers when it is on disk.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use proto::message::{Content, Group, Message, MessageId, Operation, Route, Source};
use proto::resource::Resource;
use proto::rules::{Orders, PublishBytes};
use proto::session::Dialect;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::queue::{Kept, Queue};
use super::store::{Batch, Store, StoreError};
use crate::devicetwin::Verdict;
use crate::edgehub::{Connection, Report, RowKey};
use sqlite::is_corrupt;

/// Commands in one transaction.
const GROUP: usize = 256;

/// What the worker is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Keep what was published until the cloud has it. Done when it is on disk.
    Keep { topic: String, payload: Bytes, done: oneshot::Sender<Verdict> },
    /// From now on this is wanted. True when it is on disk.
    Order { change: Change, done: oneshot::Sender<bool> },
    /// Tell what the cloud has not taken.
    Ahead { limit: usize, in_flight: HashSet<RowKey>, answer: oneshot::Sender<Result<Vec<Report>, String>> },
    /// The cloud has taken it, or never will.
    Settled { row: RowKey, version: u64, refused: Option<String> },
}

/// A change of what is wanted.
#[derive(Debug)]
pub(super) enum Change {
    All(Orders),
    Subscribe(String),
    Unsubscribe(String),
    Start(String),
    Stop(String),
}

/// The state.
pub(super) struct Worker {
    pub(super) store: Store,
    pub(super) queue: Queue,
    pub(super) waiting: mpsc::Receiver<Command>,
    pub(super) orders: watch::Sender<Arc<Orders>>,
    pub(super) changed: watch::Sender<u64>,
    pub(super) connection: watch::Receiver<Connection>,
    /// Messages that found no room.
    pub(super) lost: u64,
    /// The file may be a new one: what is wanted is written into it with the next batch.
    pub(super) rewrite: bool,
}

impl Worker {
    pub(super) async fn run(&mut self, token: CancellationToken) -> Result<(), Infallible> {
        let mut commands = VecDeque::with_capacity(GROUP);
        let mut group = Vec::with_capacity(GROUP);
        loop {
            tokio::select! {
                count = self.waiting.recv_many(&mut group, GROUP) => if count == 0 {
                    break;
                },
                () = token.cancelled() => break,
            }
            commands.extend(group.drain(..));
            self.serve(&mut commands).await;
        }
        self.store.close().await;
        Ok(())
    }

    async fn serve(&mut self, commands: &mut VecDeque<Command>) {
        let mut batch = Batch::default();
        let (mut done, mut published) = (Vec::new(), Vec::new());
        let mut asked = Vec::new();
        let mut orders: Orders = (**self.orders.borrow()).clone();
        let mut next = self.queue.next();
        let mut kept = Vec::new();
        for command in commands.drain(..) {
            match command {
                Command::Keep { topic, payload, done: answer } => {
                    let id = MessageId::new().to_string();
                    kept.push(Kept { seq: next, topic: topic.clone(), bytes: payload.len() });
                    batch.kept.push((next, id, topic, payload));
                    next += 1;
                    published.push(answer);
                }
                Command::Order { change, done: answer } => {
                    change.apply(&mut orders);
                    done.push(answer);
                }
                Command::Ahead { limit, in_flight, answer } => asked.push((limit, in_flight, answer)),
                Command::Settled { row, version, refused } => {
                    if let Some(reason) = refused {
                        debug!(%row, "the cloud does not want this message: {reason}");
                    }
                    batch.gone.extend(i64::try_from(version).ok());
                }
            }
        }
        if orders != **self.orders.borrow() || (self.rewrite && !batch.is_empty()) {
            batch.orders = Some(orders.clone());
        }
        let settled = !batch.gone.is_empty();
        let stored = match batch.is_empty() {
            true => true,
            false => self.write(&batch).await,
        };
        // A message that the cloud has taken is gone for this process even if the disk says no: at worst it is sent again.
        for seq in &batch.gone {
            self.queue.remove(*seq);
        }
        let news = !kept.is_empty();
        if stored {
            kept.into_iter().for_each(|kept| self.queue.push(kept));
            if batch.orders.is_some() {
                self.rewrite = false;
                let (topics, urls) = (orders.topics.len(), orders.urls.len());
                info!("rules want {topics} topics and {urls} URLs of this node");
                self.orders.send_replace(Arc::new(orders));
            }
            self.make_room().await;
        }
        for answer in done {
            // Whoever asked may be gone.
            let _ = answer.send(stored);
        }
        for answer in published {
            let _ = answer.send(if stored { Verdict::Done } else { Verdict::NotStored });
        }
        if settled || (news && stored) {
            self.changed.send_modify(|count| *count += 1);
        }
        for (limit, in_flight, answer) in asked {
            let ahead = self.ahead(limit, &in_flight).await;
            let _ = answer.send(ahead.map_err(|error| error.to_string()));
        }
    }

    async fn write(&mut self, batch: &Batch) -> bool {
        match self.store.write(batch).await {
            Ok(()) => true,
            Err(error) => {
                warn!("what rules want of this node cannot be stored: {error}");
                self.mend(&error).await;
                false
            }
        }
    }

    async fn mend(&mut self, error: &StoreError) {
        if matches!(error, StoreError::Sql(sql) if is_corrupt(sql)) {
            self.store.close().await;
            self.rewrite = true;
        }
    }

    /// The last resort: the oldest go.
    async fn make_room(&mut self) {
        let mut gone = Vec::new();
        while let Some(oldest) = self.queue.too_many() {
            self.queue.remove(oldest);
            gone.push(oldest);
        }
        if gone.is_empty() {
            return;
        }
        let before = self.lost;
        self.lost += u64::try_from(gone.len()).unwrap_or(0);
        if before == 0 || before / 1000 < self.lost / 1000 {
            warn!(lost = self.lost, "messages for the cloud fill their room: the oldest are dropped");
        }
        self.write(&Batch { gone, ..Batch::default() }).await;
    }

    async fn ahead(&mut self, limit: usize, in_flight: &HashSet<RowKey>) -> Result<Vec<Report>, StoreError> {
        let under_way = in_flight.iter().map(|row| row.0.as_str()).collect();
        let mut reports = Vec::new();
        for seq in self.queue.ahead(limit, &under_way) {
            let stored = match self.store.read(seq).await {
                Ok(stored) => stored,
                Err(error) => {
                    self.mend(&error).await;
                    return Err(error);
                }
            };
            let Some(stored) = stored else {
                self.queue.remove(seq);
                continue;
            };
            let dialect = match *self.connection.borrow() {
                Connection::Up { dialect } => dialect,
                Connection::Down => Dialect::KubeEdge,
            };
            let resource = Resource::from(stored.topic.as_str());
            let route = Route::new(Source::Bus, Group::User, Operation::Upload, resource);
            let mut message = Message::new(route, content(stored.payload, dialect));
            // The same at every attempt: by it the cloud knows what it has delivered.
            if let Ok(id) = stored.id.parse() {
                message.header.id = id;
            }
            reports.push(Report {
                row: RowKey(stored.topic),
                version: u64::try_from(seq).unwrap_or(0),
                message,
            });
        }
        Ok(reports)
    }
}

/// As KubeEdge's edge says it: text. Other bytes only a Skerry cloud takes as they are.
fn content(payload: Vec<u8>, dialect: Dialect) -> Content {
    match (String::from_utf8(payload), dialect) {
        (Ok(text), _) => Content::text(&text),
        (Err(bytes), Dialect::SkerryV1) => {
            Content::json(&PublishBytes { base64: bytes.into_bytes() }).unwrap_or_else(|_| Content::null())
        }
        (Err(bytes), Dialect::KubeEdge) => Content::text(&String::from_utf8_lossy(bytes.as_bytes())),
    }
}

impl Change {
    fn apply(self, orders: &mut Orders) {
        match self {
            Self::All(all) => *orders = all,
            Self::Subscribe(topic) => {
                orders.topics.insert(topic);
            }
            Self::Unsubscribe(topic) => {
                orders.topics.remove(&topic);
            }
            Self::Start(url) => {
                orders.urls.insert(url);
            }
            // KubeEdge's cloud cleans the URL like a path when it takes it back, but not when it gives it.
            Self::Stop(url) => orders.urls.retain(|own| *own != url && cleaned(own) != url),
        }
    }
}

fn cleaned(url: &str) -> String {
    let segments: Vec<&str> = url.split('/').filter(|segment| !segment.is_empty()).collect();
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_back_in_the_form_in_which_kubeedge_says_it() {
        let mut orders = Orders::default();
        Change::Start("http://app/x/".into()).apply(&mut orders);
        Change::Stop("http:/other".into()).apply(&mut orders);
        assert_eq!(orders.urls.len(), 1);
        Change::Stop("http:/app/x".into()).apply(&mut orders);
        assert!(orders.urls.is_empty());
    }

    #[test]
    fn text_goes_up_as_text_and_bytes_as_bytes_if_the_cloud_takes_them() {
        assert_eq!(content(b"{\"v\":1}".to_vec(), Dialect::SkerryV1).as_str().unwrap(), "{\"v\":1}");
        assert_eq!(content(vec![0xff], Dialect::SkerryV1).get(), r#"{"base64":"/w=="}"#);
        assert_eq!(content(vec![0xff], Dialect::KubeEdge).as_str().unwrap(), "\u{fffd}");
    }
}
