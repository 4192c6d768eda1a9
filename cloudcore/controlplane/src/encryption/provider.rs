//! How documents are encrypted: the providers of an `EncryptionConfiguration`, each with one key.
//!
//! What is kept begins with `k8s:enc:<provider>:v1:<key>:`, as kube-apiserver writes it, and what follows is also laid out like
//! there (Kubernetes v1.36 `apiserver/pkg/storage/value/encrypt`): a nonce and what it sealed, or an initialisation vector and blocks.

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;

/// Begins everything that a provider has sealed.
const MARK: &str = "k8s:enc:";
const VECTOR: usize = 16;
const SECRETBOX_NONCE: usize = 24;

/// How a key is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scheme {
    /// AES in CBC mode with PKCS#7 padding; what is kept may be changed unnoticed.
    AesCbc,
    /// AES-GCM, bound to the object's name.
    AesGcm,
    /// XSalsa20 and Poly1305.
    Secretbox,
}

/// One key of a provider.
pub(crate) struct Provider {
    prefix: String,
    key: Key,
}

enum Key {
    Cbc(Vec<u8>),
    Gcm(Box<LessSafeKey>),
    Secretbox(Box<XSalsa20Poly1305>),
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Provider").field(&self.prefix).finish()
    }
}

// === impl Scheme ===

impl Scheme {
    /// Its name in the file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AesCbc => "aescbc",
            Self::AesGcm => "aesgcm",
            Self::Secretbox => "secretbox",
        }
    }

    /// Bytes that a key may have.
    pub(crate) fn lengths(self) -> &'static [usize] {
        match self {
            Self::AesCbc => &[16, 24, 32],
            // ring has no AES-192.
            Self::AesGcm => &[16, 32],
            Self::Secretbox => &[32],
        }
    }
}

// === impl Provider ===

impl Provider {
    /// None if the key has a length that the scheme does not take.
    pub(crate) fn new(scheme: Scheme, name: &str, secret: &[u8]) -> Option<Self> {
        let gcm = |algorithm| UnboundKey::new(algorithm, secret).ok();
        let key = match (scheme, secret.len()) {
            (Scheme::AesCbc, 16 | 24 | 32) => Key::Cbc(secret.to_vec()),
            (Scheme::AesGcm, 16) => Key::Gcm(Box::new(LessSafeKey::new(gcm(&AES_128_GCM)?))),
            (Scheme::AesGcm, 32) => Key::Gcm(Box::new(LessSafeKey::new(gcm(&AES_256_GCM)?))),
            (Scheme::Secretbox, 32) => {
                Key::Secretbox(Box::new(XSalsa20Poly1305::new_from_slice(secret).ok()?))
            }
            _ => return None,
        };
        Some(Self { prefix: format!("{MARK}{}:v1:{name}:", scheme.name()), key })
    }

    /// Whether this scheme and a key of this name have sealed it.
    pub(crate) fn has_sealed(&self, kept: &[u8]) -> bool {
        kept.starts_with(self.prefix.as_bytes())
    }

    /// What is kept for a document of the object that `bound` names.
    pub(crate) fn seal(
        &self,
        random: &SystemRandom,
        bound: &[u8],
        document: &[u8],
    ) -> Result<Vec<u8>, Unspecified> {
        let mut kept = self.prefix.clone().into_bytes();
        match &self.key {
            Key::Cbc(key) => {
                let vector: [u8; VECTOR] = fresh(random)?;
                kept.extend_from_slice(&vector);
                kept.extend(encrypt(key, &vector, document).ok_or(Unspecified)?);
            }
            Key::Gcm(key) => {
                let nonce: [u8; NONCE_LEN] = fresh(random)?;
                kept.extend_from_slice(&nonce);
                let mut body = document.to_vec();
                key.seal_in_place_append_tag(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(bound),
                    &mut body,
                )?;
                kept.append(&mut body);
            }
            Key::Secretbox(key) => {
                let nonce: [u8; SECRETBOX_NONCE] = fresh(random)?;
                kept.extend_from_slice(&nonce);
                kept.extend(key.encrypt(&nonce.into(), document).map_err(|_| Unspecified)?);
            }
        }
        Ok(kept)
    }

    /// The document; none if this key does not open it.
    pub(crate) fn open(&self, bound: &[u8], kept: &[u8]) -> Option<Vec<u8>> {
        let sealed = kept.strip_prefix(self.prefix.as_bytes())?;
        match &self.key {
            Key::Cbc(key) => {
                let (vector, body) = sealed.split_first_chunk::<VECTOR>()?;
                decrypt(key, vector, body)
            }
            Key::Gcm(key) => {
                let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
                let mut body = body.to_vec();
                let opened =
                    key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(bound), &mut body);
                opened.ok().map(|document| document.to_vec())
            }
            Key::Secretbox(key) => {
                let (nonce, body) = sealed.split_first_chunk::<SECRETBOX_NONCE>()?;
                key.decrypt(&(*nonce).into(), body).ok()
            }
        }
    }
}

