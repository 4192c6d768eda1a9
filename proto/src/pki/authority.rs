use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::identity::parse;
use super::{EcKey, Identity, NODES_GROUP, NodeName, PkiError, pem_certificate};

/// KubeEdge's lifetimes of what has no renewal: 364 × 100 days.
const CENTURY: Duration = Duration::from_secs(364 * 100 * 86_400);

/// Certificates start this long ago, for edges whose clock is slow.
const SKEW: Duration = Duration::from_secs(300);

/// The KubeEdge CA: it signs cloudcore's certificate and the edges', and its key makes the join tokens.
pub struct Authority {
    identity: Identity,
    issuer: Issuer<'static, KeyPair>,
}

/// The names and addresses that a server certificate holds for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerNames {
    /// DNS names; empty ones are skipped (KubeEdge's default list has one).
    pub dns: BTreeSet<String>,
    /// Addresses.
    pub ips: BTreeSet<IpAddr>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", hex::encode(self.fingerprint()))
    }
}

impl Authority {
    /// A new CA.
    pub fn generate(now: Timestamp) -> Result<Self, PkiError> {
        let key = EcKey::generate()?;
        let mut params = params(subject("KubeEdge", None), now, CENTURY);
        params.serial_number = Some(SerialNumber::from_slice(&1024_u16.to_be_bytes()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.self_signed(&key.pair()?)?.der().clone();
        Self::new(Identity { certificate, key })
    }

    /// The CA of a certificate (DER) and its key (DER or PEM), as KubeEdge keeps them in `casecret`.
    pub fn from_parts(certificate: Vec<u8>, key: &[u8]) -> Result<Self, PkiError> {
        let key = EcKey::read(key, "the CA key")?;
        Self::new(Identity { certificate: certificate.into(), key })
    }

    /// The CA in these files; made and written if neither exists.
    pub fn load_or_create(certificate: &Path, key: &Path, now: Timestamp) -> Result<Self, PkiError> {
        if let Some(identity) = Identity::load(certificate, key)? {
            return Self::new(identity);
        }
        let authority = Self::generate(now)?;
        authority.identity.store(certificate, key)?;
        Ok(authority)
    }

    fn new(identity: Identity) -> Result<Self, PkiError> {
        let what = "the CA certificate";
        let parsed = parse(&identity.certificate, what)?;
        if parsed.public_key().subject_public_key.data.as_ref() != identity.key.public() {
            return Err(PkiError::Mismatch { what: "the CA".into() });
        }
        if !parsed.is_ca() {
            return Err(PkiError::Certificate { what: what.into(), reason: "it may not sign others".into() });
        }
        let issuer = Issuer::from_ca_cert_der(&identity.certificate, identity.key.pair()?)?;
        Ok(Self { identity, issuer })
    }

    /// The CA certificate: the body of `GET /ca.crt`.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.identity.certificate
    }

    /// The CA certificate as PEM.
    pub fn pem(&self) -> String {
        pem_certificate(&self.identity.certificate)
    }

    /// The CA key.
    pub fn key(&self) -> &EcKey {
        &self.identity.key
    }

    /// SHA-256 of the CA certificate: the first part of a join token.
    pub fn fingerprint(&self) -> [u8; 32] {
        super::token::fingerprint(&self.identity.certificate)
    }

    /// A server certificate with a fresh key.
    pub fn issue_server(&self, names: &ServerNames, now: Timestamp) -> Result<Identity, PkiError> {
        let mut params = params(subject("KubeEdge", Some("KubeEdge")), now, CENTURY);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names.dns.iter().filter(|n| !n.is_empty()) {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(names.ips.iter().map(|ip| SanType::IpAddress(*ip)));
        self.issue_with_fresh_key(&params)
    }

    /// The server certificate in these files if it is this CA's, holds and covers all names; else a new one, written
    /// there. So a changed address needs no manual work.
    pub fn load_or_issue_server(
        &self,
        certificate: &Path,
        key: &Path,
        names: &ServerNames,
        now: Timestamp,
    ) -> Result<Identity, PkiError> {
        if let Some(identity) = Identity::load(certificate, key)?
            && self.serves(&identity, names, now)
        {
            return Ok(identity);
        }
        let identity = self.issue_server(names, now)?;
        identity.store(certificate, key)?;
        Ok(identity)
    }

    /// True if a server certificate is this CA's, is not due for renewal and covers all names.
    pub fn serves(&self, identity: &Identity, names: &ServerNames, now: Timestamp) -> bool {
        self.signed(&identity.certificate)
            && identity.validity().is_ok_and(|validity| validity.renewal(0.5) > now)
            && covers(&identity.certificate, names)
    }

    /// A client certificate with a fresh key, for people and controllers.
    pub fn issue_client(
        &self,
        user: &str,
        group: &str,
        life: Duration,
        now: Timestamp,
    ) -> Result<Identity, PkiError> {
        let mut params = params(subject(user, Some(group)), now, life);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue_with_fresh_key(&params)
    }

    /// The certificate (DER) of a node that has been authenticated, for the key in its request (DER). The request may ask
    /// for nothing that is not the node's: another name, another group, server use or alternative names are refused.
    pub fn issue_edge(
        &self,
        node: &NodeName,
        csr: &[u8],
        life: Duration,
        now: Timestamp,
    ) -> Result<CertificateDer<'static>, PkiError> {
        let refuse = |reason: String| Err(PkiError::Request(reason));
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr))
            .map_err(|e| PkiError::Request(format!("it cannot be read: {e}")))?;
        let asked = &request.params;
        if let Some(name) = asked.distinguished_name.get(&DnType::CommonName).and_then(text)
            && name != node.user()
        {
            return refuse(format!("its common name is {name:?}, but the sender is {}", node.user()));
        }
        if let Some(group) = asked.distinguished_name.get(&DnType::OrganizationName).and_then(text)
            && group != NODES_GROUP
        {
            return refuse(format!("its organisation is {group:?}, a node's is {NODES_GROUP}"));
        }
        if !asked.subject_alt_names.is_empty() {
            return refuse("it asks for alternative names; a node's certificate has none".into());
        }
        if asked.extended_key_usages.iter().any(|usage| *usage != ExtendedKeyUsagePurpose::ClientAuth) {
            return refuse("it asks for more than client use".into());
        }
        if asked.is_ca != IsCa::NoCa {
            return refuse("it asks to be an authority".into());
        }
        let mut params = params(subject(&node.user(), Some(NODES_GROUP)), now, life);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(params.signed_by(&request.public_key, &self.issuer)?.der().clone())
    }

    /// True if this CA signed the certificate.
    pub fn signed(&self, certificate: &[u8]) -> bool {
        let (Ok(leaf), Ok(ca)) = (parse(certificate, "leaf"), parse(&self.identity.certificate, "CA")) else {
            return false;
        };
        leaf.verify_signature(Some(ca.public_key())).is_ok()
    }

    fn issue_with_fresh_key(&self, params: &CertificateParams) -> Result<Identity, PkiError> {
        let key = EcKey::generate()?;
        let certificate = params.signed_by(&key.pair()?, &self.issuer)?.der().clone();
        Ok(Identity { certificate, key })
    }
}

