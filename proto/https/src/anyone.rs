//! TLS with whoever answers.

use std::sync::{Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Takes any certificate, but checks that the server has its key. For a probe, which asks whether something works and not who it is; for
/// an answer that is verified by other means; and to say what is wrong with a certificate.
#[derive(Debug)]
pub struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
    /// The server's, and those that it says stand above.
    shown: Option<Mutex<Vec<CertificateDer<'static>>>>,
}

// === impl AnyCertificate ===

impl AnyCertificate {
    /// One that remembers what it was shown.
    #[must_use]
    pub fn remembering() -> Self {
        Self { shown: Some(Mutex::default()), ..Self::default() }
    }

    /// What the last server has shown to one that remembers.
    #[must_use]
    pub fn shown(&self) -> Vec<CertificateDer<'static>> {
        let shown =
            self.shown.as_ref().map(|shown| shown.lock().unwrap_or_else(PoisonError::into_inner).clone());
        shown.unwrap_or_default()
    }
}

impl Default for AnyCertificate {
    fn default() -> Self {
        Self { algorithms: ring::default_provider().signature_verification_algorithms, shown: None }
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(shown) = &self.shown {
            let all = std::iter::once(leaf).chain(others).map(|one| one.clone().into_owned()).collect();
            *shown.lock().unwrap_or_else(PoisonError::into_inner) = all;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
