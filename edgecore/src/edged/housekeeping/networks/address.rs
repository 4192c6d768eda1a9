//! Who has an address by the book of CNI's `host-local`, and giving one back as a runtime does: the plugins of the network are asked,
//! last one first, to forget the sandbox.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::edged::runtime::Networks;

/// Where `host-local` has its book if nothing else is said.
const BOOK: &str = "/var/lib/cni/networks";
/// What containerd calls the interface of a sandbox.
const INTERFACE: &str = "eth0";
/// How long one plugin may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Sandboxes that have an address in this network.
pub(super) fn holders(network: &Value) -> Vec<String> {
    let Some(name) = network["name"].as_str().filter(|name| is_plain(name)) else { return Vec::new() };
    let books = plugins(network)
        .filter(|plugin| plugin["ipam"]["type"] == "host-local")
        .map(|plugin| PathBuf::from(plugin["ipam"]["dataDir"].as_str().unwrap_or(BOOK)).join(name));
    let mut all = Vec::new();
    for book in books {
        for address in super::names(&book).filter(|name| name.parse::<std::net::IpAddr>().is_ok()) {
            let entry = std::fs::read_to_string(book.join(address)).unwrap_or_default();
            all.extend(entry.lines().next().filter(|id| !id.is_empty()).map(str::to_owned));
        }
    }
    all
}

/// Has every plugin of every network forget the sandbox.
pub(super) async fn release(networks: &Networks, sandbox: &str) -> io::Result<()> {
    for network in &networks.configurations {
        if !holders(network).iter().any(|holder| holder == sandbox) {
            continue;
        }
        let all: Vec<&Value> = plugins(network).collect();
        for plugin in all.into_iter().rev() {
            let mut config = plugin.clone();
            config["name"] = network["name"].clone();
            config["cniVersion"] = network["cniVersion"].clone();
            forget(&networks.plugins, &config, sandbox).await?;
        }
    }
    Ok(())
}

/// CNI's DEL without a namespace, which may be gone.
async fn forget(folder: &Path, config: &Value, sandbox: &str) -> io::Result<()> {
    let name = config["type"].as_str().filter(|name| is_plain(name));
    let name = name.ok_or_else(|| io::Error::other("a plugin of the network has no type"))?;
    let mut child = Command::new(folder.join(name))
        .env("CNI_COMMAND", "DEL")
        .env("CNI_CONTAINERID", sandbox)
        .env("CNI_NETNS", "")
        .env("CNI_IFNAME", INTERFACE)
        .env("CNI_PATH", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(config.to_string().as_bytes()).await?;
    }
    let late = || io::Error::other(format!("plugin {name} is not done after {} s", LIMIT.as_secs()));
    let done = tokio::time::timeout(LIMIT, child.wait_with_output()).await.map_err(|_| late())??;
    if !done.status.success() {
        let words = String::from_utf8_lossy(&done.stdout);
        return Err(io::Error::other(format!("plugin {name}: {}", words.trim())));
    }
    Ok(())
}

fn plugins(network: &Value) -> impl Iterator<Item = &Value> {
    network["plugins"].as_array().into_iter().flatten()
}

/// Whether it is the name of a file and no path.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}
