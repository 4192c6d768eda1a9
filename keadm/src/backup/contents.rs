use std::path::{Path, PathBuf};

use proto::{
    backup::STORE_FILE,
    config::{CloudCore, ConfigFile},
};

use crate::problem::{Problem, file_problem};

/// Logs and copies are not what a cloud is made of.
const LEFT_OUT: [&str; 2] = [STORE_FILE, "audit"];
/// Folders below the data directory; deeper ones are not ours.
const DEPTH: usize = 4;

/// Where the files of a cloud are, as its configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cloud {
    pub(crate) config: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) admin_kubeconfig: PathBuf,
    /// CA and certificate of the hub, where they are kept in files as KubeEdge does.
    hub: [(&'static str, PathBuf); 4],
}

/// One file of a cloud: its name in a backup, and its place.
pub(crate) type Item = (String, PathBuf);

pub(crate) const CONFIG: &str = "cloudcore.yaml";
pub(crate) const KUBECONFIG: &str = "admin.conf";
pub(crate) const DATA: &str = "data/";
const HUB: &str = "hub/";

impl Cloud {
    /// The cloud of a configuration file.
    pub(crate) fn configured(config: &Path) -> Result<Self, Problem> {
        let read = CloudCore::load(config).map_err(|error| {
            Problem::new("cloudcore's configuration cannot be read")
                .cause(error)
                .next("name it with --config, or set a cloud up first: keadm init")
        });
        Self::of(&read?.0, config)
    }

    /// The cloud of a configuration that is to be read from `config`.
    pub(crate) fn of(read: &CloudCore, config: &Path) -> Result<Self, Problem> {
        if !read.embedded() {
            return Err(Problem::new("this cloudcore has no objects of its own")
                .cause(format!("{} names a cluster in kubeAPIConfig", config.display()))
                .next("save that cluster with its own means, for example: etcdctl snapshot save"));
        }
        let (plane, hub) = (&read.modules.control_plane, &read.modules.cloud_hub);
        Ok(Self {
            config: config.to_owned(),
            data_dir: plane.data_dir.clone(),
            admin_kubeconfig: plane.admin_kube_config.clone(),
            hub: [
                ("ca.crt", hub.tls_ca_file.clone()),
                ("ca.key", hub.tls_ca_key_file.clone()),
                ("server.crt", hub.tls_cert_file.clone()),
                ("server.key", hub.tls_private_key_file.clone()),
            ],
        })
    }

    /// Everything but the store.
    pub(crate) fn items(&self) -> Result<Vec<Item>, Problem> {
        let mut items = vec![
            (CONFIG.to_owned(), self.config.clone()),
            (KUBECONFIG.to_owned(), self.admin_kubeconfig.clone()),
        ];
        below(&self.data_dir, DATA, DEPTH, &mut items)?;
        let own = self.hub.iter().filter(|(_, path)| !path.starts_with(&self.data_dir));
        items.extend(own.map(|(name, path)| (format!("{HUB}{name}"), path.clone())));
        items.retain(|(_, path)| path.is_file());
        Ok(items)
    }

    /// Where the file of this name belongs; none for a name that no backup has.
    pub(crate) fn place(&self, name: &str) -> Option<PathBuf> {
        if name == CONFIG {
            return Some(self.config.clone());
        }
        if name == KUBECONFIG {
            return Some(self.admin_kubeconfig.clone());
        }
        if let Some(file) = name.strip_prefix(HUB) {
            return self.hub.iter().find(|(own, _)| *own == file).map(|(_, path)| path.clone());
        }
        let inner = name.strip_prefix(DATA)?;
        let plain = inner.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        plain.then(|| self.data_dir.join(inner))
    }
}

fn below(dir: &Path, prefix: &str, depth: usize, items: &mut Vec<Item>) -> Result<(), Problem> {
    let wrong = |error: std::io::Error| file_problem("read", dir, &error);
    let mut entries = std::fs::read_dir(dir).map_err(wrong)?.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !LEFT_OUT.iter().any(|left| name.starts_with(left)))
        else {
            continue;
        };
        let kind = entry.file_type().map_err(wrong)?;
        if kind.is_dir() && depth > 0 {
            below(&entry.path(), &format!("{prefix}{name}/"), depth - 1, items)?;
        } else if kind.is_file() {
            items.push((format!("{prefix}{name}"), entry.path()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_where_the_file_was_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = CloudCore::default();
        config.modules.control_plane.data_dir = dir.path().join("data");
        // Where a machine with a cloud has it.
        config.modules.control_plane.admin_kube_config = dir.path().join("admin.conf");
        let cloud = Cloud::of(&config, &dir.path().join("cloudcore.yaml")).unwrap();
        std::fs::create_dir_all(dir.path().join("data/pki")).unwrap();
        for name in ["cloudcore.yaml", "data/pki/ca.crt", "data/controlplane.db", "data/controlplane.db-wal"]
        {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let items = cloud.items().unwrap();
        let names: Vec<_> = items.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["cloudcore.yaml", "data/pki/ca.crt"]);
        for (name, path) in items {
            assert_eq!(cloud.place(&name), Some(path));
        }
        for name in ["data/../x", "data//etc/passwd", "/etc/passwd", "hub/../x", "data/", "other"] {
            assert_eq!(cloud.place(name), None, "{name}");
        }
    }
}
