//! The session without a socket: named cases first, then simulations of a bad link with a printed seed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::resource::{ObjectKey, Resource, ResourceKind};
use proto::session::{Ack, Dialect, Held, Inventory, Item, Outcome};
use serde_json::json;

use super::{Farewell, Input, Moment, Output, Reply, Session, Settings};
use crate::desired::{Change, Desired, Object, Plane, Subscription};
use proto::pki::NodeName;

fn pod_key(name: &str) -> ObjectKey {
    ObjectKey::namespaced("default", ResourceKind::Pod, name)
}

fn object(key: &ObjectKey, uid: &str, revision: u64) -> Arc<Object> {
    let kind = if key.kind == ResourceKind::Pod { "Pod" } else { "ConfigMap" };
    let value = json!({
        "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid, "resourceVersion": revision.to_string()},
        "spec": {"revision": revision},
    });
    Arc::new(Object::from_api(key.kind.clone(), "v1", kind, value).expect("well-formed"))
}

fn session(dialect: Dialect) -> Session {
    let mut session = Session::new(Settings::default(), dialect, HashMap::new());
    session.step(Input::Changed(Change::Synced(Plane::Core)), Moment::ZERO);
    session
}

fn skerry() -> Session {
    let mut session = session(Dialect::SkerryV1);
    session.step(Input::Received(Item::Inventory(Inventory { held: vec![], last: true })), Moment::ZERO);
    session
}

fn put(session: &mut Session, key: &ObjectKey, uid: &str, revision: u64, now: Moment) -> Vec<Message> {
    let change = Change::Object(key.clone(), Some(object(key, uid, revision)));
    sent(session.step(Input::Changed(change), now))
}

fn sent(outputs: Vec<Output>) -> Vec<Message> {
    let items = outputs.into_iter().filter_map(|output| match output {
        Output::Send(Item::Message(message)) => Some(message),
        _ => None,
    });
    items.collect()
}

fn acknowledge(session: &mut Session, message: &Message, outcome: Outcome, now: Moment) -> Vec<Message> {
    session.step(Input::Written(1), now);
    sent(session.step(Input::Received(Item::Ack(Ack::of(message, outcome))), now))
}

const T0: Moment = Duration::ZERO;
const fn s(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

#[test]
fn a_new_object_is_inserted_and_its_next_version_updates_it() {
    let mut session = skerry();
    let first = put(&mut session, &pod_key("web"), "u", 5, T0);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].route.operation, Operation::Insert);
    assert_eq!(first[0].header.resource_version.as_deref(), Some("5"));
    assert!(acknowledge(&mut session, &first[0], Outcome::Done, T0).is_empty());
    let second = put(&mut session, &pod_key("web"), "u", 6, T0);
    assert_eq!(second[0].route.operation, Operation::Update);
    acknowledge(&mut session, &second[0], Outcome::Done, T0);
    assert!(session.is_settled());
}

#[test]
fn versions_that_come_while_one_is_under_way_replace_each_other() {
    let mut session = skerry();
    let first = put(&mut session, &pod_key("web"), "u", 1, T0);
    for revision in 2..100 {
        assert!(put(&mut session, &pod_key("web"), "u", revision, T0).is_empty());
    }
    let next = acknowledge(&mut session, &first[0], Outcome::Done, T0);
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].header.resource_version.as_deref(), Some("99"));
}

#[test]
fn an_object_that_is_never_confirmed_does_not_hold_up_the_others() {
    let settings = Settings { window: 1, ..Settings::default() };
    let mut session = Session::new(settings, Dialect::KubeEdge, HashMap::new());
    session.step(Input::Changed(Change::Synced(Plane::Core)), T0);
    let stuck = put(&mut session, &pod_key("stuck"), "u1", 1, T0);
    assert_eq!(stuck.len(), 1);
    assert!(put(&mut session, &pod_key("good"), "u2", 2, T0).is_empty(), "the window is full");
    session.step(Input::Written(1), T0);
    let next = sent(session.step(Input::Tick, s(5)));
    assert_eq!(next[0].route.resource, Resource::Object(pod_key("good")));
    acknowledge(&mut session, &next[0], Outcome::Done, s(5));
    let again = sent(session.step(Input::Tick, s(6)));
    assert_eq!(again[0].header.id, stuck[0].header.id, "a repetition keeps its id");
}

