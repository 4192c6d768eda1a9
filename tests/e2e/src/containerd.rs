//! A private containerd: own root, state, socket, CNI network and cgroup, next to whatever the host runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    Daemon, eventually,
    firewall::{self, Claim},
    image::{self, BUSYBOX, PAUSE},
};

/// How bridges and networks of tests begin; a tag follows.
const BRIDGE: &str = "sk";
pub(crate) const NETWORK: &str = "skerry-";

/// A containerd that belongs to one test. Dropping it ends its containers, shims, mounts and network.
#[derive(Debug)]
pub struct Containerd {
    daemon: Daemon,
    dir: PathBuf,
    bridge: String,
    _claim: Claim,
}

impl Containerd {
    /// Starts containerd with everything under `dir` (which must be short: sockets live in it), with the images
    /// [`BUSYBOX`] and [`PAUSE`] present, and waits until it answers.
    ///
    /// # Errors
    /// When containerd, runc, the CNI plugins or busybox are missing, or it does not answer within 20 s.
    pub async fn start(dir: &Path) -> Result<Self> {
        let tag = format!("{:06x}", fresh_number() & 0xff_ffff);
        let bridge = format!("{BRIDGE}{tag}");
        let claim = Claim::on(&format!("{NETWORK}{tag}"))?;
        fs::create_dir_all(dir.join("cni"))?;
        fs::write(dir.join("config.toml"), config(dir, &plugin_dir()?))?;
        fs::write(dir.join("cni/10-skerry.conflist"), network(dir, &bridge, &tag))?;
        let config = dir.join("config.toml");
        let daemon = Daemon::start(
            "containerd",
            Path::new("containerd"),
            &["--config", &config.to_string_lossy()],
            &dir.join("containerd.log"),
        )?;
        let containerd = Self { daemon, dir: dir.to_owned(), bridge, _claim: claim };
        containerd.answers().await?;
        containerd.add_image(BUSYBOX, &["/bin/sh"])?;
        containerd.add_image(PAUSE, &["/bin/busybox", "sleep", "2147483647"])?;
        Ok(containerd)
    }

