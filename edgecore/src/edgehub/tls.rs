//! TLS towards the cloud: whom we trust, who we are.

use std::sync::Arc;

use https::AnyCertificate;
use proto::pki::Identity;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

/// A TLS configuration cannot be made of these certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} cannot be used for TLS: {reason}")]
pub struct TlsError {
    what: &'static str,
    reason: String,
}

/// Trusts only servers of this CA; shows the identity, if there is one.
pub(super) fn trusting(
    ca: &CertificateDer<'static>,
    identity: Option<&Identity>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let error = |what: &'static str| move |error: rustls::Error| TlsError { what, reason: error.to_string() };
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).map_err(error("CA certificate"))?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(error("TLS library"))?
        .with_root_certificates(roots);
    let config = match identity {
        Some(identity) => builder
            .with_client_auth_cert(vec![identity.certificate.clone()], identity.key.rustls())
            .map_err(error("node certificate"))?,
        None => builder.with_no_client_auth(),
    };
    Ok(finish(config))
}

/// Trusts any server, for the one request whose answer is checked against the token's hash.
pub(super) fn trusting_anyone() -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError { what: "TLS library", reason: error.to_string() })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::default()))
        .with_no_client_auth();
    Ok(finish(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// One connection that lasts: keeping sessions to resume would only cost memory.
fn finish(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = Resumption::disabled();
    Arc::new(config)
}
