//! TLS of the two listeners. The certificate can be replaced while they run.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use proto::pki::{Authority, EcKey, Identity};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use super::SetupError;

/// The certificate that the servers show.
pub(super) struct ServerCertificate {
    current: RwLock<(Identity, Arc<CertifiedKey>)>,
}

// === impl ServerCertificate ===

impl ServerCertificate {
    pub(super) fn new(identity: &Identity) -> Result<Self, SetupError> {
        Ok(Self { current: RwLock::new((identity.clone(), certified(identity)?)) })
    }

    /// New connections see the new one; open ones go on.
    pub(super) fn replace(&self, identity: &Identity) -> Result<(), SetupError> {
        let certified = certified(identity)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (identity.clone(), certified);
        Ok(())
    }

    pub(super) fn identity(&self) -> Identity {
        self.current.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).1.clone())
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerCertificate")
    }
}

fn certified(identity: &Identity) -> Result<Arc<CertifiedKey>, SetupError> {
    let key =
        any_supported_type(&identity.key.rustls()).map_err(|error| SetupError::Tls(error.to_string()))?;
    Ok(Arc::new(CertifiedKey::new(vec![identity.certificate.clone()], key)))
}

pub(super) fn config(
    authority: &Authority,
    certificate: Arc<ServerCertificate>,
    required: bool,
) -> Result<Arc<ServerConfig>, SetupError> {
    let failed = |error: &dyn fmt::Display| SetupError::Tls(error.to_string());
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).map_err(|error| failed(&error))?;
    let provider: Arc<CryptoProvider> = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
    let verifier = verifier.build().map_err(|error| failed(&error))?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    Ok(Arc::new(config))
}

/// A pair as KubeEdge keeps it; `None` if it is unusable and should be made anew.
pub(super) fn identity_of(certificate: &[u8], key: &[u8]) -> Option<Identity> {
    let key = EcKey::read(key, "Secret kubeedge/cloudcoresecret").ok()?;
    Some(Identity { certificate: certificate.to_vec().into(), key })
}
