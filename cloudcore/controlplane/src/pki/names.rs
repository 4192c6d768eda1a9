//! Who a certificate speaks for.

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// User and groups, as Kubernetes reads them: common name and organizations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Common name.
    pub name: String,
    /// Organizations.
    pub groups: Vec<String>,
}

/// Reads the subject of a certificate that was verified already.
pub fn subject_of(certificate: &CertificateDer<'_>) -> Option<Subject> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|one| one.as_str().ok()).map(str::to_owned).collect();
    (!name.is_empty()).then_some(Subject { name, groups })
}
