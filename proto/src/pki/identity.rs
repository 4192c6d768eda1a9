use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::{both_exist, read, read_certificate};
use super::{EcKey, NODES_GROUP, NodeName, PkiError, pem_certificate, write_private, write_public};

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: EcKey,
}

/// From when to when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub not_before: Timestamp,
    /// Last moment.
    pub not_after: Timestamp,
}

impl Validity {
    /// When to renew: at this part of the life, 0.7 to 0.9 as `spread` goes from 0 to 1. The spread keeps a fleet that
    /// was installed together from renewing together.
    pub fn renewal(&self, spread: f64) -> Timestamp {
        let life = self.not_after.as_second() - self.not_before.as_second();
        let at = life as f64 * (0.7 + 0.2 * spread.clamp(0.0, 1.0));
        Timestamp::from_second(self.not_before.as_second() + at as i64).unwrap_or(self.not_after)
    }

    /// True if `now` is outside.
    pub fn expired(&self, now: Timestamp) -> bool {
        now < self.not_before || now > self.not_after
    }
}

/// From when to when a certificate holds.
pub fn validity(certificate: &[u8]) -> Result<Validity, PkiError> {
    let parsed = parse(certificate, "the certificate")?;
    let time =
        |t: x509_parser::time::ASN1Time| Timestamp::from_second(t.timestamp()).unwrap_or(Timestamp::MAX);
    Ok(Validity {
        not_before: time(parsed.validity().not_before),
        not_after: time(parsed.validity().not_after),
    })
}

/// The node that a certificate proves: `CN=system:node:<name>` with `O=system:nodes`. The chain is TLS's to check.
pub fn peer_node(certificate: &[u8]) -> Result<NodeName, PkiError> {
    let parsed = parse(certificate, "the peer's certificate")?;
    let subject = parsed.subject();
    let common = subject.iter_common_name().filter_map(|n| n.as_str().ok()).collect::<Vec<_>>();
    let group = subject.iter_organization().filter_map(|o| o.as_str().ok()).any(|o| o == NODES_GROUP);
    match common.as_slice() {
        [name] if group => NodeName::from_user(name).ok_or_else(|| {
            PkiError::NotANode(format!("its common name is {name:?}, not system:node:<name>"))
        }),
        [_] => Err(PkiError::NotANode(format!("its organisation is not {NODES_GROUP}"))),
        _ => Err(PkiError::NotANode("it has no common name, or several".into())),
    }
}

fn previous(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(".previous");
    name.into()
}

pub(super) fn parse<'a>(der: &'a [u8], what: &str) -> Result<X509Certificate<'a>, PkiError> {
    let wrong = |reason: String| PkiError::Certificate { what: what.to_owned(), reason };
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(wrong("bytes follow it".into())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

impl Identity {
    /// Reads both files; `None` if neither exists.
    pub fn load(certificate: &Path, key: &Path) -> Result<Option<Self>, PkiError> {
        if !both_exist(certificate, key)? {
            return Ok(None);
        }
        let der = read_certificate(certificate)?;
        let what = certificate.display().to_string();
        let public = parse(&der, &what)?.public_key().subject_public_key.data.to_vec();
        for path in [key.to_owned(), previous(key)] {
            if path.exists() {
                let key = EcKey::read(&read(&path)?, &path.display().to_string())?;
                if key.public() == public {
                    return Ok(Some(Self { certificate: der, key }));
                }
            }
        }
        Err(PkiError::Mismatch { what })
    }

    /// Replaces both files. Two files cannot change at once, so the key being replaced is kept beside the new one until
    /// the new certificate is in place: whenever the power goes, [`Identity::load`] finds a pair.
    pub fn store(&self, certificate: &Path, key: &Path) -> Result<(), PkiError> {
        let kept = previous(key);
        if let Ok(Some(current)) = Self::load(certificate, key) {
            write_private(&kept, current.key.sec1_pem().as_bytes())?;
        }
        write_private(key, self.key.sec1_pem().as_bytes())?;
        write_public(certificate, pem_certificate(&self.certificate).as_bytes())?;
        match std::fs::remove_file(&kept) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(PkiError::File { action: "remove", path: kept, source })
            }
            _ => Ok(()),
        }
    }

    /// From when to when it holds.
    pub fn validity(&self) -> Result<Validity, PkiError> {
        validity(&self.certificate)
    }
}

/// A node's request for a certificate: a fresh key and a CSR for it.
#[derive(Clone, Debug)]
pub struct NodeRequest {
    /// The fresh key.
    pub key: EcKey,
    /// PKCS #10, DER: the body of `GET /edge.crt`.
    pub csr: Vec<u8>,
}

impl NodeRequest {
    /// A request of this node.
    pub fn new(node: &NodeName) -> Result<Self, PkiError> {
        let key = EcKey::generate()?;
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = super::authority::subject(&node.user(), Some(NODES_GROUP));
        let csr = params.serialize_request(&key.pair()?)?.der().to_vec();
        Ok(Self { key, csr })
    }

    /// Joins the answer (DER) with the key, if they belong together and prove this node.
    pub fn accept(self, certificate: &[u8], node: &NodeName) -> Result<Identity, PkiError> {
        let what = "the issued certificate";
        if parse(certificate, what)?.public_key().subject_public_key.data.as_ref() != self.key.public() {
            return Err(PkiError::Mismatch { what: what.into() });
        }
        let proven = peer_node(certificate)?;
        if proven != *node {
            return Err(PkiError::NotANode(format!("it was issued to {proven}, not to {node}")));
        }
        Ok(Identity { certificate: certificate.to_vec().into(), key: self.key })
    }
}
