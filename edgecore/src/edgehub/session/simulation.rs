//! A session against a simulated cloud, store and outbox, with cuts, kills, losses, duplicates and slow disks.
//! Whatever happens on the way: nothing that was acknowledged is missing, and in the end both sides agree.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use proto::answer::Answer;
use proto::message::{Content, Group, Message, MessageId, Operation, Route, Source};
use proto::resource::{ObjectKey, ResourceKind};
use proto::session::{Ack, Dialect, Held, Item, Outcome};
use serde_json::json;
use tokio::time::Instant;

use super::{Input, Output, Rate, Report, RowKey, Session, Settings};

/// Rows and objects are few, so that versions of one row meet often.
const ROWS: usize = 5;
const OBJECTS: usize = 5;

#[expect(clippy::large_enum_variant, reason = "a simulation need not be small")]
enum Up {
    Item(Item),
    Ping(u64),
}

#[expect(clippy::large_enum_variant, reason = "a simulation need not be small")]
enum Down {
    Item(Item),
    Pong(u64),
}

enum Order {
    Confirm { row: RowKey, version: u64 },
    Reject { row: RowKey, version: u64 },
    Pull { limit: usize, in_flight: HashSet<RowKey> },
}

#[derive(Default, Clone, Copy)]
struct Row {
    version: u64,
    confirmed: u64,
}

/// What a simulated push is about: the object and its version.
type Pushed = (usize, u64);

struct World {
    seed: u64,
    rng: fastrand::Rng,
    dialect: Dialect,
    now: Instant,
    session: Option<Session>,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    orders: VecDeque<Order>,
    storing: Option<Vec<Message>>,
    stored: Option<Vec<Outcome>>,
    // What survives a kill.
    rows: Vec<Row>,
    objects: Vec<u64>,
    // The cloud.
    cloud_rows: Vec<u64>,
    wanted: Vec<u64>,
    acked: Vec<u64>,
    pushed: HashMap<MessageId, Pushed>,
    /// No more faults: things must settle.
    calm: bool,
}

fn row_name(row: usize, dialect: Dialect) -> (RowKey, ObjectKey) {
    // In KubeEdge's dialect the last row is an event, which nobody answers.
    let kind = if row == ROWS - 1 && dialect == Dialect::KubeEdge {
        ResourceKind::Event
    } else {
        ResourceKind::PodPatch
    };
    (RowKey(format!("r{row}")), ObjectKey::namespaced("default", kind, format!("r{row}")))
}

fn index(name: &str) -> usize {
    name[1..].parse().unwrap()
}

impl World {
    fn new(seed: u64, dialect: Dialect) -> Self {
        Self {
            seed,
            rng: fastrand::Rng::with_seed(seed),
            dialect,
            now: Instant::now(),
            session: None,
            up: VecDeque::new(),
            down: VecDeque::new(),
            orders: VecDeque::new(),
            storing: None,
            stored: None,
            rows: vec![Row::default(); ROWS],
            objects: vec![0; OBJECTS],
            cloud_rows: vec![0; ROWS],
            wanted: vec![0; OBJECTS],
            acked: vec![0; OBJECTS],
            pushed: HashMap::new(),
            calm: false,
        }
    }

    fn fault(&mut self, one_in: u32) -> bool {
        !self.calm && self.rng.u32(0..one_in) == 0
    }

    fn turn(&mut self) {
        let what = self.rng.u32(0..if self.calm { 50 } else { 62 });
        match what {
            0..10 => self.deliver_down(),
            10..20 => self.deliver_up(),
            20..30 => self.carry_out(),
            30..36 => self.store(),
            36..42 => self.answer_store(),
            42..50 => self.pass_time(),
            50..55 => self.change_row(),
            55..60 => self.change_object(),
            _ if self.fault(3) => self.cut(),
            _ => {}
        }
        if self.session.is_none() && (self.calm || self.rng.u32(0..4) == 0) {
            self.connect();
        }
        self.check();
    }

    fn check(&self) {
        for object in 0..OBJECTS {
            let (acked, held) = (self.acked[object], self.objects[object]);
            assert!(
                acked <= held,
                "seed {}: object {object} was acknowledged at {acked}, held is {held}",
                self.seed
            );
        }
        for (row, state) in self.rows.iter().enumerate() {
            let told = self.cloud_rows[row];
            assert!(
                state.confirmed <= told,
                "seed {}: row {row} counts as told at {}, the cloud has {told}",
                self.seed,
                state.confirmed
            );
        }
    }

