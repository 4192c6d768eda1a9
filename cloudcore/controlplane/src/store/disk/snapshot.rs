//! Snapshots: a file of its own with every object as it was at one revision, and the first opening of such a file.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::rows::{self, Row};
use super::{ReplayError, schema, signed, unsigned};
use crate::store::cipher::Cipher;
use crate::store::{Object, ObjectId};

/// How far a restored store jumps ahead at least. Whatever was written after the snapshot is lost, but its revisions are not
/// given out again: clients may still hold them. etcd's documentation recommends the same number for `--bump-revision`.
const JUMP: u64 = 1_000_000_000;

/// Writes `objects` as they are at `revision` to a new file.
pub(in crate::store) async fn write(
    path: &Path,
    cipher: &Cipher,
    objects: &[(ObjectId, Arc<Object>)],
    revision: u64,
) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    // Nobody needs half a snapshot, so there is no journal; the whole is synced at the end.
    let options = options.journal_mode(SqliteJournalMode::Off).synchronous(SqliteSynchronous::Off);
    let mut connection = options
        .pragma("cache_size", "-512")
        .command_buffer_size(16)
        .thread_name(|id| format!("store-snapshot-{id}"))
        .connect()
        .await?;
    schema::upgrade(&mut connection, 0).await?;
    sqlx::raw_sql("BEGIN").execute(&mut connection).await?;
    for (id, object) in objects {
        let row = Row { revision: object.revision, written: object.written, id, json: Some(object.json()) };
        rows::insert(&mut connection, cipher, &row).await?;
    }
    set(&mut connection, "floor", revision).await?;
    set(&mut connection, "snapshot", revision).await?;
    sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
    connection.close().await
}

/// If the file is a snapshot that was not opened yet: every object gets a new revision, far ahead of all that were given out before
/// and after the snapshot was taken, and nobody can watch from before. So no client that knew the lost future takes something old for
/// something that it has seen.
pub(super) async fn adopt(connection: &mut SqliteConnection, cipher: &Cipher) -> Result<(), ReplayError> {
    let Some(taken) = get(connection, "snapshot").await? else { return Ok(()) };
    // Microseconds since 1970 are ahead of every earlier restore too, as long as the clock is right and fewer than a million writes
    // happen in a second; and they are integers that JavaScript can hold.
    let now = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0);
    let mut next = now.max(taken + JUMP);
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let mut last = 0;
    loop {
        // What has its new revision already lies behind `taken`.
        let old = rows::select(connection, cipher, last, 256).await?;
        let Some(newest) = old.iter().filter(|row| row.revision <= taken).map(|row| row.revision).max()
        else {
            break;
        };
        last = newest;
        for row in old.iter().filter(|row| row.revision <= taken) {
            let Some(object) = row.restamped(next).map_err(ReplayError::Content)? else { continue };
            sqlx::query("UPDATE log SET revision = ?, object = ? WHERE revision = ?")
                .bind(signed(next))
                .bind(&*row.successor(cipher, &object.json())?)
                .bind(signed(row.revision))
                .execute(&mut *connection)
                .await?;
            next += 1;
        }
    }
    set(connection, "floor", next).await?;
    sqlx::raw_sql("DELETE FROM compacted; DELETE FROM meta WHERE key = 'snapshot'; COMMIT")
        .execute(&mut *connection)
        .await?;
    tracing::info!(snapshot = taken, revision = next, "the store continues from a snapshot");
    Ok(())
}

/// A number that the file knows about itself.
pub(super) async fn get(connection: &mut SqliteConnection, key: &str) -> Result<Option<u64>, sqlx::Error> {
    let found = sqlx::query_scalar("SELECT value FROM meta WHERE key = ?").bind(key);
    Ok(found.fetch_optional(connection).await?.map(unsigned))
}

async fn set(connection: &mut SqliteConnection, key: &str, value: u64) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO meta VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2")
        .bind(key)
        .bind(signed(value))
        .execute(connection)
        .await
        .map(drop)
}
