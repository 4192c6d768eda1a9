//! Who is who on the wire of the API: the certificate authority, the server's certificate, admin identities.
//!
//! Owns the directory `pki` in the data directory: `ca.crt`, `ca.key`, `sa.key` (signs service account tokens), the operator's optional
//! `sa-*.key` (keys that signed before: rename `sa.key` to `sa-OLD.key` and restart to change it) and `tokens.csv`, and `secrets.key`
//! when secrets are encrypted at rest. Certificates other than the CA's are not kept: the server's is made at start and renewed in
//! memory, an admin's is made when a kubeconfig is asked for. Calls nothing of the crate. Called by `plane` and `apiserver::auth`.

mod authority;
mod files;
mod names;
mod renamed;
mod secrets;

pub use authority::{Authority, ClientRequest, Issued};
pub use names::{Subject, subject_of};
pub use secrets::SecretKeys;

use std::path::{Path, PathBuf};

/// The keys could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file or directory.
    #[error("cannot use {path}: {source}; check its owner and permissions")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that does not hold what it should.
    #[error(
        "{path} is not usable: {detail}; restore it from a backup, or remove the directory to make a new CA (every kubeconfig must then be renewed)"
    )]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The file of keys for secrets.
    #[error(
        "{path} is not usable: {detail}; restore it from a backup, for without its keys the secrets are lost"
    )]
    SecretKey {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A certificate could not be made.
    #[error("cannot issue a certificate for {name}: {detail}")]
    Issue {
        /// For whom.
        name: String,
        /// What is wrong.
        detail: String,
    },
}

/// All keys of a control plane.
#[derive(Debug)]
pub struct Pki {
    /// Signs certificates.
    pub authority: Authority,
    /// PKCS#8 of the P-256 key that signs service account tokens.
    pub token_key: Vec<u8>,
    /// PKCS#8 of the keys in `sa-*.key`: tokens that they signed are still good.
    pub earlier_token_keys: Vec<Vec<u8>>,
    /// Text of `tokens.csv`, empty when there is none.
    pub static_tokens: String,
}

impl Pki {
    /// Loads the keys under `dir`, or makes them.
    ///
    /// # Errors
    /// When a file cannot be read or written, or holds something else.
    pub fn open(dir: &Path) -> Result<Self, PkiError> {
        files::private_dir(dir)?;
        let authority = Authority::open(dir)?;
        let path = dir.join("sa.key");
        let token_key = match load_token_key(&path)? {
            Some(key) => key,
            None => {
                let key = authority::new_key("the token signer")?;
                files::write_private(&path, &key.serialize_pem())?;
                key.serialize_der()
            }
        };
        let mut earlier_token_keys = Vec::new();
        for path in files::named(dir, "sa-", ".key")? {
            earlier_token_keys.extend(load_token_key(&path)?);
        }
        let static_tokens = files::read(&dir.join("tokens.csv"))?.unwrap_or_default();
        Ok(Self { authority, token_key, earlier_token_keys, static_tokens })
    }
}

fn load_token_key(path: &Path) -> Result<Option<Vec<u8>>, PkiError> {
    let Some(pem) = files::read(path)? else { return Ok(None) };
    let key = rcgen::KeyPair::from_pem(&pem)
        .map_err(|error| PkiError::Content { path: path.to_owned(), detail: error.to_string() })?;
    Ok(Some(key.serialize_der()))
}
