//! Durable writes a second: each is on disk before it is answered.

use std::time::Duration;

use anyhow::Result;
use e2e::Stack;
use futures::future::try_join_all;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::http::{JSON, fetch, revision};
use crate::Measure;

const LASTS: Duration = Duration::from_secs(5);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CREATES: [(usize, &str); 3] = [(1, "plane.create-1"), (8, "plane.create-8"), (64, "plane.create-64")];
const UPDATES: [(usize, &str); 3] = [(1, "plane.update-1"), (8, "plane.update-8"), (64, "plane.update-64")];

fn map(name: &str, number: usize, revision: Option<String>) -> Value {
    let metadata = json!({"name": name, "resourceVersion": revision});
    json!({"metadata": metadata, "data": {"n": number.to_string(), "filling": "x".repeat(1000)}})
}

pub(super) async fn run(stack: &Stack) -> Result<Vec<Measure>> {
    let mut measures = Vec::new();
    for (clients, name) in CREATES {
        let rate = rate(stack, clients, create).await?;
        measures.push(Measure::per_second(name, rate, method("creates", clients)));
    }
    for (clients, name) in UPDATES {
        let rate = rate(stack, clients, update).await?;
        measures.push(Measure::per_second(name, rate, method("updates", clients)));
    }
    Ok(measures)
}

fn method(what: &str, clients: usize) -> String {
    format!("{what} of ConfigMaps of 1 kB over TLS, {clients} at the same time, for {} s", LASTS.as_secs())
}

async fn rate<F>(stack: &Stack, clients: usize, one: impl Fn(Client, String, Instant) -> F) -> Result<f64>
where
    F: Future<Output = Result<usize>> + Send + 'static,
{
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        tasks.spawn(one(stack.client(), format!("c{clients}-{client}"), begin + LASTS));
    }
    let mut written = 0;
    while let Some(done) = tasks.join_next().await {
        written += done??;
    }
    Ok(written as f64 / begin.elapsed().as_secs_f64())
}

async fn create(client: Client, name: String, end: Instant) -> Result<usize> {
    let mut written = 0;
    while Instant::now() < end {
        let object = map(&format!("{name}-{written}"), written, None);
        fetch(&client, "POST", MAPS, JSON, Some(&object)).await?;
        written += 1;
    }
    Ok(written)
}

async fn update(client: Client, name: String, end: Instant) -> Result<usize> {
    let name = format!("u{name}");
    let path = format!("{MAPS}/{name}");
    let mut last = revision(&fetch(&client, "POST", MAPS, JSON, Some(&map(&name, 0, None))).await?)?;
    let mut written = 1;
    while Instant::now() < end {
        last = revision(&fetch(&client, "PUT", &path, JSON, Some(&map(&name, written, Some(last)))).await?)?;
        written += 1;
    }
    Ok(written)
}

/// Creates `objects` at `path`, 32 at the same time.
pub(super) async fn create_all(stack: &Stack, path: &str, objects: Vec<Value>) -> Result<()> {
    const AT_ONCE: usize = 32;
    let mut lanes: Vec<Vec<Value>> = (0..AT_ONCE).map(|_| Vec::new()).collect();
    for (number, object) in objects.into_iter().enumerate() {
        lanes[number % AT_ONCE].push(object);
    }
    let lanes = lanes.into_iter().map(|lane| {
        let client = stack.client();
        async move {
            for object in lane {
                fetch(&client, "POST", path, JSON, Some(&object)).await?;
            }
            anyhow::Ok(())
        }
    });
    try_join_all(lanes).await.map(drop)
}
