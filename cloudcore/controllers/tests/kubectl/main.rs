//! What people do with kubectl, against a control plane with its controllers and nodes: kubectl must not be able to tell it from
//! Kubernetes. One module per theme; the texts are Kubernetes' own.

#[path = "../support/mod.rs"]
mod support;

mod change;
mod create;
mod delete;
mod discovery;
mod examples;
mod nodes;
mod output;
mod rights;
mod waiting;

use support::Managed;
use support::agent::Agent;
use support::cluster::Said;

/// A control plane with its controllers and two nodes that run what they are given.
struct Running {
    managed: Managed,
    _nodes: [Agent; 2],
}

impl std::ops::Deref for Running {
    type Target = Managed;

    fn deref(&self) -> &Managed {
        &self.managed
    }
}

impl Running {
    async fn start() -> Self {
        let managed = Managed::start().await;
        let nodes = [managed.ready_node("edge1").await, managed.ready_node("edge2").await];
        Self { managed, _nodes: nodes }
    }

    /// What a kubectl that succeeds prints.
    async fn must(&self, line: &str) -> String {
        self.cluster.must(&words(line)).await
    }

    /// What a kubectl that fails complains.
    async fn fails(&self, line: &str) -> String {
        let said = self.cluster.kubectl(&words(line)).await;
        assert!(!said.ok, "kubectl {line}: {said:?}");
        said.err
    }

    async fn says(&self, line: &str) -> Said {
        self.cluster.kubectl(&words(line)).await
    }

    /// Applies a manifest of this name.
    async fn apply(&self, name: &str, text: &str) -> String {
        let file = self.cluster.manifest(name, text);
        self.cluster.must(&["apply", "-f", &file]).await
    }

    /// Waits until a Deployment has rolled out.
    async fn rolled_out(&self, name: &str) {
        let said = self.must(&format!("rollout status deploy/{name} --timeout=25s")).await;
        assert!(said.ends_with(&format!("deployment \"{name}\" successfully rolled out\n")), "{said}");
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// The lines of a text with runs of blanks made one.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| words(line).join(" ")).collect()
}

fn assert_lines(text: &str, wanted: &[&str]) {
    let found = lines(text);
    for line in wanted {
        assert!(found.iter().any(|one| one == line), "no {line:?} in\n{text}");
    }
}

/// A Deployment whose pods have one container.
fn deployment(name: &str, replicas: usize) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: http, image: 'http:1', ports: [{{containerPort: 80}}]}}]}}
"
    )
}