#[test]
fn a_late_confirmation_still_counts() {
    let mut session = skerry();
    let first = put(&mut session, &pod_key("web"), "u", 1, T0);
    session.step(Input::Written(1), T0);
    session.step(Input::Tick, s(5));
    acknowledge(&mut session, &first[0], Outcome::Done, s(5));
    assert!(session.is_settled());
    assert!(sent(session.step(Input::Tick, s(60))).is_empty());
}

#[test]
fn a_refused_version_is_not_sent_again_but_a_newer_one_is() {
    let mut session = skerry();
    let first = put(&mut session, &pod_key("web"), "u", 1, T0);
    acknowledge(&mut session, &first[0], Outcome::Rejected("too strange".into()), T0);
    assert!(session.is_settled());
    assert!(sent(session.step(Input::Tick, s(300))).is_empty());
    assert_eq!(put(&mut session, &pod_key("web"), "u", 2, s(300)).len(), 1);
}

#[test]
fn an_edge_that_cannot_store_is_asked_again_after_growing_pauses() {
    let mut session = skerry();
    let mut message = put(&mut session, &pod_key("web"), "u", 1, T0).remove(0);
    let mut now = T0;
    let mut pauses = Vec::new();
    for _ in 0..5 {
        assert!(acknowledge(&mut session, &message, Outcome::Retry("disk full".into()), now).is_empty());
        let before = now;
        message = loop {
            now += Duration::from_millis(500);
            session.step(Input::Heard, now);
            if let Some(message) = sent(session.step(Input::Tick, now)).pop() {
                break message;
            }
        };
        pauses.push((now - before).as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16]);
}

#[test]
fn nothing_is_pushed_or_deleted_before_the_cloud_knows_everything() {
    let mut session = Session::new(Settings::default(), Dialect::SkerryV1, HashMap::new());
    let held = vec![Held { key: pod_key("old"), uid: "u".into(), resource_version: "1".into() }];
    assert!(
        sent(session.step(Input::Received(Item::Inventory(Inventory { held, last: true })), T0)).is_empty()
    );
    assert!(put(&mut session, &pod_key("new"), "v", 2, T0).is_empty());
    let sent = sent(session.step(Input::Changed(Change::Synced(Plane::Core)), T0));
    let operations: Vec<_> = sent.iter().map(|message| message.route.operation.clone()).collect();
    assert_eq!(operations, [Operation::Insert, Operation::Delete]);
}

#[test]
fn what_the_edge_holds_at_the_right_version_is_not_sent_again() {
    let mut session = session(Dialect::SkerryV1);
    put(&mut session, &pod_key("same"), "u1", 7, T0);
    put(&mut session, &pod_key("older"), "u2", 9, T0);
    let held = vec![
        Held { key: pod_key("same"), uid: "u1".into(), resource_version: "7".into() },
        Held { key: pod_key("older"), uid: "u2".into(), resource_version: "8".into() },
        Held {
            key: ObjectKey::namespaced("default", ResourceKind::PersistentVolumeClaim, "data"),
            uid: "u3".into(),
            resource_version: "1".into(),
        },
    ];
    let pushed = sent(session.step(Input::Received(Item::Inventory(Inventory { held, last: true })), T0));
    assert_eq!(pushed.len(), 1);
    assert_eq!(pushed[0].route.resource, Resource::Object(pod_key("older")));
    assert_eq!(pushed[0].route.operation, Operation::Update);
}

#[test]
fn the_namesake_of_a_deleted_pod_comes_after_its_deletion() {
    let mut session = skerry();
    let first = put(&mut session, &pod_key("web"), "old", 1, T0);
    acknowledge(&mut session, &first[0], Outcome::Done, T0);
    let deletion = put(&mut session, &pod_key("web"), "new", 3, T0);
    assert_eq!(deletion[0].route.operation, Operation::Delete);
    assert!(deletion[0].content.get().contains("\"old\""));
    let insertion = acknowledge(&mut session, &deletion[0], Outcome::Done, T0);
    assert_eq!(insertion[0].route.operation, Operation::Insert);
    assert!(insertion[0].content.get().contains("\"new\""));
}

#[test]
fn a_deleted_pod_is_taken_away_with_all_that_was_known_of_it() {
    let mut session = skerry();
    let first = put(&mut session, &pod_key("web"), "u", 1, T0);
    acknowledge(&mut session, &first[0], Outcome::Done, T0);
    let gone = sent(session.step(Input::Changed(Change::Object(pod_key("web"), None)), T0));
    assert_eq!(gone[0].route.operation, Operation::Delete);
    assert!(gone[0].content.get().contains("\"revision\":1"));
    acknowledge(&mut session, &gone[0], Outcome::Done, T0);
    assert!(session.is_settled());
}

