//! A full disk: writes fail and say so, nothing acknowledged is lost, and it goes on when there is space again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::{Cluster, call};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A small file system that goes with the test.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(at).status().unwrap();
        assert!(mounted.success(), "this test mounts a tmpfs and so needs root");
        Self(at.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Nothing to do about a failure but to leave the mount for people to see.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "x".repeat(100_000)}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_until_there_is_space_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let _small = Small::mount(&data);
    let ballast = data.join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    let cluster = Cluster::start_in(dir).await;
    let mut stored = Vec::new();
    let refused = loop {
        let name = format!("m{}", stored.len());
        match call(&cluster.client, "POST", MAPS, "application/json", map(&name)).await {
            (201, _) => stored.push(name),
            (code, status) => break (code, status),
        }
        assert!(stored.len() < 200, "the disk does not get full");
    };
    assert_eq!(refused.0, 500);
    let message = refused.1["message"].as_str().unwrap();
    assert!(message.contains("cannot write") && message.contains("free disk space"), "{message}");
    assert_eq!(
        call(&cluster.client, "GET", &format!("{MAPS}/m0"), "application/json", Value::Null).await.0,
        200
    );

    std::fs::remove_file(&ballast).unwrap();
    let (code, status) = call(&cluster.client, "POST", MAPS, "application/json", map("after")).await;
    assert_eq!(code, 201, "{status}");
    stored.push("after".to_owned());
    let cluster = cluster.restart().await;
    for name in &stored {
        let path = format!("{MAPS}/{name}");
        assert_eq!(
            call(&cluster.client, "GET", &path, "application/json", Value::Null).await.0,
            200,
            "{name}"
        );
    }
    cluster.stop().await.close().unwrap_or_default();
}
