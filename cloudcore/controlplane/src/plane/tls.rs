//! TLS of the server: its certificate, renewed while it runs, and the client certificates it takes.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring::{default_provider, sign};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;

use crate::pki::{Authority, Pki};

/// What connections are accepted with. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    current: Arc<Current>,
    pki: Arc<Pki>,
    names: Arc<[String]>,
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// All names of the server: the ones that are always there, the host's, and those that were asked for.
pub(super) fn names(asked: Vec<String>, address: SocketAddr) -> Vec<String> {
    let fixed = [
        "localhost",
        "127.0.0.1",
        "::1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut names: Vec<String> = fixed.iter().map(|name| (*name).to_owned()).collect();
    names.push(crate::apiserver::API_SERVICE.to_owned());
    if !address.ip().is_unspecified() {
        names.push(address.ip().to_string());
    }
    names.extend(asked);
    names.sort();
    names.dedup();
    names
}

fn issue(pki: &Pki, names: &[String]) -> Result<Arc<CertifiedKey>, String> {
    let issued = pki.authority.issue_server(names).map_err(|error| error.to_string())?;
    let key = sign::any_ecdsa_type(&issued.key_der).map_err(|error| error.to_string())?;
    Ok(Arc::new(CertifiedKey::new(issued.chain, key)))
}

impl Tls {
    pub(super) fn new(pki: Arc<Pki>, names: Vec<String>) -> Result<Self, String> {
        let current = Arc::new(Current(RwLock::new(issue(&pki, &names)?)));
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(pki.authority.certificate().clone()).map_err(|error| error.to_string())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| error.to_string())?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::<Current>::clone(&current));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), current, pki, names: names.into() })
    }
}

/// New connections get a new certificate long before the old one ends.
pub(super) async fn renew(tls: Tls, token: CancellationToken) -> Result<(), String> {
    loop {
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = tokio::time::sleep(Authority::RENEW) => {
                let renewed = issue(&tls.pki, &tls.names)?;
                *tls.current.0.write().unwrap_or_else(PoisonError::into_inner) = renewed;
            }
        }
    }
}
