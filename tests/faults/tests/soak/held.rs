//! What either runtime holds, in the same words.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use e2e::{Containerd, Docker, Engine};
use serde_json::Value;

/// A container or a sandbox in the runtime.
#[derive(Clone, Debug)]
pub struct Held {
    pub id: String,
    pub uid: String,
    /// Empty for a sandbox.
    pub name: String,
    /// Its process, if it runs.
    pub pid: Option<i32>,
    /// Other names under which its files lie: the layers of its root, on Docker.
    pub aliases: Vec<String>,
}

impl Held {
    pub fn is_sandbox(&self) -> bool {
        self.name.is_empty()
    }
}

/// Everything that the runtime knows.
pub fn all(engine: &Engine) -> Result<Vec<Held>> {
    match engine {
        Engine::Containerd(containerd) => on_containerd(containerd),
        Engine::Docker(docker) => on_docker(docker),
    }
}

fn on_containerd(containerd: &Containerd) -> Result<Vec<Held>> {
    let running = running(containerd)?;
    let mut all = Vec::new();
    for id in containerd.ctr(&["containers", "ls", "-q"])?.lines() {
        // It may be gone by now.
        let Ok(text) = containerd.ctr(&["containers", "info", id]) else { continue };
        let info: Value = serde_json::from_str(&text).context("what ctr says of a container")?;
        let label = |key: &str| info["Labels"][key].as_str().unwrap_or_default().to_owned();
        all.push(Held {
            id: id.to_owned(),
            uid: label("io.kubernetes.pod.uid"),
            name: label("io.kubernetes.container.name"),
            pid: running.get(id).copied(),
            aliases: Vec::new(),
        });
    }
    Ok(all)
}

fn running(containerd: &Containerd) -> Result<BTreeMap<String, i32>> {
    let table = containerd.ctr(&["tasks", "ls"])?;
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (id, pid, state) = (words.next()?, words.next()?, words.next()?);
        (state == "RUNNING").then(|| Some((id.to_owned(), pid.parse().ok()?)))?
    };
    Ok(table.lines().skip(1).filter_map(row).collect())
}

fn on_docker(docker: &Docker) -> Result<Vec<Held>> {
    let ids = docker.docker(&["ps", "-aq", "--no-trunc"])?;
    let ids: Vec<&str> = ids.lines().collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let text = docker.docker(&[&["inspect"], ids.as_slice()].concat())?;
    let list: Vec<Value> = serde_json::from_str(&text).context("what docker says of containers")?;
    let held = |info: &Value| {
        let label = |key: &str| info["Config"]["Labels"][key].as_str().unwrap_or_default().to_owned();
        let sandbox = label("io.kubernetes.docker.type") == "podsandbox";
        let layers = info["GraphDriver"]["Data"].as_object().into_iter().flat_map(|data| data.values());
        let parts = layers.filter_map(Value::as_str).flat_map(|paths| paths.split(['/', ':']));
        let network = info["NetworkSettings"]["SandboxKey"].as_str().and_then(|key| key.rsplit('/').next());
        let running = info["State"]["Running"] == true;
        Held {
            id: info["Id"].as_str().unwrap_or_default().to_owned(),
            uid: label("io.kubernetes.pod.uid"),
            name: if sandbox { String::new() } else { label("io.kubernetes.container.name") },
            pid: running.then(|| info["State"]["Pid"].as_i64()).flatten().and_then(|pid| pid.try_into().ok()),
            aliases: parts.filter(|part| part.len() > 32).chain(network).map(str::to_owned).collect(),
        }
    };
    Ok(list.iter().map(held).collect())
}
