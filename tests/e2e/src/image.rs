//! Test images built from the host's static busybox: no registry, no download.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

/// The image that test pods run: a whole busybox.
pub const BUSYBOX: &str = "skerry.test/busybox:1";
/// The image that holds a pod's namespaces open.
pub const PAUSE: &str = "skerry.test/pause:1";

const APPLETS: &[&str] = &[
    "sh", "cat", "cp", "date", "echo", "env", "false", "grep", "head", "hostname", "httpd", "id", "ip",
    "kill", "ls", "mkdir", "mount", "nc", "ps", "rm", "sed", "seq", "sleep", "stat", "tail", "touch", "true",
    "wget",
];

/// Where Debian's `busybox-static` puts the binary.
const HOST_BUSYBOX: &str = "/bin/busybox";

/// Writes a `docker save` archive of a busybox image named `name` that runs `command` by default.
///
/// # Errors
/// When the host has no static busybox or the file cannot be written.
pub fn write_archive(path: &Path, name: &str, command: &[&str]) -> Result<()> {
    write_archive_holding(path, name, command, &[])
}

/// The same with content of its own, so that no other image has its layer.
///
/// # Errors
/// As [`write_archive`].
pub fn write_archive_holding(path: &Path, name: &str, command: &[&str], own: &[u8]) -> Result<()> {
    let busybox = fs::read(HOST_BUSYBOX)
        .with_context(|| format!("{HOST_BUSYBOX} is missing: apt-get install busybox-static"))?;
    let mut layer = Tar::default();
    for dir in ["bin/", "etc/", "proc/", "sys/", "dev/", "root/", "var/", "mnt/"] {
        layer.entry(dir, Kind::Dir, 0o755);
    }
    layer.entry("tmp/", Kind::Dir, 0o1777);
    layer.entry(
        "etc/passwd",
        Kind::File(b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"),
        0o644,
    );
    layer.entry("etc/group", Kind::File(b"root:x:0:\nnobody:x:65534:\n"), 0o644);
    layer.entry("bin/busybox", Kind::File(&busybox), 0o755);
    if !own.is_empty() {
        layer.entry("var/own", Kind::File(own), 0o644);
    }
    for applet in APPLETS {
        layer.entry(&format!("bin/{applet}"), Kind::Link("busybox"), 0o777);
    }
    let layer = layer.finish();
    let config = serde_json::to_vec(&json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": { "Cmd": command, "Env": ["PATH=/bin"], "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(&Sha256::digest(&layer)))] },
        "history": [{ "created": "2026-01-01T00:00:00Z", "created_by": "skerry tests" }],
    }))?;
    let manifest = serde_json::to_vec(&json!([
        { "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }
    ]))?;
    let mut archive = Tar::default();
    archive.entry("layer.tar", Kind::File(&layer), 0o644);
    archive.entry("config.json", Kind::File(&config), 0o644);
    archive.entry("manifest.json", Kind::File(&manifest), 0o644);
    fs::write(path, archive.finish()).with_context(|| format!("write {}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Just enough of the ustar format for an image of directories, files and symbolic links.
#[derive(Default)]
struct Tar(Vec<u8>);

enum Kind<'a> {
    Dir,
    File(&'a [u8]),
    Link(&'a str),
}

impl Tar {
    fn entry(&mut self, name: &str, kind: Kind<'_>, mode: u32) {
        let (flag, body, target): (u8, &[u8], &str) = match kind {
            Kind::Dir => (b'5', &[], ""),
            Kind::File(body) => (b'0', body, ""),
            Kind::Link(target) => (b'2', &[], target),
        };
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, name.as_bytes());
        put(100, format!("{mode:07o}\0").as_bytes());
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", body.len()).as_bytes());
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, &[flag]);
        put(157, target.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(body);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}
