//! Rules: messages between programs in the cloud and programs and MQTT on nodes.
//!
//! Owns: the [`table`] of rules, their statuses (nobody else writes them), the REST port, and what nodes are told that rules want of
//! them. All that is needed to go on is in the objects. A message that a node keeps until it is answered is confirmed when its target
//! has taken it. May call: the Kubernetes API, sessions, the targets' URLs. Called by: the wiring, which runs [`Router::run`], serves
//! [`rest`], and hands it what nodes upload.

mod calls;
mod deliver;
mod orders;
mod path;
mod post;
pub mod rest;
mod table;
mod tally;
mod watch;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use proto::message::{Message, Source};
use proto::pki::NodeName;
use proto::session::Outcome;
use tokio::sync::Notify;

use crate::cloudhub::Sessions;
use crate::cloudhub::session::Reply;
use crate::metrics::Metrics;
use calls::Calls;
use deliver::Delivered;
use post::Poster;
use table::Table;

/// The rules' engine. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    sessions: Sessions,
    metrics: Metrics,
    enabled: bool,
    timeout: Duration,
    table: Mutex<Table>,
    synced: AtomicBool,
    calls: Calls,
    delivered: Delivered,
    poster: Poster,
    /// A rule or a session came or went: nodes may have to be told.
    changed: Notify,
}

// === impl Router ===

impl Router {
    /// An engine that knows no rules yet. One that is not `enabled` is never run, and has none. `timeout` is how long a caller of the
    /// REST port waits.
    #[must_use]
    pub fn new(
        client: Client,
        sessions: Sessions,
        metrics: Metrics,
        enabled: bool,
        timeout: Duration,
    ) -> Self {
        let shared = Shared {
            client,
            sessions,
            metrics,
            enabled,
            timeout,
            table: Mutex::default(),
            synced: AtomicBool::new(false),
            calls: Calls::default(),
            delivered: Delivered::default(),
            poster: if enabled { Poster::new() } else { Poster::none() },
            changed: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Deals with what a program on `node` uploads. Messages of one rule have their places when this returns, so they are delivered in
    /// the order in which they came.
    pub fn handle(&self, node: &NodeName, request: Message) -> impl Future<Output = Reply> + Send + use<> {
        let work = self.accept(node, request);
        async move {
            match work {
                Work::Answered(outcome) => Reply::Report(outcome),
                Work::Deliver(delivery) => Reply::Report(delivery.run().await),
                Work::Ask(question) => Reply::Said(question.run().await),
                Work::Refused(reason) => Reply::Said(Err(reason)),
            }
        }
    }

    /// A session of some node has begun: it may have to be told something.
    pub fn connected(&self) {
        self.shared.changed.notify_one();
    }

    fn accept(&self, node: &NodeName, request: Message) -> Work {
        if let Some(parent) = &request.header.parent {
            self.shared.calls.answered(node, parent, &request.content);
            // Whoever waited may have given up: nobody else wants it.
            return Work::Answered(Outcome::Done);
        }
        let from_program = request.route.source == Source::ServiceBus;
        if !self.shared.enabled {
            let reason = "modules.router.enable is false in this cloudcore".to_owned();
            return if from_program {
                Work::Refused(reason)
            } else {
                Work::Answered(Outcome::Rejected(reason))
            };
        }
        if let Some(reason) = self.unready() {
            return if from_program { Work::Refused(reason) } else { Work::Answered(Outcome::Retry(reason)) };
        }
        if from_program { self.ask(node, &request) } else { self.deliver(node, &request) }
    }

    fn unready(&self) -> Option<String> {
        let synced = self.shared.synced.load(Ordering::Acquire);
        (!synced).then(|| "cloudcore has just started and does not know the rules yet".into())
    }
}

impl Shared {
    /// A panic cannot leave the table half-changed in a way that the next watch event does not mend.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an upload is.
enum Work {
    /// Nothing is left to do.
    Answered(Outcome),
    /// A message that was published on the node.
    Deliver(deliver::Delivery),
    /// A program on the node waits for an answer.
    Ask(deliver::Question),
    /// A program that gets none.
    Refused(String),
}
