//! Webhooks that are really called: an HTTPS server of the test with certificates of its own, driven by the real kubectl.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod failures;
mod hook;
mod mutating;
#[path = "../support/mod.rs"]
mod support;
mod validating;

use support::Cluster;

/// A config map's manifest.
pub fn map(name: &str, labels: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{{labels}}}}}\ndata: {{a: b}}\n"
    )
}

/// Creates what a manifest describes; what kubectl said.
pub async fn create(cluster: &Cluster, manifest: &str) -> support::Said {
    let file = cluster.manifest("object.yaml", manifest);
    cluster.kubectl(&["create", "-f", &file]).await
}