    /// The CRI socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("c.sock")
    }

    /// The CRI socket as kubelet configurations write it.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A cgroup root of its own for the pods of this test; removed with it.
    pub fn cgroup_root(&self) -> String {
        format!("/skerry-{}", self.bridge)
    }

    /// The name of its pods' network, as it stands in the firewall's rules.
    pub fn network(&self) -> String {
        self.bridge.replacen(BRIDGE, NETWORK, 1)
    }

    /// Builds a busybox image under `name` and imports it.
    ///
    /// # Errors
    /// When the import fails.
    pub fn add_image(&self, name: &str, command: &[&str]) -> Result<()> {
        self.add_image_holding(name, command, &[])
    }

    /// The same with content of its own, so that no other image has its layer.
    ///
    /// # Errors
    /// As [`Containerd::add_image`].
    pub fn add_image_holding(&self, name: &str, command: &[&str], own: &[u8]) -> Result<()> {
        let archive = self.dir.join("image.tar");
        image::write_archive_holding(&archive, name, command, own)?;
        self.ctr(&["images", "import", &archive.to_string_lossy()])?;
        Ok(fs::remove_file(archive)?)
    }

    /// Pushes an image that is here to its registry, and forgets it here.
    ///
    /// # Errors
    /// When that fails.
    pub fn push(&self, name: &str, user: &str, password: &str) -> Result<()> {
        let login = format!("{user}:{password}");
        self.ctr(&["images", "push", "--plain-http", "--user", &login, name])?;
        // CRI gives each image its id as a second name, under which it would stay.
        let names = self.names_of(name)?;
        let shared = names.iter().any(|other| other != name && !other.starts_with("sha256:"));
        for other in names.iter().filter(|other| *other == name || !shared) {
            self.ctr(&["images", "rm", "--sync", other])?;
        }
        Ok(())
    }

    /// All names of the image of this name.
    fn names_of(&self, name: &str) -> Result<Vec<String>> {
        let listed = self.ctr(&["images", "ls"])?;
        // REF TYPE DIGEST ...
        let rows = listed.lines().filter_map(|row| {
            let mut words = row.split_whitespace();
            Some((words.next()?, words.nth(1)?))
        });
        let rows: Vec<_> = rows.collect();
        let digest = rows.iter().find(|(of, _)| *of == name).map(|(_, digest)| *digest);
        let same = rows.iter().filter(|(_, of)| Some(*of) == digest);
        Ok(same.map(|(of, _)| (*of).to_owned()).collect())
    }

    /// Runs `ctr` against this containerd in CRI's namespace and returns what it prints.
    ///
    /// # Errors
    /// When `ctr` fails, with its words.
    pub fn ctr(&self, args: &[&str]) -> Result<String> {
        let socket = self.socket();
        run("ctr", &[&["-a", &socket.to_string_lossy(), "-n", "k8s.io"], args].concat())
    }

    /// SIGKILL to containerd alone, as a crash: containers go on under their shims.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Ends containerd and everything that it runs at once, as a power cut does. The sandboxes' network namespaces
    /// go with it, and what CNI has written of them without syncing it is empty.
    pub fn power_off(&mut self) {
        self.daemon.kill();
        end_all(&self.socket(), &self.dir);
        fs::remove_dir_all(self.dir.join("state")).ok();
        let own = format!("{}-", self.network());
        for entry in fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&own) {
                fs::write(entry.path(), "").ok();
            }
        }
    }

    /// Starts containerd again after [`Containerd::kill`] or [`Containerd::power_off`] and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer within 20 s.
    pub async fn restart(&mut self) -> Result<()> {
        self.respawn()?;
        self.answers().await
    }

    pub(crate) fn respawn(&mut self) -> Result<()> {
        self.daemon.restart()
    }

    /// The process.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// The end of containerd's log, for messages of failed tests.
    pub fn log(&self) -> String {
        self.daemon.tail()
    }

    /// Mount points below the directory of this containerd.
    pub fn mounts(&self) -> Vec<PathBuf> {
        mounts_below(&self.dir)
    }

    async fn answers(&self) -> Result<()> {
        eventually("containerd answers", Duration::from_secs(20), || async {
            self.ctr(&["plugins", "ls", "id==cri"]).and_then(|list| match list.contains("ok") {
                true => Ok(()),
                false => bail!("the CRI plugin is not loaded: {list}"),
            })
        })
        .await
        .with_context(|| format!("containerd's log ends:\n{}", self.daemon.tail()))
    }

    fn cleanup(&mut self) {
        // Containers first, while containerd can still release their mounts; what it leaves is taken away below.
        for task in self.ctr(&["tasks", "ls", "-q"]).unwrap_or_default().lines() {
            self.ctr(&["tasks", "delete", "-f", task]).ok();
        }
        let socket = self.socket();
        clean_up(&mut self.daemon, &self.dir, &socket, &self.bridge);
        if let Ok(plugins) = plugin_dir() {
            firewall::forget(&self.network(), &plugins);
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.cleanup();
    }
}

/// Ends a daemon and what it has left: shims of the containerd that listens on `socket`, mounts below `dir`, the bridge and
/// the cgroup named after it.
pub(crate) fn clean_up(daemon: &mut Daemon, dir: &Path, socket: &Path, bridge: &str) {
    if let Some(pid) = daemon.pid() {
        kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        for _ in 0..50 {
            if daemon.exited().is_some() {
                break;
            }
            pause();
        }
    }
    daemon.kill();
    end_all(socket, dir);
    run("ip", &["link", "delete", bridge]).ok();
    remove_cgroups(&format!("skerry-{bridge}"));
}

/// What a power cut ends beside a runtime: its shims with all that runs in them, and everything mounted below its folder.
pub(crate) fn end_all(socket: &Path, dir: &Path) {
    kill_shims(socket);
    unmount_below(dir);
}

/// Unmounts what is mounted below `dir`, whoever still looks into it.
pub fn unmount_below(dir: &Path) {
    for mount in mounts_below(dir).iter().rev() {
        umount2(mount, MntFlags::MNT_DETACH).ok();
    }
}

