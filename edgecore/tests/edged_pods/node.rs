//! A node for tests: a private container runtime, a store, edged; and a cloud that is the test itself.

#![allow(clippy::expect_used, clippy::panic, reason = "a test helper fails by panicking")]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::engine::{Engine, Kind};
use edgecore::edged;
use edgecore::edged::cgroups;
use edgecore::edged::config::{CgroupDriver, Housekeeping, Settings};
use edgecore::edged::node::Outlook;
use edgecore::edgehub::{self, Outbox};
use edgecore::local_api::LocalApi;
use edgecore::metamanager::{self, Handle};
use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::session::Outcome;
use serde_json::{Value, json};
use tasks::TaskSet;
use tempfile::TempDir;

pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) settings: Settings,
    pub(crate) store: Handle,
    /// What the node's status tells.
    pub(crate) outlook: Outlook,
    /// Where the kubelet's read-only API is served.
    pub(crate) api: SocketAddr,
    tasks: Option<TaskSet>,
    _link: edgehub::Link,
    dir: TempDir,
}

/// A pod as kubectl would send it, bound to the test's node.
pub(crate) fn pod(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["nodeName"] = "edge1".into();
    if spec["terminationGracePeriodSeconds"].is_null() {
        spec["terminationGracePeriodSeconds"] = 1.into();
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "spec": spec, "metadata": {
        "name": name, "namespace": "default", "uid": format!("uid-{name}"), "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z", "labels": { "app": name } } })
}

/// A container of the test image that runs a shell script.
pub(crate) fn shell(name: &str, script: &str) -> Value {
    json!({ "name": name, "image": e2e::image::BUSYBOX, "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", script] })
}

/// Sleeps until it is told to stop, and stops at once then.
pub(crate) const SLEEP: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

/// Rules under which nothing is removed and nobody evicted, however full the disk of the machine is that tests.
pub(crate) fn unhurried() -> Housekeeping {
    Housekeeping { image_high_percent: 100, thresholds: Vec::new(), ..Housekeeping::default() }
}

impl Node {
    pub(crate) async fn start(kind: Kind) -> Self {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
        tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init().ok();
        let dir = tempfile::Builder::new().prefix("sk").tempdir().expect("a folder");
        let engine = Engine::start(kind, &dir.path().join("c")).await;
        let mut settings = Settings::new(
            "edge1",
            [192, 0, 2, 1].into(),
            dir.path().join("kubelet"),
            dir.path().join("logs"),
        );
        settings.runtime_endpoint = engine.endpoint();
        settings.cgroup_root = engine.cgroup_root();
        settings.cgroup_driver = match e2e::containerd::cgroup_driver() {
            "systemd" => CgroupDriver::Systemd,
            _ => CgroupDriver::Cgroupfs,
        };
        settings.pause_image = e2e::image::PAUSE.into();
        settings.housekeeping = unhurried();
        let (store, link, tasks, outlook, api) = run(&settings, dir.path()).await;
        Self { engine, settings, store, outlook, api, tasks: Some(tasks), _link: link, dir }
    }

    /// Stops edged as a restart of edgecore does.
    pub(crate) async fn stop_edged(&mut self) {
        let tasks = self.tasks.take().expect("edged runs");
        let report = tasks.shutdown(Duration::from_secs(5)).await;
        assert!(report.stuck.is_empty(), "{report:?}");
    }

    pub(crate) async fn start_edged(&mut self) {
        let (store, link, tasks, outlook, api) = run(&self.settings, self.dir.path()).await;
        (self.store, self._link, self.tasks, self.outlook, self.api) =
            (store, link, Some(tasks), outlook, api);
    }