    fn settled(&self) -> bool {
        self.rows
            .iter()
            .zip(&self.cloud_rows)
            .all(|(row, cloud)| row.version == *cloud && row.confirmed == row.version)
            && self.objects == self.wanted
            && self.acked == self.wanted
    }

    // --- the edge

    fn connect(&mut self) {
        let rate = (self.dialect == Dialect::KubeEdge).then_some(Rate { per_second: 30.0, burst: 3.0 });
        let settings = Settings { window: 3, rate, ..Settings::default() };
        self.session = Some(Session::new(&settings, self.dialect, 1, self.now));
        let held = (0..OBJECTS)
            .map(|object| Held {
                key: ObjectKey::namespaced("default", ResourceKind::Pod, format!("o{object}")),
                uid: "u".into(),
                resource_version: self.objects[object].to_string(),
            })
            .collect();
        self.step(Input::Inventory(held));
        if self.dialect == Dialect::KubeEdge {
            self.push_all();
        }
    }

    fn step(&mut self, input: Input) {
        let Some(session) = &mut self.session else { return };
        let mut outputs = Vec::new();
        session.step(input, self.now, &mut outputs);
        for output in outputs {
            match output {
                Output::Send(item) => self.up.push_back(Up::Item(item)),
                Output::Ping(number) => self.up.push_back(Up::Ping(number)),
                Output::Store(messages) => {
                    assert!(
                        self.storing.is_none() && self.stored.is_none(),
                        "seed {}: two stores at once",
                        self.seed
                    );
                    self.storing = Some(messages);
                }
                Output::Confirm { row, version, .. } => {
                    self.orders.push_back(Order::Confirm { row, version })
                }
                Output::Reject { row, version, .. } => self.orders.push_back(Order::Reject { row, version }),
                Output::Pull { limit, in_flight, .. } => {
                    self.orders.push_back(Order::Pull { limit, in_flight })
                }
                Output::Close(_) => return self.cut(),
                Output::Answer { .. } => {}
            }
        }
    }

    /// The link is cut, or edgecore is killed: the same, because only the disk counts.
    fn cut(&mut self) {
        if self.storing.is_some() && self.rng.bool() {
            self.store();
        }
        self.session = None;
        self.up.clear();
        self.down.clear();
        self.orders.clear();
        self.storing = None;
        self.stored = None;
        self.pushed.clear();
    }

    fn change_row(&mut self) {
        let row = self.rng.usize(0..ROWS);
        self.rows[row].version += 1;
        self.step(Input::Changed(0));
    }

    fn store(&mut self) {
        let Some(messages) = self.storing.take() else { return };
        let full = self.fault(6);
        let mut outcomes = Vec::new();
        for message in messages {
            if full {
                outcomes.push(Outcome::Retry("disk full".into()));
                continue;
            }
            let object = index(&message.route.resource.object().unwrap().name);
            let version: u64 = message.header.resource_version.unwrap().parse().unwrap();
            self.objects[object] = self.objects[object].max(version);
            outcomes.push(Outcome::Done);
        }
        self.stored = Some(outcomes);
    }

    fn answer_store(&mut self) {
        if let Some(outcomes) = self.stored.take() {
            self.step(Input::Stored(outcomes));
        }
    }

    fn carry_out(&mut self) {
        let Some(order) = self.orders.pop_front() else { return };
        match order {
            Order::Confirm { row, version } | Order::Reject { row, version } => {
                let row = &mut self.rows[index(&row.0)];
                row.confirmed = row.confirmed.max(version);
            }
            Order::Pull { limit, in_flight } => {
                if self.fault(10) {
                    return self.step(Input::Ahead { outbox: 0, limit, reports: None });
                }
                let ahead = (0..ROWS).filter(|row| self.rows[*row].version > self.rows[*row].confirmed);
                let reports = ahead
                    .map(|row| (row_name(row, self.dialect), self.rows[row].version))
                    .filter(|((row, _), _)| !in_flight.contains(row))
                    .take(limit)
                    .map(|((row, key), version)| {
                        let route = Route::new(Source::Edged, Group::Meta, Operation::Patch, key.into());
                        Report {
                            row,
                            version,
                            message: Message::new(route, Content::text(&version.to_string())),
                        }
                    })
                    .collect();
                self.step(Input::Ahead { outbox: 0, limit, reports: Some(reports) });
            }
        }
    }

    fn pass_time(&mut self) {
        self.now += Duration::from_millis(self.rng.u64(1..1500));
        self.step(Input::Tick);
    }