/// Shims carry the socket of the containerd that started them on their command line.
fn kill_shims(socket: &Path) {
    let socket = socket.to_string_lossy().into_owned();
    let Ok(processes) = procfs::process::all_processes() else { return };
    for process in processes.flatten() {
        let command = process.cmdline().unwrap_or_default();
        let shim = command.first().is_some_and(|program| program.contains("containerd-shim"));
        if shim && command.contains(&socket) {
            for child in children(process.pid) {
                kill(Pid::from_raw(child), Signal::SIGKILL).ok();
            }
            kill(Pid::from_raw(process.pid), Signal::SIGKILL).ok();
        }
    }
}

fn config(dir: &Path, plugins: &str) -> String {
    let dir = dir.display();
    let systemd = cgroup_driver() == "systemd";
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing", "io.containerd.internal.v1.opt"]
[grpc]
address = "{dir}/c.sock"
[debug]
level = "warn"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
# Lowering oom_score_adj needs CAP_SYS_RESOURCE, which build machines often lack.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
enable_selinux = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{dir}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = {systemd}
"#
    )
}

fn network(dir: &Path, bridge: &str, tag: &str) -> String {
    // 10.64/10 leaves the ranges that people commonly use alone.
    let number = u32::from_str_radix(tag, 16).unwrap_or(7);
    let (b, c) = (64 + (number >> 8) % 64, number & 0xff);
    format!(
        r#"{{"cniVersion":"1.0.0","name":"{NETWORK}{tag}","plugins":[
{{"type":"bridge","bridge":"{bridge}","isGateway":true,"hairpinMode":true,"ipam":{{"type":"host-local",
"dataDir":"{dir}/cni-leases","ranges":[[{{"subnet":"10.{b}.{c}.0/24"}}]],"routes":[{{"dst":"0.0.0.0/0"}}]}}}},
{{"type":"portmap","capabilities":{{"portMappings":true}}}}]}}"#,
        dir = dir.display()
    )
}

pub(crate) fn plugin_dir() -> Result<String> {
    ["/usr/lib/cni", "/opt/cni/bin"]
        .into_iter()
        .find(|dir| Path::new(dir).join("bridge").is_file())
        .map(str::to_owned)
        .context(
            "no CNI plugins in /usr/lib/cni or /opt/cni/bin: apt-get install containernetworking-plugins",
        )
}

/// Mount points below `dir`, outer ones first.
pub fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(mounts) = procfs::process::Process::myself().and_then(|me| me.mountinfo()) else {
        return Vec::new();
    };
    mounts.0.into_iter().map(|mount| mount.mount_point).filter(|point| point.starts_with(dir)).collect()
}

/// Who makes the cgroups of the runtimes under test: `cgroupfs`, or `systemd` where `SKERRY_CGROUP_DRIVER` says so.
pub fn cgroup_driver() -> &'static str {
    match std::env::var("SKERRY_CGROUP_DRIVER") {
        Ok(driver) if driver == "systemd" => "systemd",
        _ => "cgroupfs",
    }
}

/// Existing cgroup directories named `name` at the top of any hierarchy.
pub fn cgroups(name: &str) -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let below = fs::read_dir(base).into_iter().flatten().flatten().map(|entry| entry.path().join(name));
    std::iter::once(base.join(name)).chain(below).filter(|path| path.is_dir()).collect()
}

/// A group stays busy for a moment after its last process was killed.
fn remove_cgroups(name: &str) {
    if cgroup_driver() == "systemd" {
        run("systemctl", &["stop", &slice(name)]).ok();
        return;
    }
    for _ in 0..40 {
        for root in cgroups(name) {
            remove_cgroup(&root);
        }
        if cgroups(name).is_empty() {
            return;
        }
        pause();
    }
}

/// The slice that stands for a group at the top.
pub fn slice(name: &str) -> String {
    format!("{}.slice", name.replace('-', "_"))
}

fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    fs::remove_dir(path).ok();
}

fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

pub(crate) fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output().with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        bail!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A number that no other test on this host is likely to draw.
pub(crate) fn fresh_number() -> u32 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() as u32
}

/// Dropping cannot await.
#[allow(clippy::disallowed_methods)]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}