    /// Stops edged and checks that nothing of it or of its pods is left.
    pub(crate) async fn leaves_nothing(mut self) {
        self.stop_edged().await;
        let left = std::fs::read_dir(self.settings.root.join("pods")).into_iter().flatten().flatten();
        assert_eq!(left.map(|entry| entry.path()).collect::<Vec<PathBuf>>(), Vec::<PathBuf>::new());
        let left = std::fs::read_dir(&self.settings.pod_logs).into_iter().flatten().flatten();
        assert_eq!(left.map(|entry| entry.path()).collect::<Vec<PathBuf>>(), Vec::<PathBuf>::new());
        assert_eq!(e2e::containerd::mounts_below(&self.settings.root), Vec::<PathBuf>::new());
        assert_eq!(self.engine.containers(), Vec::<String>::new());
        for controller in ["memory", "pids", "cpu"] {
            let all = cgroups::path_of(&["kubepods"], &self.settings, controller);
            // systemd removes a slice in its own time.
            let end = Instant::now() + Duration::from_secs(10);
            while !pod_cgroups(&all).is_empty() && Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(pod_cgroups(&all), Vec::<PathBuf>::new());
        }
    }

    /// What the cloud would push.
    pub(crate) async fn push(&self, operation: Operation, kind: &str, object: &Value) {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let resource = format!("default/{kind}/{name}");
        let route = Route::new(Source::EdgeController, Group::Resource, operation, resource.as_str().into());
        let message = Message::new(route, Content::json(object).expect("JSON"));
        assert_eq!(self.store.accept(vec![message]).await, [Outcome::Done], "{kind} {name}");
    }

    pub(crate) async fn run_pod(&self, pod: &Value) {
        self.push(Operation::Insert, "pod", pod).await;
    }

