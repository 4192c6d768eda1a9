//! Every turn of the graph.

use super::*;

struct World {
    graph: Graph,
    pods: Arc<Kind>,
    sets: Arc<Kind>,
}

fn owner(kind: &str, name: &str, uid: &str, blocks: bool) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: kind.into(),
        name: name.into(),
        uid: uid.into(),
        block_owner_deletion: Some(blocks),
        controller: None,
    }
}

fn meta(namespace: &str, name: &str, uid: &str, owners: &[OwnerReference]) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(namespace.into()).filter(|namespace: &String| !namespace.is_empty()),
        name: Some(name.into()),
        uid: Some(uid.into()),
        owner_references: Some(owners.to_vec()),
        ..ObjectMeta::default()
    }
}

fn going(mut meta: ObjectMeta, finalizer: &str) -> ObjectMeta {
    meta.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    meta.finalizers = Some(vec![finalizer.into()]);
    meta
}

impl World {
    fn new() -> Self {
        let mut graph = Graph::default();
        let (pods, sets) = (graph.kind("v1", "Pod"), graph.kind("v1", "Set"));
        Self { graph, pods, sets }
    }

    fn pod(&mut self, meta: &ObjectMeta) -> Effects {
        let mut effects = Effects::default();
        self.graph.seen(&Arc::clone(&self.pods), meta, &mut effects);
        effects
    }

    fn set(&mut self, meta: &ObjectMeta) -> Effects {
        let mut effects = Effects::default();
        self.graph.seen(&Arc::clone(&self.sets), meta, &mut effects);
        effects
    }

    fn gone(&mut self, uid: &str) -> Effects {
        let mut effects = Effects::default();
        self.graph.gone(uid, &mut effects);
        effects
    }
}

fn examined(effects: &Effects) -> Vec<&str> {
    let mut uids: Vec<&str> = effects.examine.iter().map(|uid| &**uid).collect();
    uids.sort_unstable();
    uids
}

#[test]
fn dependents_of_what_is_gone_are_looked_at() {
    let mut world = World::new();
    assert_eq!(world.set(&meta("ns", "s", "1", &[])), Effects::default());
    assert_eq!(world.pod(&meta("ns", "p", "2", &[owner("Set", "s", "1", true)])), Effects::default());
    assert_eq!(examined(&world.gone("1")), ["2"]);
    assert!(world.gone("1").examine.is_empty(), "gone once only");
    assert_eq!(world.graph.len(), 1);
}

#[test]
fn an_owner_that_nobody_saw_is_looked_for_and_forgotten_when_it_is_not_there() {
    let mut world = World::new();
    let effects = world.pod(&meta("ns", "p", "2", &[owner("Set", "s", "1", true)]));
    assert_eq!(examined(&effects), ["1"]);
    let item = world.graph.item(&"1".into()).unwrap();
    assert!(!item.observed);
    let mut effects = Effects::default();
    world.graph.not_there(&item.uid, &item.place, &mut effects);
    assert_eq!(examined(&effects), ["2"]);
    assert!(world.graph.absent.has(&item.uid, &item.place));
    assert!(world.graph.item(&"1".into()).is_none());
}

#[test]
fn an_owner_that_was_seen_is_not_forgotten_because_of_a_wrong_reference() {
    let mut world = World::new();
    world.set(&meta("ns", "s", "1", &[]));
    // The name is wrong.
    let effects = world.pod(&meta("ns", "p", "2", &[owner("Set", "other", "1", true)]));
    assert_eq!(examined(&effects), ["2"]);
    let wrong = Place { name: "other".into(), ..world.graph.item(&"1".into()).unwrap().place };
    let mut effects = Effects::default();
    world.graph.not_there(&"1".into(), &wrong, &mut effects);
    assert_eq!(examined(&effects), ["2"]);
    assert!(world.graph.item(&"1".into()).unwrap().observed);
}

#[test]
fn those_who_disagree_where_their_unseen_owner_is_are_asked_one_after_the_other() {
    let mut world = World::new();
    world.pod(&meta("ns", "p", "2", &[owner("Set", "a", "1", true)]));
    world.pod(&meta("ns", "q", "3", &[owner("Set", "b", "1", true)]));
    let first = world.graph.item(&"1".into()).unwrap().place;
    assert_eq!(&*first.name, "a");
    let mut effects = Effects::default();
    world.graph.not_there(&"1".into(), &first, &mut effects);
    assert_eq!(examined(&effects), ["1", "2"]);
    assert_eq!(&*world.graph.item(&"1".into()).unwrap().place.name, "b");
}

