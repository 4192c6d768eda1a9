//! What is in memory: every current object, and the history of every collection.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::watch;

use super::history::{Event, EventKind, History};
use super::{Collection, Compacted, Key, Object, ObjectId};

/// What to list.
#[derive(Clone, Copy, Debug)]
pub struct ListQuery<'a> {
    /// Of which collection.
    pub collection: &'a Collection,
    /// Only this namespace.
    pub namespace: Option<&'a str>,
    /// The state at this revision instead of now.
    pub at: Option<u64>,
    /// Start behind this key.
    pub after: Option<&'a Key>,
    /// At most so many; 0 means all.
    pub limit: usize,
}

/// A consistent page.
#[derive(Debug)]
pub struct Page {
    /// What matched, in order of key.
    pub objects: Vec<(Key, Arc<Object>)>,
    /// The revision of the snapshot.
    pub revision: u64,
    /// How many objects follow this page; 0 when it is the last one.
    pub remaining: usize,
}

/// A row of `log` that nobody needs any more, because a later change of the same object left the history.
#[derive(Debug)]
pub(super) struct DeadRow {
    pub(super) row: u64,
    pub(super) collection: Collection,
    /// The change that left; everything up to it is compacted.
    pub(super) floor: u64,
}

/// How much one look at the history takes out at most; one change is taken out however large it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

#[derive(Debug)]
struct Shelf {
    objects: BTreeMap<Key, Arc<Object>>,
    history: History,
    changed: watch::Sender<u64>,
}

/// All of it.
#[derive(Debug)]
pub(super) struct State {
    newest: watch::Sender<u64>,
    /// No history reaches before this revision.
    base: u64,
    shelves: HashMap<Collection, Shelf>,
    weight: usize,
    max_events: usize,
    max_weight: usize,
    dead: VecDeque<DeadRow>,
}

impl Shelf {
    fn new(floor: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            history: History::starting_at(floor),
            changed: watch::Sender::new(0),
        }
    }
}

impl State {
    pub(super) fn new(max_events: usize, max_weight: usize) -> Self {
        Self {
            // Clients take resourceVersion 0 for "anything", so an empty store is at 1.
            newest: watch::Sender::new(1),
            base: 0,
            shelves: HashMap::new(),
            weight: 0,
            max_events,
            max_weight,
            dead: VecDeque::new(),
        }
    }

    pub(super) fn revision(&self) -> u64 {
        *self.newest.borrow()
    }

    pub(super) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn shelf(&mut self, collection: &Collection) -> &mut Shelf {
        // A collection that was never written has no history to miss, but for what a restored store has lost.
        let base = self.base;
        self.shelves.entry(collection.clone()).or_insert_with(|| Shelf::new(base))
    }

    /// For loading, before anything else: no history reaches before `base`, of whatever collection.
    pub(super) fn set_base(&mut self, base: u64) {
        self.base = base;
        self.raise(base);
    }

    /// For loading: the history of `collection` begins after `floor`.
    pub(super) fn set_floor(&mut self, collection: &Collection, floor: u64) {
        self.shelf(collection).history = History::starting_at(floor.max(self.base));
        self.raise(floor);
    }

    /// Skips to `revision` if that is ahead.
    pub(super) fn raise(&mut self, revision: u64) {
        self.newest.send_if_modified(|now| {
            let ahead = revision > *now;
            *now = revision.max(*now);
            ahead
        });
    }

    pub(super) fn changed(&mut self, collection: &Collection) -> watch::Receiver<u64> {
        self.shelf(collection).changed.subscribe()
    }

    pub(super) fn get(&self, id: &ObjectId) -> Option<Arc<Object>> {
        self.shelves.get(&id.collection)?.objects.get(&id.key).cloned()
    }

    pub(super) fn count(&self, collection: &Collection) -> usize {
        self.shelves.get(collection).map_or(0, |shelf| shelf.objects.len())
    }

    pub(super) fn collections(&self) -> Vec<Collection> {
        let filled = self.shelves.iter().filter(|(_, shelf)| !shelf.objects.is_empty());
        filled.map(|(collection, _)| collection.clone()).collect()
    }

    /// Applies one change that is on disk: `object` is the new state, or with `deleted` the last one.
    pub(super) fn apply(&mut self, id: &ObjectId, object: Arc<Object>, deleted: bool) {
        let revision = object.revision;
        let shelf = self.shelf(&id.collection);
        let previous = if deleted {
            shelf.objects.remove(&id.key)
        } else {
            shelf.objects.insert(id.key.clone(), Arc::clone(&object))
        };
        let kind = match (&previous, deleted) {
            (_, true) => EventKind::Deleted,
            (Some(_), false) => EventKind::Modified,
            (None, false) => EventKind::Added,
        };
        // While loading, rows up to the floor rebuild the state but are not history any more.
        if revision > shelf.history.floor() {
            let event = Event { kind, key: id.key.clone(), object, previous };
            let weight = event.weight();
            shelf.history.push(event);
            shelf.changed.send_replace(revision);
            self.weight += weight;
        }
        self.raise(revision);
        self.trim(&id.collection);
    }