    pub(crate) async fn config_map(&self, name: &str, version: u32, data: Value) {
        let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": data, "metadata": {
            "name": name, "namespace": "default", "uid": format!("uid-{name}"), "resourceVersion": version.to_string() } });
        self.push(Operation::Update, "configmap", &object).await;
    }

    pub(crate) async fn secret(&self, name: &str, data: Value) {
        self.secret_at(name, 1, data).await;
    }

    pub(crate) async fn secret_at(&self, name: &str, version: u32, data: Value) {
        let object = json!({ "apiVersion": "v1", "kind": "Secret", "data": data, "metadata": {
            "name": name, "namespace": "default", "uid": format!("uid-{name}"), "resourceVersion": version.to_string() } });
        self.push(Operation::Update, "secret", &object).await;
    }

    /// Asks for deletion as the API does, waits until the node says that the pod is gone, then removes the object and
    /// waits for the node to forget it. Returns how long the node took to say so.
    pub(crate) async fn delete_pod(&self, pod: &Value, grace: u64) -> Duration {
        let begun = Instant::now();
        let name = pod["metadata"]["name"].as_str().expect("a name");
        let mut pod = pod.clone();
        pod["metadata"]["deletionTimestamp"] = jiff::Timestamp::now().to_string().into();
        pod["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        pod["metadata"]["resourceVersion"] = "1000".into();
        self.push(Operation::Update, "pod", &pod).await;
        let row = format!("gone/default/{name}/uid-{name}");
        self.wait("the pod is gone", async || self.rows().await.contains(&row).then_some(())).await;
        let took = begun.elapsed();
        self.push(Operation::Delete, "pod", &pod).await;
        let logs = self.settings.pod_logs.join(format!("default_{name}_uid-{name}"));
        self.wait("its logs are removed", async || (!logs.exists()).then_some(())).await;
        took
    }

    pub(crate) async fn status(&self, name: &str) -> Option<PodStatus> {
        self.store.pod_status("default", name, &format!("uid-{name}")).await.expect("the store answers")
    }

    /// Waits for a status of the pod.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&PodStatus) -> bool,
    ) -> PodStatus {
        let found = self.wait(what, async || self.status(name).await.filter(|status| wanted(status)));
        let limit = tokio::time::timeout(Duration::from_secs(40), found).await;
        match limit {
            Ok(status) => status,
            Err(_) => panic!(
                "{what}: not seen; status {}; events {:#?}; runtime: {}",
                serde_json::to_string_pretty(&self.status(name).await).expect("JSON"),
                self.events().await,
                self.engine.log()
            ),
        }
    }

    pub(crate) async fn ready(&self, name: &str) -> PodStatus {
        self.until(name, "the pod is ready", is_ready).await
    }

    /// Rows that the cloud is to learn; statuses are confirmed on the way, as the cloud would.
    pub(crate) async fn rows(&self) -> Vec<String> {
        let ahead = self.store.ahead(1000, &HashSet::new()).await.expect("the store answers");
        for report in ahead.iter().filter(|report| report.row.0.starts_with("pod/")) {
            self.store.confirm(&report.row, report.version).await.expect("the store confirms");
        }
        ahead.into_iter().map(|report| report.row.0).collect()
    }

    /// Events so far: reason, message, count.
    pub(crate) async fn events(&self) -> Vec<(String, String, i64)> {
        let ahead = self.store.ahead(1000, &HashSet::new()).await.expect("the store answers");
        let events = ahead.into_iter().filter(|report| report.row.0.starts_with("event/"));
        events
            .map(|report| {
                let event: Value = report.message.content.parse().expect("an event");
                let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
                (text("reason"), text("message"), event["count"].as_i64().unwrap_or(0))
            })
            .collect()
    }

    pub(crate) async fn wait<T>(&self, what: &str, probe: impl AsyncFn() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(45);
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            assert!(Instant::now() < end, "{what}: not in time; events {:#?}", self.events().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What a container of the pod has logged.
    pub(crate) fn log(&self, pod: &str, container: &str, restarts: u32) -> String {
        let dir = self.settings.pod_logs.join(format!("default_{pod}_uid-{pod}")).join(container);
        let text = std::fs::read_to_string(dir.join(format!("{restarts}.log"))).unwrap_or_default();
        // Docker's lines are JSON, CRI's have three words before the text.
        let line = |line: &str| match serde_json::from_str::<Value>(line) {
            Ok(json) => json["log"].as_str().unwrap_or_default().to_owned(),
            Err(_) => format!("{}\n", line.splitn(4, ' ').nth(3).unwrap_or_default()),
        };
        text.lines().map(line).collect()
    }

    /// Runs a command in a running container.
    pub(crate) fn exec(&self, status: &PodStatus, command: &[&str]) -> String {
        self.engine.exec(id(&container(status)), command)
    }
}

impl Drop for Node {
    /// A test that fails leaves pods: nobody may set up again what the engine takes down, and what they had in memory goes.
    fn drop(&mut self) {
        self.tasks = None;
        e2e::containerd::unmount_below(&self.settings.root);
    }
}

async fn run(settings: &Settings, dir: &Path) -> (Handle, edgehub::Link, TaskSet, Outlook, SocketAddr) {
    let tasks = TaskSet::new("test");
    let (hub, link) = edgehub::channel();
    let store =
        metamanager::open(metamanager::Settings::new(dir.join("edgecore.db"), "edge1"), hub.clone(), &tasks)
            .await
            .expect("the store opens");
    let pods = edged::start(settings.clone(), store.clone(), hub.connection(), &tasks).expect("edged starts");
    let [port] = e2e::free_ports().expect("a free port");
    let api = SocketAddr::from(([127, 0, 0, 1], port));
    LocalApi::new(hub).with_pods(pods.pulse, pods.api).serve(api, &tasks);
    (store, link, tasks, pods.outlook, api)
}

fn pod_cgroups(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if entry.is_dir() {
            if entry.file_name().is_some_and(|name| name.to_string_lossy().contains("poduid")) {
                found.push(entry.clone());
            }
            found.extend(pod_cgroups(&entry));
        }
    }
    found
}

pub(crate) fn is_ready(status: &PodStatus) -> bool {
    status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The first container's status.
pub(crate) fn container(status: &PodStatus) -> ContainerStatus {
    status.container_statuses.as_ref().and_then(|list| list.first()).cloned().expect("a container status")
}

/// The id that the runtime knows.
pub(crate) fn id(status: &ContainerStatus) -> &str {
    status.container_id.as_deref().and_then(|id| id.split_once("://")).map(|(_, id)| id).expect("an id")
}

/// The reason for which the first container waits.
pub(crate) fn waits_for(status: &PodStatus) -> String {
    let state = container(status).state.unwrap_or_default();
    state.waiting.and_then(|waiting| waiting.reason).unwrap_or_default()
}
