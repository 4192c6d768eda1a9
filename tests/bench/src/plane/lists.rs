//! Lists of ten thousand pods.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::Stack;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::http::{JSON, TABLE, fetch, text_of};
use super::writes::create_all;
use crate::{Measure, quantile};

const PODS: &str = "/api/v1/namespaces/default/pods";
const RUNS: usize = 5;
const PAGE: usize = 500;

/// A pod as people write them: two containers with variables, resources, probes, volumes.
fn pod(number: usize) -> Value {
    let container = |name: &str| {
        let env: Vec<Value> =
            (0..8).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": format!("value-{n}")})).collect();
        json!({
            "name": name, "image": format!("registry.example.com/team/{name}:1.2.3"), "env": env,
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
            "ports": [{"containerPort": 8080, "name": "http"}],
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/config"}, {"name": "data", "mountPath": "/data"}],
        })
    };
    json!({
        "metadata": {
            "name": format!("web-{number:05}"),
            "labels": {"app": "web", "tier": "front", "shard": (number % 50).to_string()},
            "annotations": {"example.com/build": "0123456789abcdef", "example.com/owner": "team@example.com"},
        },
        "spec": {
            "containers": [container("web"), container("sidecar")],
            "volumes": [{"name": "config", "configMap": {"name": "web"}}, {"name": "data", "emptyDir": {}}],
            "nodeSelector": {"kubernetes.io/os": "linux"},
        },
    })
}

pub(super) async fn fill(stack: &Stack, count: usize) -> Result<()> {
    create_all(stack, PODS, (0..count).map(pod).collect()).await
}

pub(super) async fn run(stack: &Stack) -> Result<Vec<Measure>> {
    let count = super::OBJECTS;
    let (mut json, mut table, mut paged) = (Vec::new(), Vec::new(), Vec::new());
    let mut size = 0;
    for _ in 0..RUNS {
        let begin = Instant::now();
        size = fetch(&stack.client(), "GET", PODS, JSON, None).await?.len();
        json.push(begin.elapsed());
        let begin = Instant::now();
        fetch(&stack.client(), "GET", PODS, TABLE, None).await?;
        table.push(begin.elapsed());
        paged.push(pages(stack, count).await?);
    }
    let method = |how: &str| format!("median of {RUNS}: GET of {count} pods over TLS, {how}");
    Ok(vec![
        Measure::seconds(
            "plane.list-json",
            quantile(&json, 0.5),
            method(&format!("JSON, {} MB", size / 1_000_000)),
        ),
        Measure::seconds("plane.list-table", quantile(&table, 0.5), method("as a Table")),
        Measure::seconds(
            "plane.list-paged",
            quantile(&paged, 0.5),
            method(&format!("JSON in pages of {PAGE}")),
        ),
    ])
}

async fn pages(stack: &Stack, count: usize) -> Result<Duration> {
    let begin = Instant::now();
    let (mut next, mut seen) = (String::new(), 0);
    loop {
        let path = format!("{PODS}?limit={PAGE}{next}");
        let page = fetch(&stack.client(), "GET", &path, JSON, None).await?;
        seen += PAGE;
        match text_of(&page, "continue") {
            Some(token) if !token.is_empty() => next = format!("&continue={token}"),
            _ => break,
        }
    }
    ensure!(seen >= count, "the pages end after {seen} pods");
    Ok(begin.elapsed())
}
