//! Secrets at rest: sealed with AES-256-GCM, bound to their namespace and name.
//!
//! A sealed document is `0x01`, eight bytes that name the key, a random nonce of twelve bytes, the ciphertext and its tag. A plain one
//! begins with `{`, so both may lie in one file; [`super::disk`] seals what was there before. With an `EncryptionConfiguration`, its
//! providers seal instead, and the keys here still open.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};

use super::ObjectId;
use crate::encryption::{Provider, Rules, sealed_by};

/// What is sealed.
const COLLECTION: &str = "secrets";
const SEALED: u8 = 1;
const KEY_ID: usize = 8;
const HEADER: usize = 1 + KEY_ID + NONCE_LEN;

/// Seals what is written and opens what is read.
#[derive(Debug)]
pub struct Cipher {
    /// The first one seals.
    keys: Vec<Key>,
    seals: bool,
    random: SystemRandom,
    file: PathBuf,
    /// What seals instead, and where that stands.
    rules: Option<(Rules, PathBuf)>,
}

#[derive(Debug)]
struct Key {
    id: [u8; KEY_ID],
    key: LessSafeKey,
}

/// A sealed document cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// None of the keys is the one.
    #[error("it is encrypted with the key {0}, which is not there")]
    UnknownKey(String),
    /// It is not what was sealed here under this name.
    #[error("it was changed, or belongs to another name")]
    Damaged,
}

impl Cipher {
    /// Neither seals nor opens.
    pub fn off() -> Self {
        Self {
            keys: Vec::new(),
            seals: false,
            random: SystemRandom::new(),
            file: PathBuf::new(),
            rules: None,
        }
    }

    /// `keys` open, and the first one seals if `seals`. `file` is where they came from, for error texts.
    pub fn new(keys: &[[u8; 32]], seals: bool, file: &Path) -> Self {
        let load = |bytes: &[u8; 32]| {
            let name = digest(&SHA256, bytes);
            let id = name.as_ref().first_chunk().copied()?;
            Some(Key { id, key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).ok()?) })
        };
        let keys = keys.iter().filter_map(load).collect();
        Self { keys, seals, random: SystemRandom::new(), file: file.to_owned(), rules: None }
    }

    /// The same, but `rules`, which stand in `file`, say what is sealed.
    pub(crate) fn ruled(self, rules: Rules, file: &Path) -> Self {
        Self { rules: Some((rules, file.to_owned())), ..self }
    }

    /// Where a key should be that [`Unreadable::UnknownKey`] names.
    pub(super) fn file_of(&self, key: &str) -> &Path {
        match &self.rules {
            _ if !key.contains(':') => &self.file,
            Some((_, file)) => file,
            None => Path::new("the file of modules.controlPlane.encryptionConfig, which is not set"),
        }
    }

    fn key_for(&self, id: &ObjectId) -> Option<&Key> {
        let seals = self.seals && self.rules.is_none() && id.collection.as_str() == COLLECTION;
        self.keys.first().filter(|_| seals)
    }

    fn provider_for(&self, id: &ObjectId) -> Option<&Provider> {
        self.rules.as_ref()?.0.writer(id.collection.as_str())
    }

    /// What is kept for a document.
    pub(super) fn seal<'a>(&self, id: &ObjectId, document: &'a [u8]) -> Result<Cow<'a, [u8]>, Unspecified> {
        if let Some(provider) = self.provider_for(id) {
            return provider.seal(&self.random, &bound_to(id), document).map(Cow::Owned);
        }
        let Some(Key { id: key_id, key }) = self.key_for(id) else { return Ok(Cow::Borrowed(document)) };
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce)?;
        let mut kept = Vec::with_capacity(HEADER + document.len() + AES_256_GCM.tag_len());
        kept.push(SEALED);
        kept.extend_from_slice(key_id);
        kept.extend_from_slice(&nonce);
        let mut body = document.to_vec();
        let bound = Aad::from(bound_to(id));
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound, &mut body)?;
        kept.append(&mut body);
        Ok(Cow::Owned(kept))
    }

    /// The document of what is kept.
    pub(super) fn open(&self, id: &ObjectId, mut kept: Vec<u8>) -> Result<Vec<u8>, Unreadable> {
        if let Some(by) = sealed_by(&kept) {
            return self.open_with_rules(id, &kept, by);
        }
        let Some((key_id, nonce)) = header(&kept) else { return Ok(kept) };
        let known = self.keys.iter().find(|key| key.id == key_id);
        let Key { key, .. } = known.ok_or_else(|| Unreadable::UnknownKey(hex::encode(key_id)))?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let document = key.open_within(nonce, Aad::from(bound_to(id)), &mut kept, HEADER..);
        Ok(document.map_err(|_| Unreadable::Damaged)?.to_vec())
    }

    fn open_with_rules(&self, id: &ObjectId, kept: &[u8], by: String) -> Result<Vec<u8>, Unreadable> {
        let readers = self.rules.iter().flat_map(|(rules, _)| rules.readers());
        let mut known = readers.filter(|provider| provider.has_sealed(kept)).peekable();
        if known.peek().is_none() {
            return Err(Unreadable::UnknownKey(by));
        }
        // Two rules may have keys of one name.
        known.find_map(|provider| provider.open(&bound_to(id), kept)).ok_or(Unreadable::Damaged)
    }

    /// Whether [`Cipher::seal`] would keep the document in this form now.
    pub(super) fn is_current(&self, id: &ObjectId, kept: &[u8]) -> bool {
        if sealed_by(kept).is_some() || self.provider_for(id).is_some() {
            return self.provider_for(id).is_some_and(|provider| provider.has_sealed(kept));
        }
        header(kept).map(|(key, _)| key) == self.key_for(id).map(|key| key.id)
    }
}

