//! How containerd makes networks and for whom, from its verbose answers. Other runtimes tell nothing of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use k8s_cri::v1 as cri;
use serde_json::Value;

use super::super::types::Networks;
use super::super::{ContainerRuntime as _, RuntimeError};
use super::Cri;

/// Where containerd holds network namespaces open, unless it is told to keep them with its state.
const NAMESPACES: &str = "/var/run/netns";

impl Cri {
    pub(super) async fn look_at_networks(&self) -> Result<Option<Networks>, RuntimeError> {
        if self.kind() != "containerd" {
            return Ok(None);
        }
        let mut client = self.runtime.clone();
        let asked = client.status(cri::StatusRequest { verbose: true });
        let Some(mut networks) = configured(&self.call("Status", self.limit, asked).await?.info) else {
            return Ok(None);
        };
        let mut client = self.runtime.clone();
        let asked = client.list_pod_sandbox(cri::ListPodSandboxRequest { filter: None });
        for sandbox in self.call("ListPodSandbox", self.limit, asked).await?.items {
            let request = cri::PodSandboxStatusRequest { pod_sandbox_id: sandbox.id.clone(), verbose: true };
            let mut client = self.runtime.clone();
            let answer =
                self.call("PodSandboxStatus", self.limit, client.pod_sandbox_status(request)).await?;
            networks.used.extend(namespace(&answer.info));
            networks.sandboxes.insert(sandbox.id);
        }
        Ok(Some(networks))
    }
}

type Info = std::collections::HashMap<String, String>;

/// What the verbose status says; none when this version does not say enough.
fn configured(info: &Info) -> Option<Networks> {
    let config: Value = serde_json::from_str(info.get("config")?).ok()?;
    let networks: Value = serde_json::from_str(info.get("cniconfig")?).ok()?;
    let own = config["netnsMountsUnderStateDir"] == true;
    let namespaces = match own {
        true => Path::new(config["stateDir"].as_str()?).join("netns"),
        false => NAMESPACES.into(),
    };
    let configurations = networks["Networks"]
        .as_array()?
        .iter()
        .filter_map(|network| serde_json::from_str(network["Config"]["Source"].as_str()?).ok());
    Some(Networks {
        namespaces,
        used: BTreeSet::new(),
        sandboxes: BTreeSet::new(),
        plugins: config["cni"]["binDir"].as_str()?.into(),
        configurations: configurations.collect(),
    })
}

/// The network namespace of a sandbox; none on the host's network.
fn namespace(info: &Info) -> Option<PathBuf> {
    let info: Value = serde_json::from_str(info.get("info")?).ok()?;
    let namespaces = info["runtimeSpec"]["linux"]["namespaces"].as_array()?;
    let network = namespaces.iter().find(|namespace| namespace["type"] == "network")?;
    Some(network["path"].as_str()?.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn info(of: &[(&str, Value)]) -> Info {
        of.iter().map(|(key, value)| ((*key).to_owned(), value.to_string())).collect()
    }

    #[test]
    fn what_containerd_says_of_its_networks_is_read() {
        let list = json!({ "name": "pods", "cniVersion": "1.0.0", "plugins": [{ "type": "bridge" }] });
        let cniconfig = json!({ "Networks": [{ "Config": { "Name": "pods", "Source": list.to_string() } }] });
        let mut config = json!({ "stateDir": "/run/c/cri", "cni": { "binDir": "/opt/cni/bin" } });
        let of = |config: &Value| info(&[("config", config.clone()), ("cniconfig", cniconfig.clone())]);
        let shared = configured(&of(&config)).expect("networks");
        assert_eq!(shared.namespaces, Path::new("/var/run/netns"));
        assert_eq!(
            (shared.plugins.as_path(), &shared.configurations[..]),
            (Path::new("/opt/cni/bin"), &[list][..])
        );
        config["netnsMountsUnderStateDir"] = true.into();
        assert_eq!(configured(&of(&config)).expect("networks").namespaces, Path::new("/run/c/cri/netns"));
        assert!(configured(&info(&[("config", config)])).is_none(), "an old one does not say");
    }

    #[test]
    fn the_namespace_of_a_sandbox_is_the_one_in_its_specification() {
        let of = |namespaces: Value| {
            info(&[("info", json!({ "runtimeSpec": { "linux": { "namespaces": namespaces } } }))])
        };
        let own = json!([{ "type": "ipc" }, { "type": "network", "path": "/run/netns/cni-1" }]);
        assert_eq!(namespace(&of(own)), Some("/run/netns/cni-1".into()));
        assert_eq!(namespace(&of(json!([{ "type": "ipc" }]))), None);
    }
}
