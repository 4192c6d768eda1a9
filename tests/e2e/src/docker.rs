//! A private Docker engine: own data, socket, containerd, bridge and cgroup, next to whatever the host runs.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::{
    Daemon,
    containerd::{cgroup_driver, clean_up, end_all, fresh_number, run},
    eventually,
    image::{self, BUSYBOX, PAUSE},
};

/// A `dockerd` that belongs to one test. Dropping it ends its containers, shims, mounts and network. Containers outlive
/// the engine (`live-restore`), as they do under containerd. The host's firewall is not touched.
#[derive(Debug)]
pub struct Docker {
    daemon: Daemon,
    dir: PathBuf,
    bridge: String,
}

impl Docker {
    /// Starts dockerd with everything under `dir` (which must be short: sockets live in it), with the images [`BUSYBOX`]
    /// and [`PAUSE`] present, and waits until it answers.
    ///
    /// # Errors
    /// When dockerd, runc or busybox are missing, or it does not answer within 30 s.
    pub async fn start(dir: &Path) -> Result<Self> {
        let tag = format!("{:06x}", fresh_number() & 0xff_ffff);
        let bridge = format!("sk{tag}");
        fs::create_dir_all(dir)?;
        // Not the host's configuration.
        let config = dir.join("daemon.json");
        fs::write(&config, "{}")?;
        // 10.64/10 leaves the ranges that people commonly use alone.
        let number = u32::from_str_radix(&tag, 16).unwrap_or(7);
        let address = format!("10.{}.{}.1/24", 64 + (number >> 8) % 64, number & 0xff);
        run("ip", &["link", "add", &bridge, "type", "bridge"])?;
        let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let args = [
            format!("--config-file={}", at("daemon.json")),
            format!("--host=unix://{}", at("docker.sock")),
            format!("--data-root={}", at("root")),
            format!("--exec-root={}", at("exec")),
            format!("--pidfile={}", at("docker.pid")),
            format!("--bridge={bridge}"),
            // On hosts with systemd and the unified hierarchy it would be systemd.
            format!("--exec-opt=native.cgroupdriver={}", cgroup_driver()),
            "--iptables=false".to_owned(),
            "--ip6tables=false".to_owned(),
            "--ip-masq=false".to_owned(),
            "--ip-forward=false".to_owned(),
            "--live-restore".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let started = run("ip", &["addr", "add", &address, "dev", &bridge])
            .and_then(|_| run("ip", &["link", "set", &bridge, "up"]))
            .and_then(|_| {
                Daemon::start("dockerd", Path::new("dockerd"), &args, &dir.join("dockerd.log"))
                    .context("apt-get install docker.io")
            });
        let daemon = match started {
            Ok(daemon) => daemon,
            Err(error) => {
                run("ip", &["link", "delete", &bridge]).ok();
                return Err(error);
            }
        };
        let docker = Self { daemon, dir: dir.to_owned(), bridge };
        docker.answers().await?;
        docker.add_image(BUSYBOX, &["/bin/sh"])?;
        docker.add_image(PAUSE, &["/bin/busybox", "sleep", "2147483647"])?;
        Ok(docker)
    }

    /// The engine's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }

    /// The engine's socket as edgecore's configuration writes it.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A cgroup root of its own for the pods of this test; removed with it.
    pub fn cgroup_root(&self) -> String {
        format!("/skerry-{}", self.bridge)
    }

    /// Builds a busybox image under `name` and loads it.
    ///
    /// # Errors
    /// When that fails.
    pub fn add_image(&self, name: &str, command: &[&str]) -> Result<()> {
        self.add_image_holding(name, command, &[])
    }

    /// The same with content of its own, so that no other image has its layer.
    ///
    /// # Errors
    /// As [`Docker::add_image`].
    pub fn add_image_holding(&self, name: &str, command: &[&str], own: &[u8]) -> Result<()> {
        let archive = self.dir.join("image.tar");
        image::write_archive_holding(&archive, name, command, own)?;
        self.docker(&["load", "-q", "-i", &archive.to_string_lossy()])?;
        Ok(fs::remove_file(archive)?)
    }

    /// Pushes an image that is here to its registry, and forgets it here.
    ///
    /// # Errors
    /// When that fails.
    pub fn push(&self, name: &str, user: &str, password: &str) -> Result<()> {
        let registry = name.split('/').next().unwrap_or_default();
        let login = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let client = self.dir.join("client");
        fs::create_dir_all(&client)?;
        fs::write(
            client.join("config.json"),
            json!({ "auths": { registry: { "auth": login } } }).to_string(),
        )?;
        self.docker(&["--config", &client.to_string_lossy(), "push", name])?;
        self.docker(&["rmi", name]).map(drop)
    }

    /// Runs `docker` against this engine and returns what it prints.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn docker(&self, args: &[&str]) -> Result<String> {
        run("docker", &[&["-H", &self.endpoint()], args].concat())
    }

    /// SIGKILL to dockerd and its containerd. Containers go on under their shims.
    pub fn kill(&mut self) {
        self.daemon.kill();
        let file = self.dir.join("exec/containerd/containerd.pid");
        let pid = fs::read_to_string(&file).ok().and_then(|pid| pid.trim().parse().ok());
        if let Some(pid) = pid {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        // Where nobody reaps orphans, the next dockerd would take the dead one for one that runs.
        fs::remove_file(file).ok();
    }

    /// Ends the engine and everything that it runs at once, as a power cut does. What it keeps in memory goes with it.
    pub fn power_off(&mut self) {
        self.kill();
        end_all(&self.containerd_socket(), &self.dir);
        fs::remove_dir_all(self.dir.join("exec")).ok();
    }

    fn containerd_socket(&self) -> PathBuf {
        self.dir.join("exec/containerd/containerd.sock")
    }

    /// Starts dockerd again after [`Docker::kill`] or [`Docker::power_off`] and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer within 30 s.
    pub async fn restart(&mut self) -> Result<()> {
        self.respawn()?;
        self.answers().await
    }

    pub(crate) fn respawn(&mut self) -> Result<()> {
        fs::remove_file(self.dir.join("docker.pid")).ok();
        self.daemon.restart()
    }

    /// The process.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// The end of dockerd's log, for messages of failed tests.
    pub fn log(&self) -> String {
        self.daemon.tail()
    }

    async fn answers(&self) -> Result<()> {
        eventually("dockerd answers", Duration::from_secs(30), || async {
            match self.docker(&["version", "--format", "{{.Server.Version}}"]) {
                Ok(version) if !version.trim().is_empty() => Ok(()),
                Ok(_) => bail!("no version"),
                Err(error) => Err(error),
            }
        })
        .await
        .with_context(|| format!("dockerd's log ends:\n{}", self.daemon.tail()))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let all = self.docker(&["ps", "-aq"]).unwrap_or_default();
        let ids: Vec<&str> = all.lines().collect();
        if !ids.is_empty() {
            self.docker(&[&["rm", "-f"], ids.as_slice()].concat()).ok();
        }
        let socket = self.containerd_socket();
        clean_up(&mut self.daemon, &self.dir, &socket, &self.bridge);
    }
}
