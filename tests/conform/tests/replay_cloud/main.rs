//! An edge of KubeEdge, as recorded, against our cloudcore: it hears from ours what it heard from its own.
//!
//! `cloud` starts ours, embedded control plane included; `edge` speaks the recorded lines over TLS; `script` does what the
//! person at kubectl did; `same` says what may differ. Ids, uids, versions and times are translated on the way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod cloud;
mod edge;
mod same;
mod script;

use std::collections::{BTreeMap, BTreeSet};

use conform::{CONVERSATIONS, Direction, Line, recording};
use proto::message::{Message, Operation};
use proto::session::{Codec, Dialect, Item, Limits};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message as Frame;

use cloud::Cloud;
use edge::Edge;
use same::Names;

fn decode(msg: &Value) -> Message {
    let codec = Codec::new(Dialect::KubeEdge, Limits::default());
    match codec.decode(Frame::text(msg.to_string())).unwrap().pop() {
        Some(Item::Message(message)) => message,
        other => panic!("expected a message, got {other:?}"),
    }
}

/// What was pushed last of each object on this connection, without what changes by itself.
type Pushed = BTreeMap<String, Value>;

struct Replay {
    cloud: Cloud,
    edge: Option<Edge>,
    names: Names,
    pushed: Pushed,
    /// Requests that were answered by another kind of answer than the recorded one, on purpose.
    better: BTreeSet<String>,
    answers: usize,
    pushes: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_of_kubeedge_hears_from_our_cloud_what_it_heard_from_its_own() {
    let cloud = Cloud::start().await;
    let mut replay = Replay {
        cloud,
        edge: None,
        names: Names::default(),
        pushed: Pushed::new(),
        better: BTreeSet::new(),
        answers: 0,
        pushes: 0,
    };
    for file in CONVERSATIONS {
        let lines = recording(file).unwrap();
        let mut steps = script::steps(file);
        for line in &lines {
            while steps.front().is_some_and(|step| step.before <= line.t) {
                let step = steps.pop_front().unwrap();
                replay.act(file, &step.act).await;
            }
            replay.line(file, line).await;
        }
        for step in steps {
            replay.act(file, &step.act).await;
        }
    }
    assert_eq!(replay.better, BTreeSet::from(["default/configmap/not-there".to_owned()]));
    // All 61 recorded answers, and the 32 of 67 recorded pushes that are no echoes.
    assert_eq!((replay.answers, replay.pushes), (61, 32));
    replay.edge.take().unwrap().close().await;
    replay.cloud.stop().await;
}

impl Replay {
    async fn line(&mut self, file: &str, line: &Line) {
        let at = format!("{file} t={}", line.t);
        if !line.http.is_empty() {
            if line.dir == Direction::Up {
                self.edge = Some(self.cloud.connect(&line.http).await);
                self.pushed.clear();
            }
            return;
        }
        let Some(msg) = &line.msg else {
            // The recorded link is at its end here; so is ours.
            if line.dir == Direction::Up
                && let Some(edge) = self.edge.take()
            {
                edge.close().await;
            }
            return;
        };
        let message = decode(msg);
        match line.dir {
            // Acknowledgements are given as pushes arrive, see `edge`.
            Direction::Up if message.route.operation == Operation::Response => {}
            Direction::Up => {
                let said = self.names.ours(message);
                self.link().say(said).await;
            }
            Direction::Down if message.header.parent.is_some() => self.answer(&at, message).await,
            Direction::Down => self.push(&at, file, message).await,
        }
    }

    async fn act(&mut self, file: &str, act: &script::Act) {
        match act {
            script::Act::CutLink => self.edge.take().unwrap().close().await,
            script::Act::RestartCloud => {
                if let Some(edge) = self.edge.take() {
                    edge.close().await;
                }
                self.cloud.restart().await;
            }
            other => script::perform(other, file, &self.cloud.client).await,
        }
    }

    fn link(&mut self) -> &mut Edge {
        self.edge.as_mut().unwrap()
    }

    async fn answer(&mut self, at: &str, recorded: Message) {
        let parent = recorded.header.parent.clone().unwrap();
        let Some(ours) = self.link().hear(|m| m.header.parent.as_ref() == Some(&parent)).await else {
            panic!("{at}: no answer to {parent} ({})", recorded.route.resource);
        };
        self.answers += 1;
        if same::is_failure(&recorded) && ours.route.operation == Operation::Error {
            // A KubeEdge edge would store the recorded answer as an empty object.
            same::failed_in_words(&ours);
            self.better.insert(recorded.route.resource.to_string());
            return;
        }
        if let Err(difference) = same::answers(&recorded, &ours, &mut self.names) {
            panic!("{at}: {difference}\nrecorded {recorded:?}\nours     {ours:?}");
        }
    }

    async fn push(&mut self, at: &str, file: &str, recorded: Message) {
        let resource = recorded.route.resource.to_string();
        let essence = same::essence(&recorded);
        let known = self.pushed.insert(resource.clone(), essence.clone());
        // After a node or pod patch KubeEdge sends the object back; we need not.
        let echo = known.is_some_and(|before| same::echoes(&recorded, &before, &essence));
        if echo {
            return;
        }
        let resumed = matches!(file, "14" | "15");
        let names = &self.names;
        let fits = |m: &Message| same::pushes(&recorded, m, names, resumed).is_ok();
        let edge = self.edge.as_mut().unwrap();
        let Some(ours) = edge.hear(fits).await else {
            let near: Vec<String> = edge
                .heard()
                .filter(|m| m.route.resource == recorded.route.resource)
                .map(|m| match same::pushes(&recorded, m, &self.names, resumed) {
                    Err(difference) => format!("{difference}: {m:?}"),
                    Ok(()) => format!("it fits: {m:?}"),
                })
                .collect();
            panic!("{at}: no push like {recorded:?}\nof that object there was: {near:#?}");
        };
        self.pushes += 1;
        self.names.learn(&recorded, &ours);
    }
}
