//! The certificate authority of the API.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::renamed::renamed;
use super::{PkiError, Subject, files};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// How long certificates are good; the server renews its own long before.
const LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Clocks differ: what is issued now is good already five minutes ago.
const SKEW: Duration = Duration::from_secs(300);

/// Signs certificates for this API.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Issued {
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: String,
    /// DER, with the CA behind it.
    pub chain: Vec<CertificateDer<'static>>,
    /// DER.
    pub key_der: PrivateKeyDer<'static>,
}

/// A request for a client certificate that somebody with the right to do so has approved.
#[derive(Clone, Copy, Debug)]
pub struct ClientRequest<'a> {
    /// The request, DER.
    pub der: &'a [u8],
    /// Whether the key may encrypt keys.
    pub encipherment: bool,
    /// Whether the key may sign.
    pub signature: bool,
    /// How long the certificate should be good, at most a year, which is also the default.
    pub life: Option<Duration>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

pub(super) fn new_key(name: &str) -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| issue(name, &error))
}

fn issue(name: &str, error: &rcgen::Error) -> PkiError {
    PkiError::Issue { name: name.to_owned(), detail: error.to_string() }
}

fn params(subject: &Subject, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    for group in &subject.groups {
        name.push(DnType::OrganizationName, group.as_str());
    }
    name.push(DnType::CommonName, subject.name.as_str());
    params.distinguished_name = name;
    let now = SystemTime::now();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + life).into();
    params
}

impl Authority {
    /// Loads `ca.crt` and `ca.key` from `dir`, or makes them.
    pub(super) fn open(dir: &Path) -> Result<Self, PkiError> {
        let (certificate_path, key_path) = (dir.join("ca.crt"), dir.join("ca.key"));
        let (pem, key) = match (files::read(&certificate_path)?, files::read(&key_path)?) {
            (Some(pem), Some(key)) => {
                let key = KeyPair::from_pem(&key)
                    .map_err(|error| PkiError::Content { path: key_path, detail: error.to_string() })?;
                (pem, key)
            }
            (Some(_), None) => {
                return Err(PkiError::Content {
                    path: key_path,
                    detail: "the key of ca.crt is missing".to_owned(),
                });
            }
            // The key is written first, so a key alone is what a crash in between left.
            (None, _) => Self::create(&certificate_path, &key_path)?,
        };
        let wrong = |detail: String| PkiError::Content { path: certificate_path.clone(), detail };
        let certificate =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| wrong(format!("{error:?}")))?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { issuer, certificate, pem })
    }

    fn create(certificate_path: &Path, key_path: &Path) -> Result<(String, KeyPair), PkiError> {
        let name = "skerry-api-ca";
        let key = new_key(name)?;
        let mut params = params(&Subject { name: name.to_owned(), groups: Vec::new() }, CA_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let pem = params.self_signed(&key).map_err(|error| issue(name, &error))?.pem();
        files::write_private(key_path, &key.serialize_pem())?;
        files::write_private(certificate_path, &pem)?;
        Ok((pem, key))
    }

    /// The CA's certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The CA's certificate, DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A certificate for the server under all of `names` (DNS names and IP addresses).
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn issue_server(&self, names: &[String]) -> Result<Issued, PkiError> {
        let subject = Subject { name: "kube-apiserver".to_owned(), groups: Vec::new() };
        let mut params = params(&subject, LIFE);
        params.subject_alt_names = CertificateParams::new(names)
            .map_err(|error| issue(&names.join(", "), &error))?
            .subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params, &subject.name)
    }

    /// A certificate with which `subject` can log in.
    ///
    /// # Errors
    /// When the subject cannot stand in a certificate.
    pub fn issue_client(&self, subject: &Subject) -> Result<Issued, PkiError> {
        let mut params = params(subject, LIFE);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &subject.name)
    }

    /// The certificate (PEM) that a request asks for: its subject and alternative names, for clients only.
    ///
    /// # Errors
    /// When the request cannot be read, is not signed with its own key, or asks for what cannot stand in a certificate.
    pub fn answer(&self, asked: &ClientRequest<'_>) -> Result<String, PkiError> {
        let wrong = |detail: String| PkiError::Issue { name: "a client".to_owned(), detail };
        let (_, parsed) =
            X509CertificationRequest::from_der(asked.der).map_err(|error| wrong(error.to_string()))?;
        let subject = &parsed.certification_request_info.subject;
        if subject.iter().any(|part| part.iter().next().is_none()) {
            return Err(wrong("a part of the subject is empty".to_owned()));
        }
        let request =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(asked.der))
                .map_err(|error| wrong(error.to_string()))?;
        let life = asked.life.unwrap_or(LIFE).min(LIFE);
        let mut params = params(&Subject { name: String::new(), groups: Vec::new() }, life);
        params.distinguished_name = request.params.distinguished_name;
        params.subject_alt_names = request.params.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if asked.signature {
            params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        }
        if asked.encipherment {
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        let signed =
            params.signed_by(&request.public_key, &self.issuer).map_err(|error| wrong(error.to_string()))?;
        let der = renamed(signed.der(), subject.as_raw(), self.issuer.key()).map_err(wrong)?;
        let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        Ok(pem::encode_config(&pem::Pem::new("CERTIFICATE", der), lines))
    }

    fn sign(&self, mut params: CertificateParams, name: &str) -> Result<Issued, PkiError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = new_key(name)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|error| issue(name, &error))?;
        Ok(Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            chain: vec![certificate.der().clone(), self.certificate.clone()],
            key_der: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        })
    }

    /// How often the server should renew its own certificate.
    pub const RENEW: Duration = Duration::from_secs(DAY.as_secs() * 30);
}

#[cfg(test)]
mod tests {
    use super::super::{Pki, subject_of};
    use super::*;

    #[test]
    fn the_authority_is_the_same_after_a_restart_and_its_keys_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("pki");
        let first = Pki::open(&dir).unwrap();
        let again = Pki::open(&dir).unwrap();
        assert_eq!(first.authority.pem(), again.authority.pem());
        assert_eq!(first.token_key, again.token_key);
        for (name, mode) in [("ca.key", 0o600), ("sa.key", 0o600), (".", 0o700)] {
            assert_eq!(
                std::fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777,
                mode,
                "{name}"
            );
        }
        std::fs::remove_file(dir.join("ca.key")).unwrap();
        assert!(Pki::open(&dir).unwrap_err().to_string().contains("ca.key is not usable"));
    }

    #[test]
    fn a_client_certificate_carries_user_and_groups() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path()).unwrap();
        let admin =
            Subject { name: "kubernetes-admin".to_owned(), groups: vec!["system:masters".to_owned()] };
        let issued = pki.authority.issue_client(&admin).unwrap();
        assert_eq!(subject_of(&issued.chain[0]), Some(admin));
    }
}