fn covers(certificate: &[u8], names: &ServerNames) -> bool {
    use x509_parser::extensions::GeneralName;
    let Ok(parsed) = parse(certificate, "the server certificate") else { return false };
    let Ok(Some(extension)) = parsed.subject_alternative_name() else { return false };
    let mut has = ServerNames::default();
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(dns) => {
                has.dns.insert((*dns).to_owned());
            }
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                has.ips.extend(v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)));
            }
            _ => {}
        }
    }
    names.ips.is_subset(&has.ips) && names.dns.iter().all(|n| n.is_empty() || has.dns.contains(n))
}

fn text(value: &rcgen::DnValue) -> Option<&str> {
    match value {
        rcgen::DnValue::Utf8String(text) => Some(text),
        rcgen::DnValue::PrintableString(text) => Some(text.as_str()),
        rcgen::DnValue::Ia5String(text) => Some(text.as_str()),
        // Nothing that a node would write: let it differ from every name.
        _ => Some("(in an unexpected encoding)"),
    }
}

pub(super) fn subject(common: &str, organisation: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organisation) = organisation {
        name.push(DnType::OrganizationName, organisation);
    }
    name.push(DnType::CommonName, common);
    name
}

fn params(subject: DistinguishedName, now: Timestamp, life: Duration) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // No clock of ours is before 1970.
    let now = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.not_before = epoch + now.saturating_sub(SKEW);
    params.not_after = epoch + now.saturating_add(life.min(CENTURY));
    // Positive and never zero, as RFC 5280 wants.
    params.serial_number = Some(SerialNumber::from_slice(&((fastrand::u64(..) >> 1) | 1).to_be_bytes()));
    params.key_usages = vec![KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::DigitalSignature];
    params
}