    fn deliver_down(&mut self) {
        let can_receive = self.session.as_ref().is_some_and(Session::can_receive);
        if !can_receive {
            return;
        }
        match self.down.pop_front() {
            Some(Down::Item(item)) => {
                if self.fault(8) {
                    self.down.push_back(Down::Item(item.clone()));
                }
                self.step(Input::Received(vec![item]));
            }
            Some(Down::Pong(number)) => self.step(Input::Pong(number)),
            None => {}
        }
    }

    // --- the cloud

    fn change_object(&mut self) {
        let object = self.rng.usize(0..OBJECTS);
        self.wanted[object] += 1;
        if self.session.is_some() {
            self.push(object);
        }
    }

    fn push(&mut self, object: usize) {
        let version = self.wanted[object];
        let resource = format!("default/pod/o{object}");
        let route =
            Route::new(Source::EdgeController, Group::Resource, Operation::Update, resource.as_str().into());
        let message = Message::new(route, Content::null()).with_resource_version(version.to_string());
        self.pushed.insert(message.header.id.clone(), (object, version));
        self.down.push_back(Down::Item(Item::Message(message)));
    }

    fn push_all(&mut self) {
        for object in 0..OBJECTS {
            if self.acked[object] < self.wanted[object] {
                self.push(object);
            }
        }
    }

    fn deliver_up(&mut self) {
        match self.up.pop_front() {
            Some(Up::Ping(number)) => self.down.push_back(Down::Pong(number)),
            Some(Up::Item(Item::Ack(ack))) => self.cloud_acked(&ack),
            Some(Up::Item(Item::Inventory(inventory))) => {
                for held in inventory.held {
                    let object = index(&held.key.name);
                    let version = held.resource_version.parse().unwrap();
                    self.acked[object] = version;
                    if version < self.wanted[object] {
                        self.push(object);
                    }
                }
            }
            Some(Up::Item(Item::Message(message))) => self.cloud_told(&message),
            None => {}
        }
    }

    fn cloud_acked(&mut self, ack: &Ack) {
        let Some((object, version)) = self.pushed.remove(&ack.of) else { return };
        match ack.outcome {
            Outcome::Done => self.acked[object] = self.acked[object].max(version),
            Outcome::Retry(_) | Outcome::Rejected(_) => self.push(object),
        }
    }

    fn cloud_told(&mut self, message: &Message) {
        if message.route.operation == Operation::Keepalive {
            return;
        }
        let key = message.route.resource.object().unwrap().clone();
        let version: u64 = message.content.as_str().unwrap().parse().unwrap();
        let refused = key.kind != ResourceKind::Event && self.fault(6);
        if !refused {
            let row = &mut self.cloud_rows[index(&key.name)];
            assert!(
                version >= *row,
                "seed {}: row {} went back from {row} to {version}",
                self.seed,
                key.name
            );
            *row = version;
        }
        if key.kind == ResourceKind::Event || self.fault(6) {
            return;
        }
        let answer = match (self.dialect, refused) {
            (Dialect::SkerryV1, true) => Item::Ack(Ack::of(message, Outcome::Retry("later".into()))),
            (Dialect::SkerryV1, false) => Item::Ack(Ack::of(message, Outcome::Done)),
            (Dialect::KubeEdge, true) => {
                Item::Message(message.fail_as(Source::EdgeController, Group::Resource, "etcd is away"))
            }
            (Dialect::KubeEdge, false) => {
                let object = Answer::object(&json!({"metadata": {"name": key.name}})).unwrap();
                Item::Message(message.respond_as(Source::EdgeController, Group::Resource, object))
            }
        };
        self.down.push_back(Down::Item(answer));
    }
}

fn simulate(dialect: Dialect) {
    let base: u64 = std::env::var("SIM_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("SIM_SEED={base} repeats this run");
    for number in 0..200 {
        let mut world = World::new(base.wrapping_add(number), dialect);
        for _ in 0..600 {
            world.turn();
        }
        world.calm = true;
        let mut turns = 0;
        while !world.settled() {
            world.turn();
            turns += 1;
            assert!(turns < 20_000, "seed {}: both sides never agree", world.seed);
        }
    }
}

#[test]
fn whatever_happens_on_a_skerry_link_nothing_acknowledged_is_lost_and_the_last_value_arrives() {
    simulate(Dialect::SkerryV1);
}

#[test]
fn whatever_happens_on_a_kubeedge_link_nothing_acknowledged_is_lost_and_the_last_value_arrives() {
    simulate(Dialect::KubeEdge);
}
