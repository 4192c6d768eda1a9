//! Who is who: the certificate authority, the certificates of both ends, join tokens, and the name that a certificate
//! proves.
//!
//! Owns: everything that is signed or verified apart from TLS itself, and the files that hold keys. Compatible with
//! KubeEdge's: ECDSA P-256, SEC1 keys, tokens keyed by the CA key. Called by cloudhub, edgehub and keadm. The time is
//! handed in.

mod authority;
mod ec;
mod files;
mod identity;
mod name;
mod token;

pub use authority::{Authority, ServerNames};
pub use ec::EcKey;
pub use files::{pem_certificate, write_private, write_public};
pub use identity::{Identity, NodeRequest, Validity, peer_node, validity};
pub use name::{InvalidNodeName, NodeName};
pub use token::{Claims, JoinToken, TokenError};

use std::path::PathBuf;

/// Organisation of every node, as Kubernetes has it.
pub const NODES_GROUP: &str = "system:nodes";

/// What can go wrong with keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `read`, `write` or `remove`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Only one half of a pair of files is there.
    #[error("{} exists but {} does not: restore the missing file, or remove both to have new ones made", present.display(), missing.display())]
    HalfPair {
        /// The half that is there.
        present: PathBuf,
        /// The half that is not.
        missing: PathBuf,
    },
    /// A key is not ECDSA P-256 in SEC1 or PKCS #8 form.
    #[error(
        "{what} is not an ECDSA P-256 key (PEM or DER, `EC PRIVATE KEY` or `PRIVATE KEY`, with its public half): {reason}"
    )]
    Key {
        /// Which key.
        what: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A certificate cannot be read.
    #[error("{what} is no valid certificate: {reason}")]
    Certificate {
        /// Which certificate.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A certificate and a key do not belong together.
    #[error(
        "{what}: certificate and key do not belong together; restore the right pair, or remove both to have new ones made"
    )]
    Mismatch {
        /// Which pair.
        what: String,
    },
    /// A certificate request asks for what its sender may not have.
    #[error("the certificate request is refused: {0}")]
    Request(String),
    /// A certificate does not prove a node.
    #[error("the certificate proves no node: {0}")]
    NotANode(String),
    /// The library refused to sign. A defect of ours.
    #[error("cannot sign: {0}")]
    Sign(#[from] rcgen::Error),
}

#[cfg(test)]
mod tests;