#[test]
fn a_kubeedge_edge_confirms_with_a_response_and_turns_down_with_an_error() {
    let mut session = session(Dialect::KubeEdge);
    let push = put(&mut session, &pod_key("web"), "u", 1, T0).remove(0);
    session.step(Input::Written(1), T0);
    session.step(Input::Received(Item::Message(push.fail("database is locked"))), T0);
    assert!(!session.is_settled());
    let again = sent(session.step(Input::Tick, s(1))).remove(0);
    session.step(Input::Received(Item::Message(again.respond(Content::ok()))), s(1));
    assert!(session.is_settled());
}

#[test]
fn a_kubeedge_edge_learns_that_a_device_is_its_own_before_the_device() {
    let mut session = Session::new(Settings::default(), Dialect::KubeEdge, HashMap::new());
    session.step(Input::Changed(Change::Synced(Plane::Devices)), T0);
    let key = ObjectKey::namespaced("default", ResourceKind::Device, "boiler");
    let pushed = put(&mut session, &key, "u", 1, T0);
    assert_eq!(pushed[0].route.resource, Resource::Membership);
    assert!(pushed[0].content.get().contains("\"removed_devices\":null"));
    assert_eq!(pushed[1].route.operation, Operation::Insert);
    assert_eq!(pushed[1].route.source, Source::DeviceController);
    acknowledge(&mut session, &pushed[1], Outcome::Done, T0);
    let gone = sent(session.step(Input::Changed(Change::Object(key, None)), T0));
    assert!(gone[0].content.get().contains("\"added_devices\":null"));
    assert_eq!(gone[1].route.operation, Operation::Delete);
}

fn request(resource: &str, operation: Operation) -> Message {
    let route = Route::new(Source::Edged, Group::Meta, operation, Resource::from(resource));
    Message::new(route, Content::text("{}"))
}

fn asked(outputs: &[Output]) -> Vec<String> {
    let asked = outputs.iter().filter_map(|output| match output {
        Output::Ask(message) => Some(message.route.resource.to_string()),
        _ => None,
    });
    asked.collect()
}

#[test]
fn requests_about_one_pod_keep_their_order_and_others_overtake_them() {
    let mut session = skerry();
    let patch = request("default/podpatch/web", Operation::Patch);
    let delete = request("default/pod/web", Operation::Delete);
    let other = request("default/podpatch/db", Operation::Patch);
    let mut ask =
        |message: &Message| asked(&session.step(Input::Received(Item::Message(message.clone())), T0));
    assert_eq!(ask(&patch), ["default/podpatch/web"]);
    assert!(ask(&delete).is_empty(), "it waits for the patch");
    assert_eq!(ask(&other), ["default/podpatch/db"]);
    assert!(ask(&patch).is_empty(), "a repetition is not done twice");
    let after = session.step(Input::Answered { to: patch.header.id.clone(), reply: Reply::Done }, T0);
    assert_eq!(asked(&after), ["default/pod/web"]);
}

#[test]
fn a_peer_that_asks_too_much_is_not_read_until_it_got_its_answers() {
    let settings = Settings { requests: 2, ..Settings::default() };
    let mut session = Session::new(settings, Dialect::KubeEdge, HashMap::new());
    let first = request("a/secret/x", Operation::Query);
    let second = request("a/secret/y", Operation::Query);
    session.step(Input::Received(Item::Message(first.clone())), T0);
    assert!(session.wants_input());
    session.step(Input::Received(Item::Message(second.clone())), T0);
    assert!(!session.wants_input());
    session.step(Input::Answered { to: first.header.id, reply: Reply::Done }, T0);
    session.step(Input::Answered { to: second.header.id, reply: Reply::Done }, T0);
    assert!(!session.wants_input(), "the answers are not written yet");
    session.step(Input::Written(2), T0);
    assert!(session.wants_input());
}

#[test]
fn a_silent_peer_is_pinged_and_then_given_up() {
    let mut session = skerry();
    assert!(matches!(session.step(Input::Tick, s(5))[..], [Output::Ping]));
    session.step(Input::Heard, s(6));
    assert!(session.step(Input::Tick, s(10)).is_empty());
    assert!(matches!(session.step(Input::Tick, s(11))[..], [Output::Ping]));
    let last = session.step(Input::Tick, s(21));
    assert!(matches!(last[..], [Output::Close(Farewell::Silent(_))]), "{last:?}");
}