/// Whether what is kept is sealed.
pub(super) fn is_sealed(kept: &[u8]) -> bool {
    header(kept).is_some() || sealed_by(kept).is_some()
}

/// Key and nonce of a sealed document.
fn header(kept: &[u8]) -> Option<([u8; KEY_ID], [u8; NONCE_LEN])> {
    let rest = kept.strip_prefix(&[SEALED])?;
    let (key, rest) = rest.split_first_chunk()?;
    Some((*key, *rest.first_chunk()?))
}

/// A secret cannot be passed off as another.
fn bound_to(id: &ObjectId) -> Vec<u8> {
    format!("{}\0{}\0{}", id.collection, id.key.namespace, id.key.name).into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Collection;
    use super::*;

    fn id(name: &str) -> ObjectId {
        ObjectId::new(&Collection::new("", "secrets"), "default", name)
    }

    fn cipher(keys: &[[u8; 32]]) -> Cipher {
        Cipher::new(keys, true, Path::new("keys"))
    }

    #[test]
    fn a_secret_is_read_with_the_key_that_sealed_it_under_its_own_name_only() {
        let document = br#"{"data":"hidden"}"#;
        let ours = cipher(&[[1; 32]]);
        let kept = ours.seal(&id("a"), document).unwrap().into_owned();
        assert!(!kept.windows(6).any(|part| part == b"hidden"));
        assert_eq!(ours.open(&id("a"), kept.clone()).unwrap(), document);
        assert_eq!(ours.open(&id("b"), kept.clone()), Err(Unreadable::Damaged));
        let unknown = cipher(&[[2; 32]]).open(&id("a"), kept.clone());
        assert!(matches!(unknown, Err(Unreadable::UnknownKey(_))));
        let mut changed = kept;
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(ours.open(&id("a"), changed), Err(Unreadable::Damaged));
    }

    #[test]
    fn a_new_key_in_front_seals_while_the_old_one_still_opens() {
        let (old, new) = (cipher(&[[1; 32]]), cipher(&[[2; 32], [1; 32]]));
        let kept = old.seal(&id("a"), b"{}").unwrap().into_owned();
        assert!(old.is_current(&id("a"), &kept) && !new.is_current(&id("a"), &kept));
        assert_eq!(new.open(&id("a"), kept).unwrap(), b"{}");
        let kept = new.seal(&id("a"), b"{}").unwrap().into_owned();
        assert!(new.is_current(&id("a"), &kept));
    }

    #[test]
    fn what_is_no_secret_stays_plain() {
        let ours = cipher(&[[1; 32]]);
        let pod = ObjectId::new(&Collection::new("", "pods"), "default", "a");
        assert_eq!(&*ours.seal(&pod, b"{}").unwrap(), b"{}");
        assert!(ours.is_current(&pod, b"{}") && !ours.is_current(&id("a"), b"{}"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_opened_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let sealed = bytes.first() == Some(&SEALED) && bytes.len() >= HEADER;
            let opened = cipher(&[[1; 32]]).open(&id("a"), bytes.clone());
            prop_assert_eq!(opened.is_err(), sealed);
        }
    }
}
