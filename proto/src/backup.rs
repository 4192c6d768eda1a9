//! What a backup of the cloud consists of, as cloudcore makes it and keadm packs, checks and restores it.

use std::io::Read;

/// The newest schema of the control plane's store that this release reads. Older ones are upgraded when they are opened.
pub const SCHEMA: u32 = 2;

/// Where the control plane's API hands out a snapshot of its store: an SQLite file, consistent at one revision.
pub const SNAPSHOT_PATH: &str = "/skerry/v1/snapshot";

/// The answer's header that carries that revision.
pub const REVISION_HEADER: &str = "skerry-revision";

/// The control plane's store, within its data directory.
pub const STORE_FILE: &str = "controlplane.db";

/// The schema version of a store, from the beginning of its file; none if this is no SQLite file.
///
/// # Errors
/// When it cannot be read.
pub fn schema_of(file: impl Read) -> std::io::Result<Option<u32>> {
    // https://sqlite.org/fileformat2.html#the_database_header: the user version is at offset 60, big endian.
    let mut header = [0; 100];
    let mut file = file;
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let is_sqlite = header.starts_with(b"SQLite format 3\0");
    let version = u32::from_be_bytes([header[60], header[61], header[62], header[63]]);
    Ok(is_sqlite.then_some(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_a_store_and_from_nothing_else() {
        let mut header = [0; 100];
        header[..16].copy_from_slice(b"SQLite format 3\0");
        header[63] = 7;
        assert_eq!(schema_of(&header[..]).unwrap(), Some(7));
        assert_eq!(schema_of(&header[..99]).unwrap(), None);
        assert_eq!(schema_of(&[7; 200][..]).unwrap(), None);
    }
}
