use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::PkiError;

/// No key or certificate is longer.
const FILE_LIMIT: u64 = 256 << 10;

/// PEM in lines of 64 characters, as everyone writes it.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|b| char::from(*b)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// A certificate as PEM.
pub fn pem_certificate(der: &[u8]) -> String {
    pem("CERTIFICATE", der)
}

/// Writes a secret: 0600, in a directory that is made 0700 if it is missing, all or nothing.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    write(path, bytes, 0o600)
}

/// Writes what anyone may read: 0644, all or nothing.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), PkiError> {
    write(path, bytes, 0o644)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PkiError> {
    let all = || -> std::io::Result<()> {
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".new-{}", std::process::id()));
        let temporary = directory.join(name);
        let written = (|| {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)
        })();
        if written.is_err() {
            // The half-written file is of no use; if it cannot be removed, the first error says why.
            let _ = std::fs::remove_file(&temporary);
        }
        written?;
        File::open(directory)?.sync_all()
    };
    all().map_err(|source| PkiError::File { action: "write", path: path.into(), source })
}

/// Reads a small file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, PkiError> {
    let failed = |source| PkiError::File { action: "read", path: path.into(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_LIMIT {
        return Err(failed(std::io::Error::other("it is too large for a key or certificate")));
    }
    std::fs::read(path).map_err(failed)
}

/// Reads a certificate, PEM or DER.
pub(super) fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, PkiError> {
    let bytes = read(path)?;
    if bytes.starts_with(b"\x30") {
        return Ok(bytes.into());
    }
    CertificateDer::from_pem_slice(&bytes)
        .map_err(|e| PkiError::Certificate { what: path.display().to_string(), reason: e.to_string() })
}

/// Both halves of a pair of files are there, or neither.
pub(super) fn both_exist(certificate: &Path, key: &Path) -> Result<bool, PkiError> {
    let half = |present: &Path, missing: &Path| PkiError::HalfPair {
        present: PathBuf::from(present),
        missing: PathBuf::from(missing),
    };
    match (certificate.exists(), key.exists()) {
        (true, true) => Ok(true),
        (false, false) => Ok(false),
        (true, false) => Err(half(certificate, key)),
        (false, true) => Err(half(key, certificate)),
    }
}
