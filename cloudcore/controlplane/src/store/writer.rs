//! The one task that writes: takes what waits, commits it as one transaction, then shows it to readers and answers.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::disk::{Disk, Row};
use super::state::{DeadRow, State};
use super::{Object, ObjectId, WriteError, read};

/// Writes that one transaction may hold.
const GROUP: usize = 128;
/// Dead rows that one transaction removes on the side, once there are enough of them.
const SWEEP: usize = 256;
const SWEEP_FROM: usize = 64;
/// When nobody has written for so long, a store with much free space shrinks by a step.
const QUIET: Duration = Duration::from_millis(50);
/// How long the last log pages may wait for being folded into the main file when nothing is written.
const IDLE: Duration = Duration::from_secs(60);

pub(super) enum Change {
    Put(Value),
    Delete,
}

pub(super) struct Request {
    pub(super) id: ObjectId,
    /// None: there must be no object. Some: there must be one, at this revision.
    pub(super) expected: Option<u64>,
    pub(super) change: Change,
    pub(super) answer: oneshot::Sender<Result<Arc<Object>, WriteError>>,
}

pub(super) struct Writer {
    disk: Disk,
    state: Arc<RwLock<State>>,
    requests: mpsc::Receiver<Request>,
    /// A transaction failed and may or may not be on disk: look before writing again.
    doubt: bool,
    /// Revisions up to here were given out, if only to writes that failed.
    used: u64,
}

/// A request that holds its revision and waits for the commit.
struct Pending {
    id: ObjectId,
    object: Arc<Object>,
    deleted: bool,
    answer: oneshot::Sender<Result<Arc<Object>, WriteError>>,
}

/// A request that is refused because of one before it in the same group. Who is told of that must find it.
struct Late {
    answer: oneshot::Sender<Result<Arc<Object>, WriteError>>,
    error: WriteError,
}

pub(super) fn write(state: &RwLock<State>) -> RwLockWriteGuard<'_, State> {
    state.write().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    pub(super) fn new(disk: Disk, state: Arc<RwLock<State>>, requests: mpsc::Receiver<Request>) -> Self {
        let used = read(&state).revision();
        Self { disk, state, requests, doubt: false, used }
    }

    /// Runs until cancelled or until nobody can write any more; what was accepted by then is committed.
    pub(super) async fn run(mut self, token: CancellationToken) {
        let mut group = Vec::with_capacity(GROUP);
        let mut dirty = false;
        loop {
            tokio::select! {
                biased;
                received = self.requests.recv_many(&mut group, GROUP) => {
                    if received == 0 {
                        break;
                    }
                    self.commit(&mut group).await;
                    dirty = true;
                }
                () = token.cancelled() => {
                    self.requests.close();
                    // What was sent before the close still comes out of `recv_many`; then it returns 0.
                    while self.requests.recv_many(&mut group, GROUP).await > 0 {
                        self.commit(&mut group).await;
                    }
                    break;
                }
                () = tokio::time::sleep(QUIET), if self.disk.is_spacious() => self.disk.shrink().await,
                () = tokio::time::sleep(IDLE), if dirty => {
                    self.disk.checkpoint().await;
                    dirty = false;
                }
            }
        }
        self.disk.close().await;
    }

    async fn commit(&mut self, group: &mut Vec<Request>) {
        if self.doubt
            && let Err(reason) = self.resolve_doubt().await
        {
            for request in group.drain(..) {
                // A caller that went away needs no answer.
                let _ = request.answer.send(Err(WriteError::Disk(reason.clone())));
            }
            return;
        }
        let (pending, late) = self.admit(group);
        if pending.is_empty() {
            return;
        }
        let rows: Vec<Row<'_>> = pending.iter().map(Pending::row).collect();
        let dead = write(&self.state).take_dead(SWEEP_FROM, SWEEP);
        match self.disk.append(&rows, &dead).await {
            Ok(()) => {
                self.publish(pending);
                for Late { answer, error } in late {
                    // A caller that went away needs no answer.
                    let _ = answer.send(Err(error));
                }
            }
            Err(reason) => {
                let reason = reason.to_string();
                self.refuse(pending, dead, &reason);
                for Late { answer, .. } in late {
                    // A caller that went away needs no answer.
                    let _ = answer.send(Err(WriteError::Disk(reason.clone())));
                }
            }
        }
    }

    /// Checks each request against the state as the ones before it will have left it, and gives it its revision.
    fn admit(&mut self, group: &mut Vec<Request>) -> (Vec<Pending>, Vec<Late>) {
        let state = read(&self.state);
        let now = Timestamp::now().as_second();
        let mut ahead: HashMap<ObjectId, Option<Arc<Object>>> = HashMap::new();
        let (mut pending, mut late) = (Vec::with_capacity(group.len()), Vec::new());
        for Request { id, expected, change, answer } in group.drain(..) {
            let current = ahead.get(&id).cloned().unwrap_or_else(|| state.get(&id));
            let revision = self.used + 1;
            let admitted = match (current, expected, change) {
                (Some(_), None, _) => Err(WriteError::AlreadyExists),
                (None, Some(_), _) | (None, None, Change::Delete) => Err(WriteError::NotFound),
                (Some(current), Some(expected), _) if current.revision != expected => {
                    Err(WriteError::Conflict { current: current.revision })
                }
                (_, _, Change::Put(value)) => {
                    Object::stamp(&id.collection, revision, now, value).map(|object| (object, false))
                }
                (Some(current), _, Change::Delete) => {
                    Object::stamp(&id.collection, revision, now, current.value()).map(|object| (object, true))
                }
            };
            match admitted {
                Ok((object, deleted)) => {
                    self.used = revision;
                    let object = Arc::new(object);
                    ahead.insert(id.clone(), (!deleted).then(|| Arc::clone(&object)));
                    pending.push(Pending { id, object, deleted, answer });
                }
                Err(error) if ahead.contains_key(&id) => late.push(Late { answer, error }),
                // A caller that went away needs no answer.
                Err(error) => drop(answer.send(Err(error))),
            }
        }
        (pending, late)
    }

    fn publish(&self, pending: Vec<Pending>) {
        let mut state = write(&self.state);
        for one in &pending {
            state.apply(&one.id, Arc::clone(&one.object), one.deleted);
        }
        drop(state);
        for one in pending {
            // A caller that went away needs no answer.
            let _ = one.answer.send(Ok(one.object));
        }
    }

    fn refuse(&mut self, pending: Vec<Pending>, dead: Vec<DeadRow>, reason: &str) {
        tracing::error!(writes = pending.len(), "cannot write to the store: {reason}");
        self.doubt = true;
        write(&self.state).return_dead(dead);
        for one in pending {
            // A caller that went away needs no answer.
            let _ = one.answer.send(Err(WriteError::Disk(reason.to_owned())));
        }
    }

    /// After a failed commit: what is on disk after all is shown, so that memory and disk agree again.
    async fn resolve_doubt(&mut self) -> Result<(), String> {
        let known = read(&self.state).revision();
        let found = self.disk.rows_after(known).await.map_err(|error| error.to_string())?;
        let mut state = write(&self.state);
        for stored in found {
            stored.apply(&mut state)?;
        }
        drop(state);
        self.doubt = false;
        Ok(())
    }
}

impl Pending {
    fn row(&self) -> Row<'_> {
        Row {
            revision: self.object.revision,
            written: self.object.written,
            id: &self.id,
            json: (!self.deleted).then(|| self.object.json()),
        }
    }
}