#[test]
fn an_answer_is_put_in_the_words_of_the_peer() {
    let query = request("default/configmap/none", Operation::Query);
    let failed = || Reply::failed(404, "NotFound", "configmaps \"none\" not found");
    let [Item::Message(answer)] = &failed().into_items(&query, Dialect::KubeEdge)[..] else {
        panic!("one answer")
    };
    assert_eq!(answer.route.operation, Operation::Error);
    assert_eq!(answer.content.as_str().as_deref(), Some("configmaps \"none\" not found"));
    let [Item::Message(answer)] = &failed().into_items(&query, Dialect::SkerryV1)[..] else {
        panic!("one answer")
    };
    assert_eq!(answer.route.operation, Operation::Response);
    assert!(proto::answer::parse(&answer.content).expect_err("a failure").is_not_found());
}

// === simulation ===

/// A node with a store, behind a link that loses, repeats and reorders.
struct World {
    rng: fastrand::Rng,
    dialect: Dialect,
    node: NodeName,
    desired: Desired,
    truth: BTreeMap<ObjectKey, (String, u64)>,
    store: BTreeMap<ObjectKey, (String, u64)>,
    session: Session,
    subscription: Subscription,
    began: Moment,
    now: Moment,
    down: Vec<Message>,
    up: Vec<Item>,
    revision: u64,
    faults: bool,
}

impl World {
    fn new(seed: u64, dialect: Dialect) -> Self {
        let desired = Desired::default();
        desired.set_synced(Plane::Core);
        let node: NodeName = "edge1".parse().expect("a name");
        let subscription = desired.subscribe(&node);
        let session = Session::new(Settings::default(), dialect, HashMap::new());
        let mut world = Self {
            rng: fastrand::Rng::with_seed(seed),
            dialect,
            node,
            desired,
            truth: BTreeMap::new(),
            store: BTreeMap::new(),
            session,
            subscription,
            began: T0,
            now: T0,
            down: Vec::new(),
            up: Vec::new(),
            revision: 1,
            faults: true,
        };
        world.connect();
        world
    }

    fn connect(&mut self) {
        self.down.clear();
        self.up.clear();
        self.began = self.now;
        let stored =
            if self.dialect == Dialect::KubeEdge { self.desired.stored(&self.node) } else { HashMap::new() };
        let settings = Settings { inventory_within: Duration::from_secs(3600), ..Settings::default() };
        self.session = Session::new(settings, self.dialect, stored);
        self.subscription = self.desired.subscribe(&self.node);
        if self.dialect == Dialect::SkerryV1 {
            let held = self.store.iter().map(|(key, (uid, revision))| Held {
                key: key.clone(),
                uid: uid.clone(),
                resource_version: revision.to_string(),
            });
            let held: Vec<Held> = held.collect();
            let (first, second) = held.split_at(held.len() / 2);
            self.up.push(Item::Inventory(Inventory { held: first.to_vec(), last: false }));
            self.up.push(Item::Inventory(Inventory { held: second.to_vec(), last: true }));
        }
    }

    fn input(&mut self, input: Input) {
        for output in self.session.step(input, self.now - self.began) {
            match output {
                Output::Send(Item::Message(message)) => self.down.push(message),
                Output::Offered(key, uid) if self.dialect == Dialect::KubeEdge => {
                    self.desired.note_stored(&self.node, &key, Some(&uid));
                }
                Output::Stored(key, uid) if self.dialect == Dialect::KubeEdge => {
                    self.desired.note_stored(&self.node, &key, uid.as_deref());
                }
                Output::Close(farewell) => panic!("the session gave up: {farewell}"),
                _ => {}
            }
        }
        let written = self.down.len();
        self.session.step(Input::Written(written.max(64)), self.now - self.began);
    }

    fn change(&mut self) {
        self.revision += 1;
        let name = format!("o{}", self.rng.u8(0..12));
        let kind = if self.rng.bool() { ResourceKind::Pod } else { ResourceKind::ConfigMap };
        let key = ObjectKey::namespaced("default", kind, name);
        if self.rng.u8(0..4) == 0 {
            self.truth.remove(&key);
            self.desired.remove(&self.node, &key);
            return;
        }
        let uid = match self.truth.get(&key) {
            Some((uid, _)) if self.rng.u8(0..8) > 0 => uid.clone(),
            _ => format!("uid-{}", self.revision),
        };
        self.truth.insert(key.clone(), (uid.clone(), self.revision));
        self.desired.put(&self.node, object(&key, &uid, self.revision));
    }

