//! Small private files, written so that a crash leaves the old one or the new one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::PkiError;

/// Nothing that belongs here is larger.
const MAX: u64 = 1 << 20;

fn fail(path: &Path) -> impl FnOnce(std::io::Error) -> PkiError {
    move |source| PkiError::File { path: path.to_owned(), source }
}

pub(super) fn private_dir(path: &Path) -> Result<(), PkiError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail(path))
}

/// The text of a file, or nothing when there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(path)(error)),
    };
    let mut text = String::new();
    #[allow(clippy::disallowed_methods, reason = "the reader is capped by take")]
    file.take(MAX).read_to_string(&mut text).map_err(fail(path))?;
    Ok(Some(text))
}

/// The files of `dir` whose names begin and end so, by name.
pub(super) fn named(dir: &Path, begin: &str, end: &str) -> Result<Vec<PathBuf>, PkiError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail(dir))? {
        let path = entry.map_err(fail(dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(begin) && name.ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Mode 0600, complete or not there at all.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), PkiError> {
    let half = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&half, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(fail(path))
}
