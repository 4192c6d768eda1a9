//! The real kubectl, 1.32 and 1.20, against the control plane.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use support::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_cluster_says_its_version() {
    let cluster = Cluster::start().await;
    assert!(cluster.must(&["version"]).await.contains("Server Version: v1.36."));
}
