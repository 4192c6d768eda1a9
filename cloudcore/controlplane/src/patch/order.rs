//! The order of a merged list. Items that the patch names come in the patch's order; the server's own keep theirs; where the
//! two meet, the server's order decides and what is new goes first.

use serde_json::Value;

/// How two items are recognised as the same.
#[derive(Clone, Copy)]
pub(super) enum Identity {
    /// Plain values: by value.
    Value,
    /// Maps: by this key.
    Key(&'static str),
}

impl Identity {
    fn same(self, a: &Value, b: &Value) -> bool {
        match self {
            Identity::Value => a == b,
            Identity::Key(key) => match (a.get(key), b.get(key)) {
                (Some(a), Some(b)) => a == b,
                _ => false,
            },
        }
    }

    fn position(self, list: &[Value], item: &Value) -> Option<usize> {
        list.iter().position(|one| self.same(one, item))
    }
}

/// Orders `merged` by `wanted` (from the patch) and `server` (before the patch).
pub(super) fn arrange(
    merged: Vec<Value>,
    wanted: &[Value],
    server: &[Value],
    identity: Identity,
) -> Vec<Value> {
    let (mut named, mut own): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| identity.position(wanted, item).is_some());
    let by = |list: &[Value], item: &Value| identity.position(list, item).unwrap_or(usize::MAX);
    named.sort_by_key(|item| by(wanted, item));
    own.sort_by_key(|item| by(server, item));
    interleave(own, named, server, identity)
}

fn interleave(own: Vec<Value>, named: Vec<Value>, server: &[Value], identity: Identity) -> Vec<Value> {
    let mut all = Vec::with_capacity(own.len() + named.len());
    let (mut own, mut named) = (own.into_iter().peekable(), named.into_iter().peekable());
    loop {
        let own_first = match (own.peek(), named.peek()) {
            (None, None) => return all,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(left), Some(right)) => {
                let places = (identity.position(server, left), identity.position(server, right));
                matches!(places, (Some(left), Some(right)) if left < right)
            }
        };
        all.extend(if own_first { own.next() } else { named.next() });
    }
}