/// The provider and the key that sealed it, as in `aescbc:key1`; none if it is not sealed by any.
pub(crate) fn sealed_by(kept: &[u8]) -> Option<String> {
    let text = kept.strip_prefix(MARK.as_bytes())?;
    let mut parts = text.splitn(4, |byte| *byte == b':').map(String::from_utf8_lossy);
    let (scheme, _version, key) = (parts.next()?, parts.next()?, parts.next()?);
    Some(format!("{scheme}:{key}"))
}

fn fresh<const N: usize>(random: &SystemRandom) -> Result<[u8; N], Unspecified> {
    let mut bytes = [0; N];
    random.fill(&mut bytes)?;
    Ok(bytes)
}

fn encrypt(key: &[u8], vector: &[u8], document: &[u8]) -> Option<Vec<u8>> {
    match key.len() {
        16 => Some(
            cbc::Encryptor::<Aes128>::new_from_slices(key, vector)
                .ok()?
                .encrypt_padded_vec::<Pkcs7>(document),
        ),
        24 => Some(
            cbc::Encryptor::<Aes192>::new_from_slices(key, vector)
                .ok()?
                .encrypt_padded_vec::<Pkcs7>(document),
        ),
        _ => Some(
            cbc::Encryptor::<Aes256>::new_from_slices(key, vector)
                .ok()?
                .encrypt_padded_vec::<Pkcs7>(document),
        ),
    }
}

fn decrypt(key: &[u8], vector: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    match key.len() {
        16 => cbc::Decryptor::<Aes128>::new_from_slices(key, vector)
            .ok()?
            .decrypt_padded_vec::<Pkcs7>(body)
            .ok(),
        24 => cbc::Decryptor::<Aes192>::new_from_slices(key, vector)
            .ok()?
            .decrypt_padded_vec::<Pkcs7>(body)
            .ok(),
        _ => cbc::Decryptor::<Aes256>::new_from_slices(key, vector)
            .ok()?
            .decrypt_padded_vec::<Pkcs7>(body)
            .ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all() -> Vec<Provider> {
        let schemes = [Scheme::AesCbc, Scheme::AesGcm, Scheme::Secretbox].into_iter();
        let sizes = schemes.flat_map(|scheme| scheme.lengths().iter().map(move |length| (scheme, *length)));
        sizes.map(|(scheme, length)| Provider::new(scheme, "key1", &vec![7; length]).unwrap()).collect()
    }

    #[test]
    fn keys_of_other_lengths_are_none() {
        for (scheme, length) in
            [(Scheme::AesCbc, 15), (Scheme::AesGcm, 24), (Scheme::Secretbox, 16), (Scheme::AesCbc, 0)]
        {
            assert!(Provider::new(scheme, "k", &vec![1; length]).is_none());
        }
    }

    const CBC: &str = "000102030405060708090a0b0c0d0e0fc62033db05d22e5086c7e4d82dc162b5";
    const SECRETBOX: &str =
        "000102030405060708090a0b0c0d0e0f1011121314151617bbfd8550635cf46df17db972a2b35871e163";

    /// `openssl enc -aes-256-cbc -K 07..07 -iv 00..0f`, and PyNaCl's `SecretBox(b"\x07" * 32).encrypt(b"{}", bytes(range(24)))`.
    #[test]
    fn what_others_sealed_is_opened() {
        let cbc = Provider::new(Scheme::AesCbc, "key1", &[7; 32]).unwrap();
        let kept = [b"k8s:enc:aescbc:v1:key1:".as_slice(), &hex::decode(CBC).unwrap()].concat();
        assert_eq!(cbc.open(b"", &kept).as_deref(), Some(b"{}".as_slice()));
        let secretbox = Provider::new(Scheme::Secretbox, "key1", &[7; 32]).unwrap();
        let kept = [b"k8s:enc:secretbox:v1:key1:".as_slice(), &hex::decode(SECRETBOX).unwrap()].concat();
        assert_eq!(secretbox.open(b"", &kept).as_deref(), Some(b"{}".as_slice()));
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened_and_changed_bytes_never_panic(
            document in prop::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..,
        ) {
            for provider in all() {
                let mut kept = provider.seal(&SystemRandom::new(), b"name", &document).unwrap();
                prop_assert!(provider.has_sealed(&kept));
                prop_assert_eq!(provider.open(b"name", &kept), Some(document.clone()));
                let at = at.index(kept.len());
                kept[at] ^= flip;
                let opened = provider.open(b"name", &kept);
                prop_assert!(opened.is_none() || matches!(provider.key, Key::Cbc(_)));
                kept.truncate(at);
                provider.open(b"name", &kept);
                sealed_by(&kept);
            }
        }
    }
}
