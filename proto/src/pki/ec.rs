use std::fmt;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

use super::PkiError;
use super::files::pem;

/// An ECDSA P-256 key pair. KubeEdge stores the SEC1 form, and that form's bytes key its tokens; rcgen reads
/// only PKCS #8. For this one curve both are fixed frames around the same 97 bytes.
pub struct EcKey {
    private: [u8; 32],
    /// Uncompressed point, 0x04 first.
    public: [u8; 65],
}

const SEC1_HEAD: &[u8] = &[0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
const SEC1_CURVE: &[u8] = &[0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const PUBLIC_HEAD: &[u8] = &[0xa1, 0x44, 0x03, 0x42, 0x00];
const PKCS8_HEAD: &[u8] = &[
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01,
    0x04, 0x20,
];

impl EcKey {
    /// A fresh key.
    pub fn generate() -> Result<Self, PkiError> {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        Self::from_pkcs8(pair.serialized_der(), "a fresh key")
    }

    /// Reads PEM or DER, SEC1 or PKCS #8. `what` names the key in errors.
    pub fn read(bytes: &[u8], what: &str) -> Result<Self, PkiError> {
        if !bytes.starts_with(b"\x30") {
            let key =
                PrivateKeyDer::from_pem_slice(bytes).map_err(|_| bad(what, "it is neither PEM nor DER"))?;
            return Self::read_der(key.secret_der(), what);
        }
        Self::read_der(bytes, what)
    }

    fn read_der(der: &[u8], what: &str) -> Result<Self, PkiError> {
        if der.starts_with(SEC1_HEAD) {
            let rest = &der[SEC1_HEAD.len()..];
            let private = rest.get(..32);
            let public = rest
                .get(32..)
                .and_then(|r| r.strip_prefix(SEC1_CURVE))
                .and_then(|r| r.strip_prefix(PUBLIC_HEAD));
            return Self::assemble(private, public, what);
        }
        Self::from_pkcs8(der, what)
    }

    fn from_pkcs8(der: &[u8], what: &str) -> Result<Self, PkiError> {
        let rest =
            der.strip_prefix(PKCS8_HEAD).ok_or_else(|| bad(what, "another algorithm, curve or form"))?;
        Self::assemble(rest.get(..32), rest.get(32..).and_then(|r| r.strip_prefix(PUBLIC_HEAD)), what)
    }

    fn assemble(private: Option<&[u8]>, public: Option<&[u8]>, what: &str) -> Result<Self, PkiError> {
        let private = private.and_then(|p| p.try_into().ok());
        let public = public.and_then(|p| p.try_into().ok());
        let (Some(private), Some(public)) = (private, public) else {
            return Err(bad(what, "its public half is missing"));
        };
        let key = Self { private, public };
        // ring checks that the point is on the curve and belongs to the scalar.
        key.pair().map_err(|_| bad(what, "its halves do not belong together"))?;
        Ok(key)
    }

    /// SEC1 DER: what KubeEdge keeps in Secrets, and the key of its tokens.
    pub fn sec1_der(&self) -> Vec<u8> {
        [SEC1_HEAD, &self.private, SEC1_CURVE, PUBLIC_HEAD, &self.public].concat()
    }

    /// PEM with the label `EC PRIVATE KEY`.
    pub fn sec1_pem(&self) -> String {
        pem("EC PRIVATE KEY", &self.sec1_der())
    }

    /// For rustls.
    pub fn rustls(&self) -> PrivateKeyDer<'static> {
        PrivateSec1KeyDer::from(self.sec1_der()).into()
    }

    /// The uncompressed public point.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// For rcgen.
    pub(super) fn pair(&self) -> Result<rcgen::KeyPair, rcgen::Error> {
        let pkcs8 = [PKCS8_HEAD, &self.private, PUBLIC_HEAD, &self.public].concat();
        rcgen::KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from(pkcs8),
            &rcgen::PKCS_ECDSA_P256_SHA256,
        )
    }
}

impl Clone for EcKey {
    fn clone(&self) -> Self {
        Self { private: self.private, public: self.public }
    }
}

impl fmt::Debug for EcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EcKey(secret)")
    }
}

fn bad(what: &str, reason: &'static str) -> PkiError {
    PkiError::Key { what: what.to_owned(), reason }
}
