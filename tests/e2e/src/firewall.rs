//! What CNI's port mapping plugin writes into the host's firewall, and taking it back for pods that no runtime ends any more: a
//! test that fails leaves its pods where they are.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::containerd::{NETWORK, plugin_dir, run};

/// Where CNI's library keeps what it needs for a `DEL`, a file a network and sandbox.
const RESULTS: &str = "/var/lib/cni/results";

/// Takes back what was written for the sandboxes of a network, of which nothing runs any more.
pub(crate) fn forget(network: &str, plugins: &str) {
    for sandbox in sandboxes(network) {
        // As a last resort, by hand; who looks into the test that failed wants to know.
        unmap(network, &sandbox, plugins).map_err(|error| eprintln!("{error:#}")).ok();
    }
    for entry in fs::read_dir(RESULTS).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&format!("{network}-")) {
            fs::remove_file(entry.path()).ok();
        }
    }
    remove_chains();
}

/// Takes back what tests have left that were killed before they could.
pub fn sweep() -> Result<()> {
    let plugins = plugin_dir()?;
    for network in networks().iter().filter(|network| Claim::on(network).is_ok()) {
        forget(network, &plugins);
    }
    Ok(())
}

/// Says that a network has an owner. The kernel gives it up with its process, however that ends.
#[derive(Debug)]
pub(crate) struct Claim {
    _socket: UnixListener,
}

impl Claim {
    /// Fails while somebody has it.
    pub(crate) fn on(network: &str) -> Result<Self> {
        let name = SocketAddr::from_abstract_name(network)?;
        let socket = UnixListener::bind_addr(&name).with_context(|| format!("{network} has an owner"))?;
        Ok(Self { _socket: socket })
    }
}

/// Rules of the host's firewall that were written for the sandboxes of a network.
pub fn rules(network: &str) -> Vec<String> {
    let mark = format!(r#"name: \"{network}\" "#);
    let all = run("iptables", &["-w", "-t", "nat", "-S"]).unwrap_or_default();
    all.lines().filter(|rule| rule.contains(&mark)).map(str::to_owned).collect()
}

/// The networks of tests that have rules.
fn networks() -> BTreeSet<String> {
    let all = run("iptables", &["-w", "-t", "nat", "-S"]).unwrap_or_default();
    let name = |rule: &str| Some(rule.split_once(r#"name: \""#)?.1.split_once(r#"\""#)?.0.to_owned());
    let of_tests = |name: &String| {
        let tag = name.strip_prefix(NETWORK).unwrap_or_default();
        tag.len() == 6 && tag.chars().all(|digit| digit.is_ascii_hexdigit())
    };
    all.lines().filter_map(name).filter(of_tests).collect()
}

fn sandboxes(network: &str) -> BTreeSet<String> {
    let id = |rule: &String| Some(rule.split_once(r#"id: \""#)?.1.split_once(r#"\""#)?.0.to_owned());
    rules(network).iter().filter_map(id).collect()
}

/// CNI's DEL without a namespace, which is gone. The plugin does nothing where it is given no port; which one does not matter.
fn unmap(network: &str, sandbox: &str, plugins: &str) -> Result<()> {
    let config = json!({ "cniVersion": "1.0.0", "name": network, "type": "portmap",
        "runtimeConfig": { "portMappings": [{ "hostPort": 1, "containerPort": 1, "protocol": "tcp" }] } });
    portmap(plugins, "DEL", sandbox, "", &config)
}

fn portmap(plugins: &str, command: &str, sandbox: &str, namespace: &str, config: &Value) -> Result<()> {
    let mut child = Command::new(Path::new(plugins).join("portmap"))
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", sandbox)
        .env("CNI_NETNS", namespace)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", plugins)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start portmap")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(config.to_string().as_bytes())?;
    }
    let done = child.wait_with_output()?;
    ensure!(
        done.status.success(),
        "portmap {command} of {sandbox}: {}",
        String::from_utf8_lossy(&done.stdout)
    );
    Ok(())
}

/// The plugin leaves its chains behind. Tests on the host's network run one after the other, so chains without an entry are
/// nobody's.
fn remove_chains() {
    let rules = run("iptables", &["-w", "-t", "nat", "-S"]).unwrap_or_default();
    if rules.lines().any(|rule| rule.starts_with("-A CNI-HOSTPORT-DNAT")) {
        return;
    }
    let nat = |args: &[&str]| run("iptables", &[&["-w", "-t", "nat"], args].concat());
    for hook in ["PREROUTING", "OUTPUT"] {
        nat(&["-D", hook, "-m", "addrtype", "--dst-type", "LOCAL", "-j", "CNI-HOSTPORT-DNAT"]).ok();
    }
    let comment = "CNI portfwd requiring masquerade";
    nat(&["-D", "POSTROUTING", "-m", "comment", "--comment", comment, "-j", "CNI-HOSTPORT-MASQ"]).ok();
    for chain in ["CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK"] {
        nat(&["-F", chain]).ok();
        nat(&["-X", chain]).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::fresh_number;

    #[test]
    fn rules_are_swept_away_when_their_owner_is_gone_and_not_before() {
        let network = format!("{NETWORK}{:06x}", fresh_number() & 0xff_ffff);
        let plugins = plugin_dir().unwrap();
        let config = json!({ "cniVersion": "1.0.0", "name": network, "type": "portmap", "snat": false,
            "runtimeConfig": { "portMappings": [
                { "hostPort": 9, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1" } ] },
            "prevResult": { "cniVersion": "1.0.0", "interfaces": [{ "name": "eth0", "sandbox": "/proc/self/ns/net" }],
                "ips": [{ "address": "192.0.2.9/24", "gateway": "192.0.2.1", "interface": 0 }] } });
        let owner = Claim::on(&network).unwrap();
        portmap(&plugins, "ADD", "one", "/proc/self/ns/net", &config).unwrap();
        assert_eq!(sandboxes(&network), BTreeSet::from(["one".to_owned()]));
        sweep().unwrap();
        assert_eq!(rules(&network).len(), 1);
        drop(owner);
        sweep().unwrap();
        assert_eq!(rules(&network), Vec::<String>::new());
    }
}