    /// Takes a message off the wire; only messages about different objects overtake each other.
    fn pick_down(&mut self) -> Option<Message> {
        let at = self.rng.usize(0..self.down.len().max(1));
        let resource = self.down.get(at)?.route.resource.clone();
        let first = self.down.iter().position(|message| message.route.resource == resource)?;
        Some(self.down.remove(first))
    }

    fn deliver_down(&mut self) {
        let Some(message) = self.pick_down() else { return };
        if self.faults && self.rng.u8(0..10) == 0 {
            return;
        }
        let repetitions = if self.faults && self.rng.u8(0..10) == 0 { 2 } else { 1 };
        for _ in 0..repetitions {
            let outcome = if self.faults && self.rng.u8(0..12) == 0 {
                Outcome::Retry("busy".into())
            } else {
                Outcome::Done
            };
            if outcome == Outcome::Done {
                self.keep(&message);
            }
            let item = match (self.dialect, &outcome) {
                (Dialect::SkerryV1, _) => Item::Ack(Ack::of(&message, outcome)),
                (Dialect::KubeEdge, Outcome::Done) => Item::Message(message.respond(Content::ok())),
                (Dialect::KubeEdge, _) => Item::Message(message.fail("busy")),
            };
            self.up.push(item);
        }
    }

    fn keep(&mut self, message: &Message) {
        let Resource::Object(key) = &message.route.resource else { panic!("{:?}", message.route) };
        let value: serde_json::Value = message.content.parse().expect("json");
        let uid = value["metadata"]["uid"].as_str().expect("uid").to_owned();
        if message.route.operation == Operation::Delete {
            self.store.remove(key);
        } else {
            if key.kind == ResourceKind::Pod {
                let held = self.store.get(key).map(|(held, _)| held.clone());
                assert!(
                    held.is_none_or(|held| held == uid),
                    "a pod was replaced by its namesake without a deletion"
                );
            }
            let revision =
                value["metadata"]["resourceVersion"].as_str().expect("version").parse().expect("number");
            self.store.insert(key.clone(), (uid, revision));
        }
    }

    fn deliver_up(&mut self) {
        if self.up.is_empty() {
            return;
        }
        let at = if matches!(self.up[0], Item::Inventory(_)) { 0 } else { self.rng.usize(0..self.up.len()) };
        let item = self.up.remove(at);
        let lost = self.faults && !matches!(item, Item::Inventory(_)) && self.rng.u8(0..10) == 0;
        if !lost {
            self.input(Input::Received(item));
        }
    }

    fn pass_time(&mut self, pause: Duration) {
        self.now += pause;
        self.input(Input::Heard);
        self.input(Input::Tick);
    }

    fn pull(&mut self) {
        let changes = futures::FutureExt::now_or_never(self.subscription.changes());
        for change in changes.into_iter().flatten() {
            self.input(Input::Changed(change));
        }
    }

    fn act(&mut self) {
        match self.rng.u8(0..100) {
            0..25 => self.change(),
            25..45 => self.pull(),
            45..70 => self.deliver_down(),
            70..95 => self.deliver_up(),
            95..98 => self.pass_time(Duration::from_millis(1500)),
            _ if self.rng.u8(0..4) == 0 => self.connect(),
            _ => {}
        }
    }

    /// The link is good from now on: everything must arrive in bounded time.
    fn heal(&mut self, lose_store: bool) {
        self.faults = false;
        if lose_store {
            self.store.clear();
            self.connect();
        }
        for _ in 0..400 {
            self.pull();
            while !self.down.is_empty() || !self.up.is_empty() {
                self.deliver_down();
                self.deliver_up();
            }
            self.pass_time(Duration::from_millis(1000));
        }
    }
}

fn simulate(dialect: Dialect, lose_store: bool) {
    let first: u64 =
        std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    for seed in (0..150).map(|n| first.wrapping_add(n)) {
        let mut world = World::new(seed, dialect);
        for _ in 0..600 {
            world.act();
        }
        world.heal(lose_store);
        assert_eq!(world.store, world.truth, "{dialect:?}: run again with SEED={seed}");
        assert!(world.session.is_settled(), "{dialect:?}: run again with SEED={seed}");
    }
}

#[test]
fn over_a_bad_link_a_skerry_edge_ends_up_with_the_newest_of_everything() {
    simulate(Dialect::SkerryV1, false);
}

#[test]
fn over_a_bad_link_a_kubeedge_edge_ends_up_with_the_newest_of_everything() {
    simulate(Dialect::KubeEdge, false);
}

#[test]
fn an_edge_that_lost_its_store_gets_everything_again() {
    simulate(Dialect::SkerryV1, true);
    simulate(Dialect::KubeEdge, true);
}
