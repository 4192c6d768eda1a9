//! Rows of the log. Here documents become bytes and bytes become documents, and nowhere else.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::{signed, unsigned};
use crate::store::cipher::{self, Cipher, Unreadable};
use crate::store::state::State;
use crate::store::{Collection, Key, Object, ObjectId};

/// One change on its way to the disk.
pub(in crate::store) struct Row<'a> {
    pub(in crate::store) revision: u64,
    pub(in crate::store) written: i64,
    pub(in crate::store) id: &'a ObjectId,
    /// The document; none when the object was removed.
    pub(in crate::store) json: Option<Bytes>,
}

/// One change read back.
pub(in crate::store) struct StoredRow {
    pub(super) revision: u64,
    written: i64,
    id: ObjectId,
    json: Option<Vec<u8>>,
    /// Whether it is kept as it would be kept now.
    is_current: bool,
    is_sealed: bool,
}

/// What is kept for a document.
fn encode<'a>(cipher: &Cipher, id: &ObjectId, document: &'a [u8]) -> Result<Cow<'a, [u8]>, sqlx::Error> {
    cipher.seal(id, document).map_err(|_| sqlx::Error::Encode("no random numbers to encrypt with".into()))
}

/// The document of what is kept.
fn decode(cipher: &Cipher, id: &ObjectId, kept: Vec<u8>) -> Result<Vec<u8>, sqlx::Error> {
    cipher.open(id, kept).map_err(|error| {
        let (collection, Key { namespace, name }) = (id.collection.clone(), &id.key);
        sqlx::Error::Decode(Box::new(Sealed { place: format!("{collection} {namespace}/{name}"), error }))
    })
}

/// A row that cannot be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {error}")]
pub(super) struct Sealed {
    pub(super) place: String,
    pub(super) error: Unreadable,
}

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    cipher: &Cipher,
    row: &Row<'_>,
) -> Result<(), sqlx::Error> {
    let kept = row.json.as_deref().map(|document| encode(cipher, row.id, document)).transpose()?;
    let insert = sqlx::query(
        "INSERT INTO log (revision, written, collection, namespace, name, object) VALUES (?, ?, ?, ?, ?, ?)",
    );
    insert
        .bind(signed(row.revision))
        .bind(row.written)
        .bind(row.id.collection.as_str())
        .bind(&*row.id.key.namespace)
        .bind(&*row.id.key.name)
        .bind(kept.as_deref())
        .execute(connection)
        .await
        .map(drop)
}

/// Up to `limit` rows behind `after`, oldest first; all with -1.
pub(super) async fn select(
    connection: &mut SqliteConnection,
    cipher: &Cipher,
    after: u64,
    limit: i64,
) -> Result<Vec<StoredRow>, sqlx::Error> {
    let query = sqlx::query(
        "SELECT revision, written, collection, namespace, name, object FROM log WHERE revision > ? ORDER BY revision LIMIT ?",
    );
    let rows = query.bind(signed(after)).bind(limit).fetch_all(connection).await?;
    rows.iter().map(|row| StoredRow::read(cipher, row)).collect()
}

impl StoredRow {
    fn read(cipher: &Cipher, row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let collection = Collection::from_stored(row.try_get(2)?);
        let id = ObjectId::new(&collection, row.try_get(3)?, row.try_get(4)?);
        let kept = row.try_get::<Option<Vec<u8>>, _>(5)?;
        let is_current = kept.as_ref().is_none_or(|kept| cipher.is_current(&id, kept));
        let is_sealed = kept.as_deref().is_some_and(cipher::is_sealed);
        let json = kept.map(|kept| decode(cipher, &id, kept)).transpose()?;
        let revision = unsigned(row.try_get(0)?);
        Ok(Self { revision, written: row.try_get(1)?, id, json, is_current, is_sealed })
    }

    /// The row as it should be kept now, if it is kept in another form.
    pub(super) fn renewed(&self, cipher: &Cipher) -> Result<Option<Vec<u8>>, sqlx::Error> {
        match &self.json {
            Some(json) if !self.is_current => Ok(Some(encode(cipher, &self.id, json)?.into_owned())),
            _ => Ok(None),
        }
    }

    /// Whether it is kept as it would be kept now.
    pub(super) fn is_current(&self) -> bool {
        self.is_current
    }

    /// What is kept for another version of the document: sealed only if this one is, for a new key may not be on disk yet.
    pub(super) fn successor<'a>(
        &self,
        cipher: &Cipher,
        document: &'a [u8],
    ) -> Result<Cow<'a, [u8]>, sqlx::Error> {
        if self.is_sealed { encode(cipher, &self.id, document) } else { Ok(Cow::Borrowed(document)) }
    }

    /// The document under another revision; none when the row is a removal.
    pub(super) fn restamped(&self, revision: u64) -> Result<Option<Object>, String> {
        let Some(json) = &self.json else { return Ok(None) };
        let unreadable = |error: &dyn std::fmt::Display| {
            format!("{} {:?} at revision {}: {error}", self.id.collection, self.id.key, self.revision)
        };
        let value = serde_json::from_slice(json).map_err(|error| unreadable(&error))?;
        let stamped = Object::stamp(&self.id.collection, revision, self.written, value);
        stamped.map(Some).map_err(|error| unreadable(&error))
    }

    /// Brings `state` to this revision.
    pub(in crate::store) fn apply(self, state: &mut State) -> Result<(), String> {
        let Self { revision, written, id, json, .. } = self;
        let deleted = json.is_none();
        let object = match json {
            Some(json) => Object::load(&id.collection, revision, written, json)
                .map_err(|error| format!("{} {:?} at revision {revision}: {error}", id.collection, id.key))?,
            None => match state.get(&id) {
                Some(last) => {
                    Object::stamp(&id.collection, revision, written, last.value()).map_err(|error| {
                        format!("{} {:?} at revision {revision}: {error}", id.collection, id.key)
                    })?
                }
                // What it removed is compacted already; only the revision still counts.
                None => {
                    state.raise(revision);
                    return Ok(());
                }
            },
        };
        state.apply(&id, Arc::new(object), deleted);
        Ok(())
    }
}
