//! Two hundred watchers while 500 objects a second change, and one watcher that does not read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::Stack;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::http::{JSON, fetch, revision, send, text_of};
use crate::{Measure, quantile};

const WATCHERS: usize = 200;
/// One writer for each.
const OBJECTS: u64 = 8;
const EVERY: Duration = Duration::from_millis(16);
/// Bytes of the object that fills the way to who does not read.
const FAT: usize = 200_000;
const LASTS: Duration = Duration::from_secs(10);
/// How long watchers may take to catch up when the storm is over.
const CATCH_UP: Duration = Duration::from_secs(30);
const PLACE: &str = "/api/v1/namespaces/storm/configmaps";
/// Those that change: every namespace has one that does not.
const CHANGING: &str = "labelSelector=storm%3Dyes";

/// The state of a watcher that has seen everything: by object, its last number.
type Seen = BTreeMap<String, u64>;

pub(super) async fn run(stack: &Stack) -> Result<Vec<Measure>> {
    let client = stack.client();
    fetch(&client, "POST", "/api/v1/namespaces", JSON, Some(&json!({"metadata": {"name": "storm"}}))).await?;
    for object in 0..OBJECTS {
        fetch(&client, "POST", PLACE, JSON, Some(&map(object, 0))).await?;
    }
    let (written, cut) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
    let last = Arc::new(tokio::sync::OnceCell::new());
    let mut watchers = JoinSet::new();
    for _ in 0..WATCHERS {
        watchers.spawn(follow(stack.client(), Arc::clone(&last), Arc::clone(&cut)));
    }
    let start = revision(&fetch(&client, "GET", &format!("{PLACE}?{CHANGING}"), JSON, None).await?)?;
    let path = format!("{PLACE}?watch=true&resourceVersion={start}&timeoutSeconds=600");
    let slow = send(&client, "GET", &path, JSON, None).await?.into_body();

    let begin = Instant::now();
    let mut writers = JoinSet::new();
    for object in 0..OBJECTS {
        writers.spawn(write(stack.client(), object, begin + LASTS, Arc::clone(&written)));
    }
    let mut fat = JoinSet::new();
    fat.spawn(fatten(stack.client(), begin + LASTS));
    let (mut latencies, mut end) = (Vec::new(), Seen::new());
    while let Some(done) = writers.join_next().await {
        let (object, number, mut own) = done??;
        latencies.append(&mut own);
        end.insert(format!("storm-{object}"), number);
    }
    while let Some(done) = fat.join_next().await {
        done??;
    }
    let rate = written.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64();
    last.set(end).context("the storm ends once")?;
    // Those who wait for one more event get it.
    for object in 0..OBJECTS {
        let map = json!({"metadata": {"labels": {"over": "yes"}}});
        let request = http::Request::patch(format!("{PLACE}/storm-{object}"));
        let request = request.header("content-type", "application/merge-patch+json");
        client.send(request.body(map.to_string().into_bytes().into())?).await?;
    }
    let caught_up = async {
        while let Some(done) = watchers.join_next().await {
            done??;
        }
        anyhow::Ok(())
    };
    timeout(CATCH_UP, caught_up).await.context("watchers do not catch up")??;
    // Who did not read for so long is told so, and goes on from a list.
    ensure!(is_cut(slow).await?, "a watch that nobody read for {LASTS:?} had all its events kept");
    let again = revision(&fetch(&client, "GET", &format!("{PLACE}?{CHANGING}"), JSON, None).await?)?;
    let number = |revision: &str| revision.parse::<u64>().context("a revision is a number here");
    ensure!(number(&again)? > number(&start)?, "the list is no newer than the watch that was cut");

    let cut = cut.load(Ordering::Relaxed);
    let method = format!(
        "{OBJECTS} clients PUT 500 a second for {} s, {WATCHERS} watches follow, {cut} of them listed again; one that does not read is cut",
        LASTS.as_secs()
    );
    Ok(vec![
        Measure::per_second("plane.storm-rate", rate, format!("{method}; writes done")),
        Measure::seconds(
            "plane.storm-p99",
            quantile(&latencies, 0.99),
            format!("{method}; a PUT, 99th percentile"),
        ),
    ])
}

