//! An agent without pods and cloud.

use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::{Daemon, binary, eventually, free_ports};
use serde_json::{Value, json};
use tokio::net::TcpStream;

pub(crate) struct Broker {
    pub(crate) port: u16,
    /// The second door, if there is one.
    pub(crate) other: u16,
    agent: Option<Daemon>,
    directory: tempfile::TempDir,
    bus: Value,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        Self::with(|_, port, _| json!({"mqttServerInternal": format!("tcp://127.0.0.1:{port}")})).await
    }

    /// With what `bus` makes of a folder and two ports for `modules.eventBus`.
    pub(crate) async fn with(bus: impl FnOnce(&Path, u16, u16) -> Value) -> Self {
        let mut broker = Self::silent(bus).await;
        broker.listens().await;
        broker
    }

    /// One whose files lie on a disk that can be filled.
    pub(crate) async fn on_small_disk() -> (Self, Disk) {
        let mut disk = None;
        let broker = Self::with(|directory, port, _| {
            disk = Some(Disk::mount(&directory.join("disk")));
            json!({"mqttServerInternal": format!("tcp://127.0.0.1:{port}")})
        })
        .await;
        (broker, disk.unwrap())
    }

    /// As [`Broker::with`], without waiting for the door to open.
    pub(crate) async fn silent(bus: impl FnOnce(&Path, u16, u16) -> Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [port, other] = free_ports().unwrap();
        let bus = bus(directory.path(), port, other);
        let mut broker = Self { port, other, agent: None, directory, bus };
        broker.run();
        broker
    }

    /// Waits for `words` in the log.
    pub(crate) async fn says(&self, words: &str) {
        eventually("the log says it", Duration::from_secs(20), || async {
            if self.log().contains(words) { Ok(()) } else { Err(self.log()) }
        })
        .await
        .unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) async fn up(&mut self) {
        self.run();
        self.listens().await;
    }

    pub(crate) fn run(&mut self) {
        let config = json!({
            "database": {"dataSource": self.path(if self.path("disk").exists() { "disk/edgecore.db" } else { "edgecore.db" })},
            "modules": {
                "edged": {"enable": false, "hostnameOverride": "edge1", "tailoredKubeletConfig": {"readOnlyPort": 0}},
                "edgeHub": {"enable": false},
                "eventBus": self.bus,
                "deviceTwin": {"dmiSockPath": self.directory.path()},
            },
        });
        std::fs::write(self.path("edgecore.yaml"), config.to_string()).unwrap();
        let path = self.path("edgecore.yaml");
        let args = ["--config", path.to_str().unwrap()];
        let agent =
            Daemon::start("edgecore", &binary("edgecore").unwrap(), &args, &self.path("log")).unwrap();
        self.agent = Some(agent);
    }

    pub(crate) async fn listens(&mut self) {
        let port = self.port;
        eventually("the broker listens", Duration::from_secs(20), || async {
            TcpStream::connect(("127.0.0.1", port)).await.map(drop).map_err(|error| error.to_string())
        })
        .await
        .unwrap();
    }

    /// As a machine that loses its power.
    pub(crate) fn kill(&mut self) {
        self.agent.take().unwrap().kill();
    }
}

/// A small file system of its own, full on demand.
pub(crate) struct Disk(PathBuf);

impl Disk {
    pub(crate) fn mount(at: &Path) -> Self {
        std::fs::create_dir(at).unwrap();
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(at)
            .status();
        assert!(status.unwrap().success(), "mount a tmpfs at {}", at.display());
        Self(at.to_owned())
    }

    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 1024]).is_ok() {}
    }

    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