#[test]
fn an_owner_in_another_namespace_is_reported_whoever_comes_first() {
    let mut world = World::new();
    world.set(&meta("other", "s", "1", &[]));
    let late = world.pod(&meta("ns", "p", "2", &[owner("Set", "s", "1", true)]));
    assert_eq!((examined(&late), late.misplaced.len()), (vec!["2"], 1));
    assert_eq!((&*late.misplaced[0].owner.1.namespace, &*late.misplaced[0].place.name), ("ns", "p"));

    let mut world = World::new();
    world.pod(&meta("ns", "p", "2", &[owner("Set", "s", "1", true)]));
    let late = world.set(&meta("other", "s", "1", &[]));
    assert_eq!((examined(&late), late.misplaced.len()), (vec!["2"], 1));
}

#[test]
fn an_owner_of_the_cluster_may_be_named_from_every_namespace() {
    let mut world = World::new();
    world.set(&meta("", "s", "1", &[]));
    assert_eq!(world.pod(&meta("ns", "p", "2", &[owner("Set", "s", "1", true)])), Effects::default());
}

#[test]
fn an_owner_that_waits_has_its_dependents_looked_at_and_itself_when_they_go() {
    let mut world = World::new();
    world.set(&meta("ns", "s", "1", &[]));
    world.pod(&meta("ns", "p", "2", &[owner("Set", "s", "1", true)]));
    world.pod(&meta("ns", "q", "3", &[owner("Set", "s", "1", false)]));
    let waits = going(meta("ns", "s", "1", &[]), "foregroundDeletion");
    assert_eq!(examined(&world.set(&waits)), ["1", "2", "3"]);
    assert!(world.set(&waits).examine.is_empty(), "told once only");
    let item = world.graph.item(&"1".into()).unwrap();
    assert_eq!((item.blocking.len(), item.idle.len(), item.waits), (1, 1, true));
    assert_eq!(examined(&world.gone("2")), ["1"]);
    assert!(world.graph.item(&"1".into()).unwrap().blocking.is_empty());
}

#[test]
fn an_owner_is_looked_at_when_a_dependent_stops_blocking_it() {
    let mut world = World::new();
    world.set(&meta("ns", "s", "1", &[]));
    world.pod(&meta("ns", "p", "2", &[owner("Set", "s", "1", true)]));
    let effects = world.pod(&meta("ns", "p", "2", &[owner("Set", "s", "1", false)]));
    assert_eq!(examined(&effects), ["1"]);
    assert!(world.pod(&meta("ns", "p", "2", &[])).examine.is_empty());
    assert!(world.graph.dependents(&"1".into()).is_empty());
}

#[test]
fn an_owner_that_orphans_is_told_once_with_what_it_owns() {
    let mut world = World::new();
    world.set(&meta("ns", "s", "1", &[]));
    world.pod(&meta("ns", "p", "2", &[owner("Set", "s", "1", true)]));
    let orphans = going(meta("ns", "s", "1", &[]), "orphan");
    assert_eq!(world.set(&orphans).orphan.len(), 1);
    assert!(world.set(&orphans).orphan.is_empty());
    assert_eq!(world.graph.dependents(&"1".into()).len(), 1);
}

#[test]
fn what_a_new_listing_does_not_contain_is_gone() {
    let mut world = World::new();
    let sets = Arc::clone(&world.sets);
    world.graph.begin(&sets);
    world.set(&meta("ns", "s", "1", &[]));
    world.set(&meta("ns", "t", "4", &[]));
    world.pod(&meta("ns", "p", "2", &[owner("Set", "s", "1", true)]));
    world.graph.begin(&sets);
    world.set(&meta("ns", "t", "4", &[]));
    let mut effects = Effects::default();
    world.graph.end(&sets, &mut effects);
    assert_eq!(examined(&effects), ["2"]);
    assert!(world.graph.item(&"1".into()).is_none() && world.graph.item(&"4".into()).is_some());
}
