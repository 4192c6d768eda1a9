//! What was acknowledged is there after kill -9, and no revision is given out twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use controlplane::ControlPlane;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

const DIR: &str = "SKERRY_CRASH_DIR";
const ROUND: &str = "SKERRY_CRASH_ROUND";
const ROUNDS: u64 = 24;
const WRITERS: u64 = 16;

/// What an object should hold: a number, or nothing.
type Held = Option<u64>;

/// The parent's book: what was acknowledged last, and what was tried after that.
#[derive(Default)]
struct Ledger {
    acknowledged: BTreeMap<String, Held>,
    tried: BTreeMap<String, Held>,
    revisions: BTreeSet<u64>,
    highest: u64,
}

impl Ledger {
    fn read(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let (Some(verb), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        let held = value.parse().ok();
        match verb {
            "try" => {
                self.tried.insert(name.to_owned(), held);
            }
            "ack" => {
                self.acknowledged.insert(name.to_owned(), held);
                if let Some(revision) = words.next().and_then(|revision| revision.parse().ok()) {
                    assert!(self.revisions.insert(revision), "revision {revision} was given out twice");
                    self.highest = self.highest.max(revision);
                }
            }
            _ => {}
        }
    }
}

fn storm(dir: &Path, round: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_storm", "--nocapture", "--test-threads=1"]);
    command.env(DIR, dir).env(ROUND, round.to_string()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Not a test by itself: the process that the test below kills.
#[tokio::test(flavor = "multi_thread")]
async fn the_storm() {
    let (Ok(dir), Ok(round)) = (std::env::var(DIR), std::env::var(ROUND)) else { return };
    let round: u64 = round.parse().unwrap();
    let plane = ControlPlane::open(support::config(Path::new(&dir))).await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(plane.client());
    // The test harness has begun a line of its own.
    println!();
    let writers = (0..WRITERS).map(|writer| {
        let maps = maps.clone();
        async move {
            for step in 0..100_000 {
                write(&maps, &format!("w{writer}-{}", step % 3), round * 1_000_000 + step).await;
            }
        }
    });
    futures::future::join_all(writers).await;
}

async fn write(maps: &Api<ConfigMap>, name: &str, number: u64) {
    let say = |text: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}").unwrap();
        out.flush().unwrap();
    };
    let map = |version: Option<String>| {
        let metadata = json!({"name": name, "resourceVersion": version});
        serde_json::from_value(json!({"metadata": metadata, "data": {"n": number.to_string()}})).unwrap()
    };
    let written = match maps.get_opt(name).await.unwrap() {
        Some(_) if number.is_multiple_of(7) => {
            say(format!("try {name} gone"));
            maps.delete(name, &DeleteParams::default()).await.unwrap();
            return say(format!("ack {name} gone"));
        }
        Some(old) => {
            say(format!("try {name} {number}"));
            maps.replace(name, &PostParams::default(), &map(old.metadata.resource_version)).await.unwrap()
        }
        None => {
            say(format!("try {name} {number}"));
            maps.create(&PostParams::default(), &map(None)).await.unwrap()
        }
    };
    say(format!("ack {name} {number} {}", written.metadata.resource_version.unwrap()));
}

async fn found(dir: &Path) -> (BTreeMap<String, u64>, u64) {
    let plane = ControlPlane::open(support::config(dir)).await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(plane.client());
    let list = maps.list(&ListParams::default()).await.unwrap();
    let revision = list.metadata.resource_version.unwrap().parse().unwrap();
    let number = |map: &ConfigMap| map.data.as_ref()?.get("n")?.parse().ok();
    let held = list.items.iter().filter_map(|map| Some((map.metadata.name.clone()?, number(map)?)));
    (held.collect(), revision)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_in_two_dozen_kills_and_no_revision_comes_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::default();
    for round in 1..=ROUNDS {
        let before = ledger.highest;
        let mut child = storm(dir.path(), round);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (begun, beginning) = tokio::sync::oneshot::channel();
        let reader = tokio::task::spawn_blocking(move || {
            let mut begun = Some(begun);
            let lines = lines.map_while(Result::ok).inspect(|line| {
                if let Some(begun) = line.starts_with("ack").then(|| begun.take()).flatten() {
                    begun.send(()).unwrap();
                }
            });
            lines.collect::<Vec<_>>()
        });
        tokio::time::timeout(Duration::from_secs(30), beginning)
            .await
            .expect("the storm does not begin")
            .unwrap();
        tokio::time::sleep(Duration::from_millis(fastrand::u64(20..400))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        ledger.tried.clear();
        for line in reader.await.unwrap() {
            let fresh = ledger.revisions.len();
            ledger.read(&line);
            if ledger.revisions.len() > fresh {
                assert!(*ledger.revisions.last().unwrap() > before, "a revision went back");
            }
        }
        let (held, revision) = found(dir.path()).await;
        assert!(
            revision >= ledger.highest,
            "the store is at {revision}, {} was acknowledged",
            ledger.highest
        );
        for (name, acknowledged) in &ledger.acknowledged {
            let now = held.get(name).copied();
            let tried = ledger.tried.get(name).is_some_and(|tried| *tried == now);
            assert!(
                now == *acknowledged || tried,
                "round {round}: {name} is {now:?}, acknowledged was {acknowledged:?}"
            );
        }
        // What was found is the new truth: an unacknowledged write may have survived.
        for (name, now) in ledger.acknowledged.iter_mut() {
            *now = held.get(name).copied();
        }
        ledger.highest = ledger.highest.max(revision);
    }
    println!("{} writes were acknowledged in {ROUNDS} rounds", ledger.revisions.len());
}
