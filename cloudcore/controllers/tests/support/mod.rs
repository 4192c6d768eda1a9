//! A real control plane with the controllers beside it, real kubectl, and nodes whose pods run at once.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

pub mod agent;
#[path = "../../../controlplane/tests/support/mod.rs"]
pub mod cluster;

use std::time::Duration;

pub use cluster::Cluster;
use controllers::Settings;
use serde_json::Value;
use tasks::TaskSet;

const PATIENCE: Duration = Duration::from_secs(30);

/// A control plane that has its controllers.
pub struct Managed {
    pub cluster: Cluster,
    pub tasks: TaskSet,
}

impl Managed {
    pub async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub async fn start_with(settings: Settings) -> Self {
        let cluster = Cluster::start().await;
        let tasks = TaskSet::new("controllers");
        controllers::start(cluster.client.clone(), settings, &tasks);
        Self { cluster, tasks }
    }

    /// A node that runs every pod which is bound to it; see [`agent`].
    pub fn node(&self, name: &str) -> agent::Agent {
        agent::Agent::start(self.cluster.client.clone(), name)
    }

    /// The same, once it is registered and without the taint of a new node.
    pub async fn ready_node(&self, name: &str) -> agent::Agent {
        let (agent, path) = (self.node(name), format!("/api/v1/nodes/{name}"));
        self.until(&path, "registered", |node| node["metadata"]["uid"].is_string()).await;
        let ready = serde_json::json!({"spec": {"taints": null}});
        self.cluster.patch("merge-patch+json", &path, ready).await;
        agent
    }

    /// Ends the controllers and starts them again, as a restart of cloudcore does.
    pub async fn restart_controllers(&mut self, settings: Settings) {
        self.stop_controllers().await;
        controllers::start(self.cluster.client.clone(), settings, &self.tasks);
    }

    /// Ends the controllers.
    pub async fn stop_controllers(&mut self) {
        let ended = std::mem::replace(&mut self.tasks, TaskSet::new("controllers"));
        let report = ended.shutdown(Duration::from_secs(10)).await;
        assert!(report.is_clean(), "{report:?}");
    }

    /// Cuts the controllers off wherever they are, and starts others.
    pub fn kill_controllers(&mut self, settings: Settings) {
        drop(std::mem::replace(&mut self.tasks, TaskSet::new("controllers")));
        controllers::start(self.cluster.client.clone(), settings, &self.tasks);
    }

    /// Waits until the document at `path` is as wanted, and gives it.
    pub async fn until(&self, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let (_, document) = self.cluster.call("GET", path, Value::Null).await;
                last = document;
                if wanted(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let found = found.await.is_ok();
        assert!(found, "not {what}: {last:#}");
        last
    }

    /// Waits until kubectl's output is as wanted, and gives it.
    pub async fn until_kubectl(&self, args: &[&str], what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let said = self.cluster.kubectl(args).await;
                last = format!("{}{}", said.out, said.err);
                if wanted(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let found = found.await.is_ok();
        assert!(found, "not {what}: {last}");
        last
    }
}
