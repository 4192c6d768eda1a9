//! Tells nodes what rules want of them: a Skerry edge everything at once, KubeEdge's what is new and what is over.

use std::collections::HashMap;

use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::pki::NodeName;
use proto::resource::Resource;
use proto::rules::{ORDERS, Orders};
use proto::session::Dialect;

/// What nodes were told.
#[derive(Debug, Default)]
pub(super) struct Told {
    nodes: HashMap<NodeName, Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// On which session.
    session: Option<u64>,
    /// On that session.
    told: Orders,
    /// On any session of this process: a KubeEdge edge keeps it until it is told that it is over.
    held: Orders,
}

impl Told {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Forgets nodes that are not connected and hold nothing that would have to be taken back.
    pub(super) fn keep(&mut self, connected: impl Fn(&NodeName) -> bool) {
        self.nodes.retain(|node, known| connected(node) || known.held != Orders::default());
    }

    /// Tells `node` what it does not know yet. `send` is false when the session takes no more just now.
    pub(super) fn tell(
        &mut self,
        node: &NodeName,
        session: u64,
        dialect: Dialect,
        wanted: &Orders,
        mut send: impl FnMut(Message) -> bool,
    ) {
        let known = self.nodes.entry(node.clone()).or_default();
        let anew = known.session != Some(session);
        if anew {
            known.told = Orders::default();
        }
        if dialect == Dialect::SkerryV1 {
            if (anew || known.told != *wanted) && send(everything(wanted)) {
                known.session = Some(session);
                known.told = wanted.clone();
            }
            return;
        }
        known.session = Some(session);
        let Node { told, held, .. } = known;
        let both = [
            (
                &wanted.topics,
                &mut told.topics,
                &mut held.topics,
                Operation::Subscribe,
                Operation::Unsubscribe,
            ),
            (&wanted.urls, &mut told.urls, &mut held.urls, Operation::Start, Operation::Stop),
        ];
        for (wanted, told, held, begin, end) in both {
            for over in held.difference(wanted).cloned().collect::<Vec<_>>() {
                if !send(one(&end, &over)) {
                    return;
                }
                held.remove(&over);
                told.remove(&over);
            }
            for new in wanted.difference(told).cloned().collect::<Vec<_>>() {
                if !send(one(&begin, &new)) {
                    return;
                }
                held.insert(new.clone());
                told.insert(new);
            }
        }
    }
}

fn everything(orders: &Orders) -> Message {
    let route =
        Route::new(Source::RouterEventBus, Group::User, Operation::Update, Resource::Other(ORDERS.into()));
    // Sets of strings have a JSON form.
    Message::new(route, Content::json(orders).unwrap_or_else(|_| Content::null()))
}

fn one(operation: &Operation, resource: &str) -> Message {
    let source = match operation {
        Operation::Start | Operation::Stop => Source::RouterServiceBus,
        _ => Source::RouterEventBus,
    };
    Message::new(
        Route::new(source, Group::User, operation.clone(), Resource::from(resource)),
        Content::null(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(topics: &[&str], urls: &[&str]) -> Orders {
        let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Orders { topics: set(topics), urls: set(urls) }
    }

    fn said(told: &mut Told, session: u64, dialect: Dialect, wanted: &Orders, room: usize) -> Vec<String> {
        let mut said = Vec::new();
        told.tell(&"edge1".parse().unwrap(), session, dialect, wanted, |message| {
            let fits = said.len() < room;
            if fits {
                said.push(format!("{} {}", message.route.operation, message.route.resource));
            }
            fits
        });
        said
    }

    #[test]
    fn a_kubeedge_edge_hears_what_is_new_and_over_and_all_of_it_on_each_session() {
        let mut told = Told::default();
        let edge = Dialect::KubeEdge;
        let two = orders(&["default/a", "default/b"], &["http://x"]);
        assert_eq!(
            said(&mut told, 1, edge, &two, 9),
            ["subscribe default/a", "subscribe default/b", "start http://x"]
        );
        assert!(said(&mut told, 1, edge, &two, 9).is_empty());
        // Deleted while it was away: it still has it, so it is told on the next session.
        let one = orders(&["default/b"], &[]);
        assert_eq!(
            said(&mut told, 2, edge, &one, 9),
            ["unsubscribe default/a", "subscribe default/b", "stop http://x"]
        );
        told.keep(|_| false);
        assert_eq!(
            said(&mut told, 3, edge, &orders(&["c/d", "e/f"], &[]), 2),
            ["unsubscribe default/b", "subscribe c/d"]
        );
        assert_eq!(said(&mut told, 3, edge, &orders(&["c/d", "e/f"], &[]), 2), ["subscribe e/f"]);
    }

    #[test]
    fn a_skerry_edge_hears_everything_once_a_session_and_at_each_change() {
        let mut told = Told::default();
        let edge = Dialect::SkerryV1;
        let none = orders(&[], &[]);
        assert!(said(&mut told, 1, edge, &none, 0).is_empty());
        assert_eq!(said(&mut told, 1, edge, &none, 9), ["update rules"]);
        assert!(said(&mut told, 1, edge, &none, 9).is_empty());
        assert_eq!(said(&mut told, 1, edge, &orders(&["a/b"], &[]), 9), ["update rules"]);
        assert_eq!(said(&mut told, 2, edge, &orders(&["a/b"], &[]), 9), ["update rules"]);
        told.keep(|_| false);
        assert!(told.nodes.is_empty());
    }
}
