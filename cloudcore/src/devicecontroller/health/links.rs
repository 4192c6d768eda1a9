//! Nodes as they are connected, and what they say of their mappers.

use std::time::Duration;

use proto::devices::MapperReport;
use proto::session::Dialect;
use tokio::time::Instant;

use super::Inner;
use crate::cloudhub::Sessions;

/// How long a node may be without a session before its devices are said to be cut off: it reconnects within seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// Mappers of a node, devices that one refuses, and characters of what is said about them: more is cut off.
const MAPPERS: usize = 256;
const REFUSED: usize = 1000;
const CHARACTERS: usize = 512;

/// A node's connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    /// When there was a session last.
    pub(super) at: Instant,
    pub(super) session: u64,
    /// Since when there is this one.
    pub(super) since: Instant,
    pub(super) dialect: Dialect,
    /// Since when it listens to its devices, if it has said so in this session.
    pub(super) listens: Option<Instant>,
}

impl Link {
    pub(super) fn new(session: u64, dialect: Dialect, since: Instant) -> Self {
        Self { at: since, session, since, dialect, listens: None }
    }
}

impl Inner {
    /// Looks at who is connected, and forgets nodes that are gone.
    pub(super) fn follow_links(&mut self, sessions: &Sessions, now: Instant) {
        for (node, session, dialect) in sessions.all() {
            let told = self.listeners.get(&node).filter(|(of, _)| *of == session);
            let listens = told.map(|(_, since)| *since);
            let link = self.links.entry(node).or_insert_with(|| Link::new(session, dialect, now));
            if link.session != session {
                *link = Link::new(session, dialect, now);
            }
            (link.at, link.listens) = (now, listens);
        }
        self.links.retain(|_, link| now - link.at < PATIENCE);
        // Before the first list every node is unknown.
        if self.nodes_listed {
            let (links, nodes) = (&self.links, &self.nodes);
            let is_there =
                |node: &proto::pki::NodeName| links.contains_key(node) || nodes.contains_key(node.as_str());
            self.mappers.retain(|node, _| is_there(node));
            self.listeners.retain(|node, _| is_there(node));
        }
    }
}

/// What is kept of a node's report: no node may fill our memory.
pub(super) fn bounded(mut report: MapperReport) -> MapperReport {
    let cut = |text: &mut String| {
        if let Some((end, _)) = text.char_indices().nth(CHARACTERS) {
            text.truncate(end);
        }
    };
    report.mappers.truncate(MAPPERS);
    for mapper in &mut report.mappers {
        mapper.refused.truncate(REFUSED);
        for text in [&mut mapper.protocol, &mut mapper.name, &mut mapper.version, &mut mapper.message] {
            cut(text);
        }
        for refused in &mut mapper.refused {
            cut(&mut refused.id);
            cut(&mut refused.message);
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use proto::devices::{MapperStatus, RefusedDevice};

    use super::*;

    #[test]
    fn a_node_that_says_too_much_of_its_mappers_is_cut_short() {
        let refused = RefusedDevice { id: "default/d".into(), message: "\u{e9}".repeat(600) };
        let talker = MapperStatus {
            protocol: "modbus".into(),
            name: "x".repeat(600),
            refused: vec![refused; REFUSED + 1],
            ..MapperStatus::default()
        };
        let mut mappers = vec![MapperStatus::default(); MAPPERS + 1];
        mappers[0] = talker;
        let report = bounded(MapperReport { timestamp: 1, mappers });
        assert_eq!(report.mappers.len(), MAPPERS);
        let mapper = &report.mappers[0];
        assert_eq!((mapper.protocol.as_str(), mapper.name.len()), ("modbus", CHARACTERS));
        assert_eq!((mapper.refused.len(), mapper.refused[0].message.chars().count()), (REFUSED, CHARACTERS));
    }
}
