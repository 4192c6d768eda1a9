//! A private image registry that lets nobody in without a name and a password.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{Daemon, eventually, stack::free_ports};

/// Who may pull and push.
pub const USER: &str = "edge";
/// Their password.
pub const PASSWORD: &str = "open sesame";
/// The same for the registry.
const HTPASSWD: &str = "edge:$2b$05$59OoidVgaVtoKtm6nk9XxeWqyNUOA3hqgs3uRldIXWyaYiJx1zWCe\n";

/// Debian's `docker-registry` on loopback, over plain HTTP, which both runtimes allow there. Ends when dropped.
#[derive(Debug)]
pub struct Registry {
    daemon: Daemon,
    port: u16,
    dir: PathBuf,
}

impl Registry {
    /// Starts a registry with everything below `dir` and waits until it answers.
    ///
    /// # Errors
    /// When `docker-registry` is missing, or does not answer within 20 s.
    pub async fn start(dir: &Path) -> Result<Self> {
        let [port] = free_ports()?;
        fs::create_dir_all(dir)?;
        fs::write(dir.join("htpasswd"), HTPASSWD)?;
        let place = dir.display();
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {place}/data}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\nauth: {{htpasswd: {{realm: skerry, path: {place}/htpasswd}}}}\n"
        );
        let file = dir.join("registry.yml");
        fs::write(&file, config)?;
        let program = Path::new("docker-registry");
        let args = ["serve", &*file.to_string_lossy()];
        let daemon = Daemon::start("docker-registry", program, &args, &dir.join("registry.log"))
            .context("apt-get install docker-registry")?;
        let registry = Self { daemon, port, dir: dir.to_owned() };
        registry.answers().await?;
        Ok(registry)
    }

    /// The name of an image in this registry.
    pub fn image(&self, repository: &str) -> String {
        format!("{}/{repository}", self.address())
    }

    /// Host and port, as image names and pull secrets have them.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The files of what it holds: layers, configurations and manifests.
    pub fn blobs(&self) -> BTreeSet<PathBuf> {
        let below =
            |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let starts = below(self.dir.join("data/docker/registry/v2/blobs/sha256"));
        starts.flat_map(below).map(|blob| blob.join("data")).filter(|data| data.is_file()).collect()
    }

    /// Goes away, or comes back with what it held.
    ///
    /// # Errors
    /// When it does not answer within 20 s.
    pub async fn restart(&mut self) -> Result<()> {
        self.daemon.restart()?;
        self.answers().await
    }

    /// Ends it; what it holds stays.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    async fn answers(&self) -> Result<()> {
        eventually("the registry answers", Duration::from_secs(20), || async {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await?;
            ensure!(stream.peer_addr()?.port() == self.port, "another one answers");
            Ok::<_, anyhow::Error>(())
        })
        .await
        .with_context(|| format!("its log ends:\n{}", self.daemon.tail()))
    }
}