fn map(object: u64, number: u64) -> Value {
    json!({"metadata": {"name": format!("storm-{object}"), "labels": {"storm": "yes"}}, "data": {"n": number.to_string()}})
}

async fn write(
    client: Client,
    object: u64,
    end: Instant,
    written: Arc<AtomicU64>,
) -> Result<(u64, u64, Vec<Duration>)> {
    let path = format!("{PLACE}/storm-{object}");
    let (mut number, mut latencies) = (0, Vec::new());
    let mut pace = interval(EVERY);
    // What is late is made up for: the rate is what is asked for, unless the server cannot.
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while Instant::now() < end {
        pace.tick().await;
        number += 1;
        let begin = Instant::now();
        fetch(&client, "PUT", &path, JSON, Some(&map(object, number))).await?;
        latencies.push(begin.elapsed());
        written.fetch_add(1, Ordering::Relaxed);
    }
    Ok((object, number, latencies))
}

/// Writes what only the watcher sees that does not read: more than the buffers on its way hold.
async fn fatten(client: Client, end: Instant) -> Result<()> {
    let fat = |number: usize| json!({"metadata": {"name": "fat"}, "data": {"n": number.to_string(), "x": "x".repeat(FAT)}});
    fetch(&client, "POST", PLACE, JSON, Some(&fat(0))).await?;
    let mut pace = interval(Duration::from_millis(50));
    for number in 1.. {
        pace.tick().await;
        fetch(&client, "PUT", &format!("{PLACE}/fat"), JSON, Some(&fat(number))).await?;
        if Instant::now() > end {
            break;
        }
    }
    Ok(())
}

/// Watches until it has seen the end of the storm; lists again whenever it is cut off.
async fn follow(client: Client, end: Arc<tokio::sync::OnceCell<Seen>>, cut: Arc<AtomicUsize>) -> Result<()> {
    loop {
        let list: Value = serde_json::from_slice(
            &fetch(&client, "GET", &format!("{PLACE}?{CHANGING}"), JSON, None).await?,
        )?;
        let mut seen = Seen::new();
        for item in list["items"].as_array().into_iter().flatten() {
            note(&mut seen, item.to_string().as_bytes())?;
        }
        if end.get().is_some_and(|end| *end == seen) {
            return Ok(());
        }
        let start = list["metadata"]["resourceVersion"].as_str().context("a list has a revision")?;
        let path = format!("{PLACE}?{CHANGING}&watch=true&resourceVersion={start}&timeoutSeconds=600");
        let mut body = send(&client, "GET", &path, JSON, None).await?.into_body();
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            rest.extend_from_slice(&data);
            while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=at).collect();
                if !line.starts_with(b"{\"type\":\"ERROR\"") {
                    note(&mut seen, &line)?;
                }
            }
            if end.get().is_some_and(|end| *end == seen) {
                return Ok(());
            }
        }
        cut.fetch_add(1, Ordering::Relaxed);
    }
}

fn note(seen: &mut Seen, object: &[u8]) -> Result<()> {
    let name = text_of(object, "name").context("an object has a name")?;
    let number = text_of(object, "n").context("an object has a number")?.parse()?;
    seen.insert(name.to_owned(), number);
    Ok(())
}

/// Whether the watch ends by itself with the word that it was too slow.
async fn is_cut(mut body: Body) -> Result<bool> {
    let (mut last, limit) = (Vec::new(), Duration::from_secs(5));
    while let Ok(Some(frame)) = timeout(limit, body.frame()).await {
        if let Ok(data) = frame?.into_data() {
            last.extend_from_slice(&data);
            last.drain(..last.len().saturating_sub(4096));
        }
    }
    Ok(String::from_utf8_lossy(&last).contains("\"code\":410"))
}
