//! What nodes upload, on its way to the targets of rules.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use lru::LruCache;
use proto::message::{Message, MessageId};
use proto::pki::NodeName;
use proto::rules::To;
use proto::session::Outcome;
use tokio::sync::oneshot;
use tracing::debug;

use super::post::{NotTaken, taken};
use super::table::Rule;
use super::{Router, Shared, Work};

/// Messages whose delivery is remembered, so that one that a node sends again is not delivered again.
const REMEMBERED: usize = 16_384;

/// Which messages which rule has delivered.
pub(super) struct Delivered(Mutex<LruCache<(String, MessageId), ()>>);

/// A message and the rules that want it.
pub(super) struct Delivery {
    shared: Arc<Shared>,
    id: MessageId,
    body: Bytes,
    turns: Vec<Turn>,
}

/// A rule's turn at a message.
struct Turn {
    rule: Arc<Rule>,
    before: Option<oneshot::Receiver<()>>,
    /// Dropped when the message has been dealt with, however that ends.
    _after: oneshot::Sender<()>,
}

/// A program that waits for what a target says.
pub(super) struct Question {
    shared: Arc<Shared>,
    rule: Arc<Rule>,
    id: MessageId,
    body: Bytes,
}

impl Default for Delivered {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN))))
    }
}

impl Delivered {
    fn has(&self, rule: &Rule, id: &MessageId) -> bool {
        let key = (rule.lasting.uid.clone(), id.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&key)
    }

    fn note(&self, rule: &Rule, id: &MessageId) {
        let key = (rule.lasting.uid.clone(), id.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(key, ());
    }
}

impl Router {
    /// What was published on a node goes to every rule that wants it.
    pub(super) fn deliver(&self, node: &NodeName, request: &Message) -> Work {
        let topic = request.route.resource.to_string();
        let rules = self.shared.table().published(node, &topic);
        if rules.is_empty() && self.shared.table().may_be_wanted(node, &topic) {
            return Work::Answered(Outcome::Retry(format!(
                "the rule for topic {topic} does not work just now"
            )));
        }
        if rules.is_empty() {
            debug!(%node, topic, "no rule wants this");
            return Work::Answered(Outcome::Rejected(format!("no rule of node {node} wants topic {topic}")));
        }
        let turns = rules.into_iter().map(|rule| {
            let (after, next) = oneshot::channel();
            let before = rule.lasting.before.lock().unwrap_or_else(PoisonError::into_inner).replace(next);
            Turn { rule, before, _after: after }
        });
        Work::Deliver(Delivery {
            shared: Arc::clone(&self.shared),
            id: request.header.id.clone(),
            body: published(request),
            turns: turns.collect(),
        })
    }

    /// What a program on a node calls is posted, and it waits for the answer.
    pub(super) fn ask(&self, node: &NodeName, request: &Message) -> Work {
        let url = request.route.resource.to_string();
        let Some(rule) = self.shared.table().called(node, &url) else {
            return Work::Refused(format!(
                "url {url} is not allowed and please make a rule for this url in the cloud"
            ));
        };
        let text = request.content.as_str().unwrap_or_default();
        // KubeEdge's edge encodes what the program wrote.
        let body = BASE64_STANDARD.decode(text.as_bytes()).unwrap_or_else(|_| request.content.get().into());
        Work::Ask(Question {
            shared: Arc::clone(&self.shared),
            rule,
            id: request.header.id.clone(),
            body: body.into(),
        })
    }
}

impl Delivery {
    pub(super) async fn run(self) -> Outcome {
        let mut outcome = Outcome::Done;
        for mut turn in self.turns {
            if let Some(before) = turn.before.take() {
                // An error is the end of the one before, too.
                let _ = before.await;
            }
            let (shared, rule) = (&self.shared, &turn.rule);
            if shared.delivered.has(rule, &self.id) {
                continue;
            }
            match post(shared, rule, &self.id, &self.body).await {
                Ok(()) => {
                    shared.delivered.note(rule, &self.id);
                    shared.metrics.rule_messages_delivered.inc();
                    rule.lasting.tally.success();
                }
                Err(NotTaken::Passing(reason)) => {
                    rule.lasting.tally.trouble(&reason);
                    outcome = Outcome::Retry(reason);
                }
                Err(NotTaken::Refused(reason)) => {
                    shared.delivered.note(rule, &self.id);
                    shared.metrics.rule_messages_failed.inc();
                    rule.lasting.tally.failure(&reason);
                }
            }
        }
        outcome
    }
}

async fn post(shared: &Shared, rule: &Rule, id: &MessageId, body: &Bytes) -> Result<(), NotTaken> {
    let To::Rest { url } = &rule.way.to else {
        return Err(NotTaken::Refused("the rule has no URL to post to".into()));
    };
    if body.is_empty() {
        return Err(NotTaken::Refused("an empty message is not posted".into()));
    }
    let answer = shared.poster.post(url, &id.to_string(), body.clone()).await?;
    taken(url, &answer)
}

impl Question {
    pub(super) async fn run(self) -> Result<String, String> {
        let Self { shared, rule, id, body } = self;
        let To::Rest { url } = &rule.way.to else { return Err("the rule has no URL to post to".into()) };
        let said = shared.poster.post(url, &id.to_string(), body).await;
        let verdict = said.as_ref().map_or(Ok(()), |answer| taken(url, answer));
        match (said, verdict) {
            (Ok(answer), Ok(())) => {
                shared.metrics.rule_messages_delivered.inc();
                rule.lasting.tally.success();
                Ok(String::from_utf8_lossy(&answer.body).into_owned())
            }
            // The program gets what the target says, whatever its status: KubeEdge's answer has no room for one.
            (Ok(answer), Err(NotTaken::Passing(reason) | NotTaken::Refused(reason))) => {
                shared.metrics.rule_messages_failed.inc();
                rule.lasting.tally.failure(&reason);
                Ok(String::from_utf8_lossy(&answer.body).into_owned())
            }
            (Err(NotTaken::Passing(reason) | NotTaken::Refused(reason)), _) => {
                shared.metrics.rule_messages_failed.inc();
                rule.lasting.tally.failure(&reason);
                Err(reason)
            }
        }
    }
}

/// KubeEdge's edge sends text; ours sends what is no text as an object.
fn published(request: &Message) -> Bytes {
    if let Some(text) = request.content.as_str() {
        return text.into_owned().into();
    }
    match request.content.parse::<proto::rules::PublishBytes>() {
        Ok(bytes) => bytes.base64.into(),
        Err(_) => request.content.get().to_owned().into(),
    }
}
