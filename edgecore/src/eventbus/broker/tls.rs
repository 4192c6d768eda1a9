//! What a TLS door shows and wants to see: files that are read again when they change, so that a certificate can be
//! renewed while clients are connected.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::ListenError;
use super::watched::{Named, Watched};

/// How the files are called in the log.
const NAME: Named = Named {
    what: "the certificates of the MQTT broker's ssl:// door",
    cure: "; put a PEM certificate and the key that belongs to it in place, they are read when the next client comes",
};

/// The files of a TLS door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate that is shown, with its chain (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
    /// Clients must show a certificate of this authority (PEM).
    pub clients: Option<PathBuf>,
}

/// Reads the files, now and when they change. Clients that are connected stay so.
pub(super) fn watch(tls: &Tls) -> Result<Watched<TlsAcceptor, ListenError>, ListenError> {
    let files = [&tls.certificate, &tls.key].into_iter().chain(&tls.clients).cloned().collect();
    let tls = tls.clone();
    Watched::open(NAME, files, move || acceptor(&tls))
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, ListenError> {
    let unusable = |path: &PathBuf, why: String| ListenError::Tls { path: path.clone(), why };
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&tls.certificate, error.to_string()))?;
    let builder = match &tls.clients {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| unusable(path, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| unusable(path, error.to_string()))?)
        }
    };
    let key =
        PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| unusable(&tls.key, error.to_string()))?;
    let config = builder
        .with_single_cert(certificates(&tls.certificate)?, key)
        .map_err(|error| unusable(&tls.certificate, error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, ListenError> {
    let unusable = |why: String| ListenError::Tls { path: path.clone(), why };
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?.collect();
    match found.map_err(|error| unusable(error.to_string()))? {
        found if found.is_empty() => Err(unusable("there is no certificate in it".to_owned())),
        found => Ok(found),
    }
}
