//! Whom we trust and who we are, by files.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Files of certificates (PEM).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The authorities that the broker's certificate may be of; those of the system (or of `SSL_CERT_FILE`) without it.
    pub authorities: Option<PathBuf>,
    /// Our certificate and its key, for brokers that want one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A file that is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file that the operator names.
    #[error("{}: {why}; it has to be a PEM file with {wanted}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What has to be in it.
        wanted: &'static str,
    },
    /// The system trusts nobody.
    #[error("this system has no certificate authorities; name a file with the broker's")]
    Nobody,
    /// What rustls cannot do.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] Error),
}

// === impl Trust ===

impl Trust {
    pub(crate) fn config(&self) -> Result<ClientConfig, TrustError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?);
        let Some((certificate, key)) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(certificate, "our certificate")?;
        let unusable =
            |why: String| TrustError::File { path: key.clone(), why, wanted: "the key of our certificate" };
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(error.to_string()))?;
        builder.with_client_auth_cert(chain, secret).map_err(|error| unusable(error.to_string()))
    }

    fn roots(&self) -> Result<RootCertStore, TrustError> {
        let mut roots = RootCertStore::empty();
        match &self.authorities {
            Some(path) => {
                const WANTED: &str = "the certificate of the broker's authority";
                for certificate in certificates(path, WANTED)? {
                    roots.add(certificate).map_err(|error| TrustError::File {
                        path: path.clone(),
                        why: error.to_string(),
                        wanted: WANTED,
                    })?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(TrustError::Nobody);
                }
            }
        }
        Ok(roots)
    }

    /// What went wrong with TLS, and what to do.
    pub(crate) fn explain(&self, error: &io::Error, host: &str) -> String {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let hint = match inner {
            // A wrong signature is of an authority that has only the name of a known one.
            Some(Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => match &self.authorities {
                Some(path) => {
                    format!("; put the certificate of the broker's authority into {}", path.display())
                }
                None => "; name a file with the broker's authority, this system does not trust it".to_owned(),
            },
            Some(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => format!("; address the broker by a name in its certificate, or give it one for {host}"),
            Some(Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) => "; give the broker a new certificate, or correct this machine's clock".to_owned(),
            Some(Error::AlertReceived(alert)) if of_ours(*alert) => match &self.identity {
                Some((path, _)) => {
                    format!(
                        "; the broker does not accept {}: give us one of its clients' authority",
                        path.display()
                    )
                }
                None => "; the broker wants a certificate of its clients: name one with its key".to_owned(),
            },
            Some(Error::InvalidMessage(_)) => "; is that a port with TLS?".to_owned(),
            _ => String::new(),
        };
        format!("{error}{hint}")
    }
}

/// What brokers say of a certificate of ours.
fn of_ours(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::HandshakeFailure
    )
}

fn certificates(path: &PathBuf, wanted: &'static str) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let unusable = |why: String| TrustError::File { path: path.clone(), why, wanted };
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?.collect();
    match found.map_err(|error| unusable(error.to_string()))? {
        found if found.is_empty() => Err(unusable("there is no certificate in it".to_owned())),
        found => Ok(found),
    }
}
