//! Rows of the log. Here documents become bytes and bytes become documents, and nowhere else.

use std::sync::Arc;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::{signed, unsigned};
use crate::store::state::State;
use crate::store::{Collection, Object, ObjectId};

/// One change on its way to the disk.
pub(in crate::store) struct Row<'a> {
    pub(in crate::store) revision: u64,
    pub(in crate::store) written: i64,
    pub(in crate::store) id: &'a ObjectId,
    /// The document; none when the object was removed.
    pub(in crate::store) json: Option<&'a [u8]>,
}

/// One change read back.
pub(in crate::store) struct StoredRow {
    pub(super) revision: u64,
    written: i64,
    id: ObjectId,
    json: Option<Vec<u8>>,
}

/// What is kept for a document.
pub(super) fn encode(document: &[u8]) -> &[u8] {
    document
}

/// The document of what is kept.
fn decode(kept: Vec<u8>) -> Vec<u8> {
    kept
}

pub(super) async fn insert(connection: &mut SqliteConnection, row: &Row<'_>) -> Result<(), sqlx::Error> {
    let insert = sqlx::query(
        "INSERT INTO log (revision, written, collection, namespace, name, object) VALUES (?, ?, ?, ?, ?, ?)",
    );
    insert
        .bind(signed(row.revision))
        .bind(row.written)
        .bind(row.id.collection.as_str())
        .bind(&*row.id.key.namespace)
        .bind(&*row.id.key.name)
        .bind(row.json.map(encode))
        .execute(connection)
        .await
        .map(drop)
}

/// Up to `limit` rows behind `after`, oldest first; all with -1.
pub(super) async fn select(
    connection: &mut SqliteConnection,
    after: u64,
    limit: i64,
) -> Result<Vec<StoredRow>, sqlx::Error> {
    let query = sqlx::query(
        "SELECT revision, written, collection, namespace, name, object FROM log WHERE revision > ? ORDER BY revision LIMIT ?",
    );
    let rows = query.bind(signed(after)).bind(limit).fetch_all(connection).await?;
    rows.iter().map(StoredRow::read).collect()
}

impl StoredRow {
    fn read(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let collection = Collection::from_stored(row.try_get(2)?);
        Ok(Self {
            revision: unsigned(row.try_get(0)?),
            written: row.try_get(1)?,
            id: ObjectId::new(&collection, row.try_get(3)?, row.try_get(4)?),
            json: row.try_get::<Option<Vec<u8>>, _>(5)?.map(decode),
        })
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
        let Self { revision, written, id, json } = self;
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
