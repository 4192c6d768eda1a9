//! The file that a backup is: a compressed tar whose first entry says what all the others are.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use jiff::Timestamp;
use proto::backup::{SCHEMA, STORE_FILE, schema_of};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    contents::{Cloud, DATA},
    snapshot::Snapshot,
};
use crate::problem::{Problem, file_problem};

const MANIFEST: &str = "manifest.json";
const KIND: &str = "SkerryCloudBackup";
/// Of the archive's own form.
const VERSION: u32 = 1;
/// No manifest is larger.
const MANIFEST_MAX: u64 = 1 << 20;
/// As much of a store as says what it is.
const HEAD: usize = 100;

/// What a backup says about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    kind: String,
    version: u32,
    /// When it was taken.
    pub(crate) created: Timestamp,
    /// The release that made it.
    pub(crate) release: String,
    /// The schema of the store in it.
    pub(crate) schema: u32,
    /// The revision of the store in it.
    pub(crate) revision: u64,
    /// Everything in it, in this order.
    pub(crate) files: Vec<Entry>,
}

/// One file of a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) mode: u32,
    sha256: String,
}

/// What was copied.
struct Copied {
    bytes: u64,
    sha256: String,
    /// Its first bytes.
    head: Vec<u8>,
}

fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<Copied> {
    let mut hash = Sha256::new();
    let (mut bytes, mut head) = (0, Vec::new());
    let mut piece = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut piece)?;
        if count == 0 {
            to.flush()?;
            return Ok(Copied { bytes, sha256: hex::encode(hash.finalize()), head });
        }
        let piece = &piece[..count];
        head.extend_from_slice(&piece[..count.min(HEAD - head.len())]);
        hash.update(piece);
        to.write_all(piece)?;
        bytes += count as u64;
    }
}

/// Writes `cloud` with the objects of `snapshot` to a new file that only its owner can read.
pub(super) fn write(path: &Path, cloud: &Cloud, snapshot: &Snapshot) -> Result<(), Problem> {
    let mut items = cloud.items()?;
    items.push((format!("{DATA}{STORE_FILE}"), snapshot.path.clone()));
    let mut files = Vec::new();
    for (name, place) in &items {
        let wrong = |error| file_problem("read", place, &error);
        let file = File::open(place).map_err(wrong)?;
        let mode = file.metadata().map_err(wrong)?.permissions().mode() & 0o777;
        let Copied { bytes, sha256, .. } = copy(file, io::sink()).map_err(wrong)?;
        files.push(Entry { name: name.clone(), bytes, mode, sha256 });
    }
    let wrong = |error| file_problem("read", &snapshot.path, &error);
    let schema = schema_of(File::open(&snapshot.path).map_err(wrong)?).map_err(wrong)?.unwrap_or(0);
    let manifest = Manifest {
        kind: KIND.to_owned(),
        version: VERSION,
        created: Timestamp::now(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        schema,
        revision: snapshot.revision,
        files,
    };
    pack(path, &manifest, &items).map_err(|error| file_problem("write", path, &error))
}

fn pack(path: &Path, manifest: &Manifest, items: &[(String, std::path::PathBuf)]) -> io::Result<()> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let text = serde_json::to_vec_pretty(manifest)?;
    let taken = u64::try_from(manifest.created.as_second()).unwrap_or(0);
    let header = |bytes: u64, mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(mode);
        header.set_mtime(taken);
        header
    };
    archive.append_data(&mut header(text.len() as u64, 0o600), MANIFEST, &text[..])?;
    for (entry, (_, place)) in manifest.files.iter().zip(items) {
        // What has changed since it was summed shows when the archive is read back.
        let content = File::open(place)?.take(entry.bytes);
        archive.append_data(&mut header(entry.bytes, entry.mode), &entry.name, content)?;
    }
    let file = archive.into_inner()?.finish()?;
    file.sync_all()
}

/// Reads a backup from beginning to end; `take` gets a writer for each file's content from its entry.
pub(crate) fn read<W: Write>(
    path: &Path,
    mut take: impl FnMut(&Entry) -> Result<W, Problem>,
) -> Result<Manifest, Problem> {
    let file = File::open(path).map_err(|error| file_problem("read", path, &error))?;
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    let mut entries = archive.entries().map_err(|error| damaged(path, &error))?;
    let mut next = || match entries.next() {
        None => Err(damaged(path, &"it ends too early")),
        Some(Err(error)) => Err(damaged(path, &error)),
        Some(Ok(entry)) => Ok(entry),
    };
    let manifest = manifest(path, next()?)?;
    let store = format!("{DATA}{STORE_FILE}");
    if !manifest.files.iter().any(|entry| entry.name == store) {
        return Err(damaged(path, &"the store is missing"));
    }
    for expected in &manifest.files {
        let found = next()?;
        let name = found.path().map(|name| name.into_owned()).map_err(|error| damaged(path, &error))?;
        if name != Path::new(&expected.name) || !found.header().entry_type().is_file() {
            return Err(damaged(path, &format!("{} stands where {} should", name.display(), expected.name)));
        }
        let content = found.take(expected.bytes.saturating_add(1));
        let copied = copy(content, take(expected)?).map_err(|error| damaged(path, &error))?;
        if (copied.bytes, &copied.sha256) != (expected.bytes, &expected.sha256) {
            return Err(damaged(path, &format!("{} is not what its sum says", expected.name)));
        }
        if expected.name == store {
            let schema = schema_of(&copied.head[..]).ok().flatten();
            if schema != Some(manifest.schema) {
                return Err(damaged(
                    path,
                    &format!("{store} has schema {schema:?}, not {}", manifest.schema),
                ));
            }
        }
    }
    match entries.next() {
        None => Ok(manifest),
        Some(_) => Err(damaged(path, &"it holds more than its manifest says")),
    }
}

fn manifest(path: &Path, entry: impl Read) -> Result<Manifest, Problem> {
    let manifest: Manifest =
        serde_json::from_reader(entry.take(MANIFEST_MAX)).map_err(|error| damaged(path, &error))?;
    let newer = |what: &str, found: u32, known: u32| {
        Problem::new(format!("{} was made by a newer release ({})", path.display(), manifest.release))
            .cause(format!("its {what} is version {found}, this keadm knows {known}"))
            .next(format!("use keadm {} or newer", manifest.release))
    };
    if manifest.kind != KIND {
        return Err(damaged(path, &"it is not the backup of a cloud"));
    }
    if manifest.version > VERSION {
        return Err(newer("form", manifest.version, VERSION));
    }
    if manifest.schema > SCHEMA {
        return Err(newer("store", manifest.schema, SCHEMA));
    }
    Ok(manifest)
}

/// Checks every sum of a backup, and that this release can restore it.
pub(crate) fn verify(path: &Path) -> Result<Manifest, Problem> {
    read(path, |_| Ok(io::sink()))
}

fn damaged(path: &Path, cause: &dyn std::fmt::Display) -> Problem {
    Problem::new(format!("{} is no undamaged backup", path.display()))
        .cause(cause)
        .next("use another backup; check them when they are made: keadm backup cloud --verify=FILE")
}
