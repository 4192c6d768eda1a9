//! The keys with which secrets are encrypted at rest: `secrets.key`, one key of 32 bytes a line, in base64. The first one encrypts, all of
//! them decrypt. To change the key, write a new line in front (`head -c 32 /dev/urandom | base64`) and restart; the old line may go after
//! that.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};

use super::{PkiError, files};

/// Keys at hand, and whether the file has them.
pub struct SecretKeys {
    /// 32 bytes each; the first one encrypts.
    pub keys: Vec<[u8; 32]>,
    /// The file.
    pub path: PathBuf,
    saved: bool,
}

impl std::fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretKeys").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SecretKeys {
    /// Reads the file in `dir`. If there is none and one is `wanted`, a key is made but not yet saved.
    ///
    /// # Errors
    /// When the file cannot be read or a line is no key.
    pub fn load(dir: &Path, wanted: bool) -> Result<Self, PkiError> {
        let path = dir.join("secrets.key");
        let text = files::read(&path)?;
        let saved = text.is_some();
        let mut keys = Vec::new();
        let lines = text.iter().flat_map(|text| text.lines().enumerate());
        for (at, line) in lines.map(|(at, line)| (at + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bytes = STANDARD.decode(line).ok().and_then(|bytes| bytes.try_into().ok());
            keys.push(bytes.ok_or_else(|| PkiError::SecretKey {
                path: path.clone(),
                detail: format!("line {at} is not 32 bytes in base64"),
            })?);
        }
        if keys.is_empty() && wanted {
            if saved {
                return Err(PkiError::SecretKey { path, detail: "there is no key in it".to_owned() });
            }
            let mut key = [0; 32];
            let failed =
                |_| PkiError::SecretKey { path: path.clone(), detail: "no random numbers".to_owned() };
            SystemRandom::new().fill(&mut key).map_err(failed)?;
            keys.push(key);
        }
        Ok(Self { keys, path, saved })
    }

    /// Writes the file with mode 0600 if it does not have the keys yet. To be called before anything is encrypted.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self) -> Result<(), PkiError> {
        if self.saved || self.keys.is_empty() {
            return Ok(());
        }
        let lines: String = self.keys.iter().map(|key| format!("{}\n", STANDARD.encode(key))).collect();
        files::write_private(&self.path, &lines)
    }
}
