//! Which messages wait for the cloud, in order, within bounds. Pure; the messages themselves are on disk.

use std::collections::{BTreeMap, HashSet, VecDeque};

/// A message on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// Grows with every message.
    pub(super) seq: i64,
    pub(super) topic: String,
    pub(super) bytes: usize,
}

/// The messages. Those of one topic go up one after the other, so that they arrive in order.
#[derive(Debug)]
pub(super) struct Queue {
    most: usize,
    most_bytes: usize,
    by_seq: BTreeMap<i64, (String, usize)>,
    by_topic: BTreeMap<String, VecDeque<i64>>,
    bytes: usize,
    /// The newest number ever given: one is never given twice, or a late confirmation would be taken for another's.
    last: i64,
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self { most, most_bytes, by_seq: BTreeMap::new(), by_topic: BTreeMap::new(), bytes: 0, last: 0 }
    }

    /// The number for the next message.
    pub(super) fn next(&self) -> i64 {
        self.last + 1
    }

    pub(super) fn push(&mut self, kept: Kept) {
        let Kept { seq, topic, bytes } = kept;
        self.last = self.last.max(seq);
        self.bytes += bytes;
        self.by_topic.entry(topic.clone()).or_default().push_back(seq);
        self.by_seq.insert(seq, (topic, bytes));
    }

    /// The oldest message, if there are more than there may be.
    pub(super) fn too_many(&self) -> Option<i64> {
        let over = self.by_seq.len() > self.most || (self.bytes > self.most_bytes && self.by_seq.len() > 1);
        self.by_seq.first_key_value().map(|(seq, _)| *seq).filter(|_| over)
    }

    /// Forgets a message. Whether it was there.
    pub(super) fn remove(&mut self, seq: i64) -> bool {
        let Some((topic, bytes)) = self.by_seq.remove(&seq) else { return false };
        self.bytes -= bytes;
        if let Some(queue) = self.by_topic.get_mut(&topic) {
            queue.retain(|other| *other != seq);
            if queue.is_empty() {
                self.by_topic.remove(&topic);
            }
        }
        true
    }

    /// The oldest message of every topic that has none on its way, oldest first.
    pub(super) fn ahead(&self, limit: usize, under_way: &HashSet<&str>) -> Vec<i64> {
        let heads = self.by_topic.iter().filter(|(topic, _)| !under_way.contains(topic.as_str()));
        let mut heads: Vec<i64> = heads.filter_map(|(_, queue)| queue.front().copied()).collect();
        heads.sort_unstable();
        heads.truncate(limit);
        heads
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(seq: i64, topic: &str, bytes: usize) -> Kept {
        Kept { seq, topic: topic.into(), bytes }
    }

    #[test]
    fn a_topic_has_one_message_under_way_and_keeps_its_order() {
        let mut queue = Queue::new(10, 1000);
        for (seq, topic) in [(1, "b"), (2, "a"), (3, "b")] {
            queue.push(kept(seq, topic, 1));
        }
        assert_eq!(queue.ahead(9, &HashSet::new()), [1, 2]);
        assert_eq!(queue.ahead(1, &HashSet::new()), [1]);
        assert_eq!(queue.ahead(9, &HashSet::from(["b"])), [2]);
        assert!(queue.remove(1) && !queue.remove(1));
        assert_eq!(queue.ahead(9, &HashSet::new()), [2, 3]);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds_and_loses_the_oldest(
            sizes in proptest::collection::vec((0_usize..50, 0_usize..4), 1..60)
        ) {
            let mut queue = Queue::new(10, 100);
            let mut lost = Vec::new();
            for (bytes, topic) in &sizes {
                let seq = queue.next();
                queue.push(kept(seq, &topic.to_string(), *bytes));
                while let Some(oldest) = queue.too_many() {
                    queue.remove(oldest);
                    lost.push(oldest);
                }
                prop_assert!(queue.by_seq.len() <= 10 && (queue.bytes <= 100 || queue.by_seq.len() == 1));
                prop_assert_eq!(queue.by_topic.values().map(VecDeque::len).sum::<usize>(), queue.by_seq.len());
            }
            prop_assert!(lost.is_sorted());
        }
    }
}