    fn trim(&mut self, collection: &Collection) {
        while self.shelves.get(collection).is_some_and(|shelf| shelf.history.len() > self.max_events) {
            self.forget(&collection.clone());
        }
        while self.weight > self.max_weight {
            let fullest =
                self.shelves.iter().filter_map(|(name, shelf)| Some((shelf.history.oldest()?, name)));
            let Some((_, oldest)) = fullest.min_by_key(|(revision, _)| *revision) else { return };
            let oldest = oldest.clone();
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, collection: &Collection) {
        let Some(event) = self.shelves.get_mut(collection).and_then(|shelf| shelf.history.pop()) else {
            return;
        };
        self.weight = self.weight.saturating_sub(event.weight());
        let mut bury = |row| {
            self.dead.push_back(DeadRow { row, collection: collection.clone(), floor: event.revision() });
        };
        // Order matters: a removal's row may only go with or after the row that it removes, or a restart would bring that back.
        if let Some(previous) = &event.previous {
            bury(previous.revision);
        }
        if event.kind == EventKind::Deleted {
            bury(event.revision());
        }
    }

    /// Hands out rows to delete, oldest first.
    pub(super) fn take_dead(&mut self, at_least: usize, at_most: usize) -> Vec<DeadRow> {
        if self.dead.len() < at_least {
            return Vec::new();
        }
        let count = self.dead.len().min(at_most);
        self.dead.drain(..count).collect()
    }

    /// Takes rows back whose deletion failed.
    pub(super) fn return_dead(&mut self, rows: Vec<DeadRow>) {
        for row in rows.into_iter().rev() {
            self.dead.push_front(row);
        }
    }

    /// Whether what there was since `revision` is known of collections that have no history of their own.
    fn reaches(&self, revision: u64) -> Result<(), Compacted> {
        if revision < self.base { Err(Compacted { asked: revision, oldest: self.base }) } else { Ok(()) }
    }

    /// Every object, oldest revision first.
    pub(super) fn all(&self) -> Vec<(ObjectId, Arc<Object>)> {
        let mut all: Vec<_> =
            Vec::with_capacity(self.shelves.values().map(|shelf| shelf.objects.len()).sum());
        for (collection, shelf) in &self.shelves {
            let here = shelf.objects.iter().map(|(key, object)| {
                (ObjectId { collection: collection.clone(), key: key.clone() }, Arc::clone(object))
            });
            all.extend(here);
        }
        all.sort_unstable_by_key(|(_, object)| object.revision);
        all
    }

    /// The first changes after `revision`, and the revision up to which the caller then knows everything.
    pub(super) fn since(
        &self,
        collection: &Collection,
        revision: u64,
        most: Bounds,
    ) -> Result<(Vec<Event>, u64), Compacted> {
        let Some(shelf) = self.shelves.get(collection) else {
            self.reaches(revision)?;
            return Ok((Vec::new(), self.revision()));
        };
        let mut weight = 0;
        let mut events = Vec::new();
        for event in shelf.history.since(revision)? {
            if events.len() == most.events || weight >= most.bytes {
                let complete = events.last().map_or(revision, Event::revision);
                return Ok((events, complete));
            }
            weight += event.object.document.len();
            events.push(event.clone());
        }
        Ok((events, self.revision()))
    }

    pub(super) fn list(
        &self,
        query: &ListQuery<'_>,
        matches: impl Fn(&Object) -> bool,
    ) -> Result<Page, Compacted> {
        let revision = query.at.unwrap_or_else(|| self.revision());
        let mut page = Page { objects: Vec::new(), revision, remaining: 0 };
        let Some(shelf) = self.shelves.get(query.collection) else {
            self.reaches(revision)?;
            return Ok(page);
        };
        // What differed at that revision: undo the changes since then, newest first.
        let mut then: BTreeMap<&Key, Option<&Arc<Object>>> = BTreeMap::new();
        if revision < self.revision() {
            for event in shelf.history.since(revision)?.rev() {
                then.insert(&event.key, event.previous.as_ref());
            }
        }
        let start = match (query.after, query.namespace) {
            (Some(after), _) => Bound::Excluded(after.clone()),
            (None, Some(namespace)) => Bound::Included(Key::new(namespace, "")),
            (None, None) => Bound::Unbounded,
        };
        let range = (start, Bound::Unbounded);
        let mut now = shelf.objects.range(range.clone()).peekable();
        let mut then = then.range::<Key, _>((range.0.as_ref(), Bound::Unbounded)).peekable();
        loop {
            let take_then = match (now.peek(), then.peek()) {
                (None, None) => break,
                (Some((current, _)), Some((past, _))) if current < *past => false,
                (Some(_), None) => false,
                (current, Some((past, _))) => {
                    if current.is_some_and(|(current, _)| current == *past) {
                        now.next();
                    }
                    true
                }
            };
            let found = if take_then {
                then.next().and_then(|(key, object)| object.map(|object| (*key, object)))
            } else {
                now.next()
            };
            let Some((key, object)) = found else { continue };
            if let Some(namespace) = query.namespace
                && &*key.namespace != namespace
            {
                if &*key.namespace > namespace {
                    break;
                }
                continue;
            }
            if !matches(object) {
                continue;
            }
            if query.limit > 0 && page.objects.len() == query.limit {
                page.remaining += 1;
            } else {
                page.objects.push((key.clone(), Arc::clone(object)));
            }
        }
        Ok(page)
    }
}
