//! The SQLite file.
//!
//! WAL with `synchronous=FULL`: each commit is one fsync, and survives a power cut. The file is locked for this process, its page
//! cache is small, because reads come from memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row as _, SqliteConnection};

use super::state::{DeadRow, State};
use super::{Collection, Object, ObjectId, OpenError};

const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE log (
        revision   INTEGER PRIMARY KEY,
        written    INTEGER NOT NULL,
        collection TEXT NOT NULL,
        namespace  TEXT NOT NULL,
        name       TEXT NOT NULL,
        object     BLOB            -- NULL: the object was removed
    );
    -- Watchers cannot go back before these revisions.
    CREATE TABLE compacted (collection TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID;
    PRAGMA user_version = 1;
";
/// SQLite's primary result codes.
const BUSY: &str = "5";
const CORRUPT: &str = "11";
const NOT_A_DATABASE: &str = "26";

pub(super) struct Disk {
    connection: SqliteConnection,
}

/// One change on its way to the disk.
pub(super) struct Row<'a> {
    pub(super) revision: u64,
    pub(super) written: i64,
    pub(super) id: &'a ObjectId,
    pub(super) json: Option<&'a [u8]>,
}

/// One change read back.
pub(super) struct StoredRow {
    revision: u64,
    written: i64,
    id: ObjectId,
    json: Option<Vec<u8>>,
}

impl Disk {
    /// Opens or creates the file and replays it into `state`.
    pub(super) async fn open(path: &Path, state: &mut State) -> Result<Self, OpenError> {
        let fail = |error: sqlx::Error| explain(path, &error);
        let mut connection = options(path).connect().await.map_err(fail)?;
        prepare(&mut connection, path).await?;
        let floors = sqlx::query("SELECT collection, revision FROM compacted");
        for row in floors.fetch_all(&mut connection).await.map_err(fail)? {
            let collection: String = row.try_get(0).map_err(fail)?;
            state.set_floor(&Collection::from_stored(&collection), unsigned(row.try_get(1).map_err(fail)?));
        }
        let mut disk = Self { connection };
        disk.replay(state).await.map_err(|error| match error {
            ReplayError::Sql(error) => explain(path, &error),
            ReplayError::Content(detail) => OpenError::Corrupt { path: path.to_owned(), detail },
        })?;
        Ok(disk)
    }

    /// Row by row in batches, so that starting does not hold the file twice in memory.
    async fn replay(&mut self, state: &mut State) -> Result<(), ReplayError> {
        let mut last = 0;
        loop {
            let rows = self.rows(last, 256).await?;
            let Some(newest) = rows.last() else { return Ok(()) };
            last = newest.revision;
            for row in rows {
                row.apply(state).map_err(ReplayError::Content)?;
            }
        }
    }

    async fn rows(&mut self, after: u64, limit: i64) -> Result<Vec<StoredRow>, sqlx::Error> {
        let query = sqlx::query(
            "SELECT revision, written, collection, namespace, name, object FROM log WHERE revision > ? ORDER BY revision LIMIT ?",
        );
        let rows = query.bind(signed(after)).bind(limit).fetch_all(&mut self.connection).await?;
        rows.iter().map(StoredRow::read).collect()
    }

    pub(super) async fn rows_after(&mut self, revision: u64) -> Result<Vec<StoredRow>, sqlx::Error> {
        self.rows(revision, -1).await
    }

    /// Commits all of it or nothing.
    pub(super) async fn append(&mut self, rows: &[Row<'_>], dead: &[DeadRow]) -> Result<(), sqlx::Error> {
        // By hand: when the disk is full SQLite rolls back by itself, which sqlx's transactions do not expect.
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
        let written = match self.write(rows, dead).await {
            Ok(()) => sqlx::raw_sql("COMMIT").execute(&mut self.connection).await.map(drop),
            Err(error) => Err(error),
        };
        if written.is_err() {
            // Fails when there is nothing left to roll back.
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await;
        }
        written
    }

    async fn write(&mut self, rows: &[Row<'_>], dead: &[DeadRow]) -> Result<(), sqlx::Error> {
        for row in rows {
            sqlx::query(
                "INSERT INTO log (revision, written, collection, namespace, name, object) VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(signed(row.revision))
            .bind(row.written)
            .bind(row.id.collection.as_str())
            .bind(&*row.id.key.namespace)
            .bind(&*row.id.key.name)
            .bind(row.json)
            .execute(&mut self.connection)
            .await?;
        }
        for row in dead {
            let delete = sqlx::query("DELETE FROM log WHERE revision = ?").bind(signed(row.row));
            delete.execute(&mut self.connection).await?;
        }
        for floor in newest_floors(dead) {
            sqlx::query(
                "INSERT INTO compacted VALUES (?1, ?2) ON CONFLICT DO UPDATE SET revision = max(revision, ?2)",
            )
            .bind(floor.collection.as_str())
            .bind(signed(floor.floor))
            .execute(&mut self.connection)
            .await?;
        }
        Ok(())
    }

    pub(super) async fn checkpoint(&mut self) {
        let folded = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut self.connection).await;
        if let Err(error) = folded {
            tracing::warn!("cannot fold the write-ahead log into the store: {error}");
        }
    }

    pub(super) async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::warn!("cannot close the store cleanly: {error}");
        }
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .locking_mode(SqliteLockingMode::Exclusive)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", "-512")
        .pragma("journal_size_limit", "4194304")
        .pragma("wal_autocheckpoint", "500")
        .busy_timeout(std::time::Duration::from_secs(2))
        .command_buffer_size(16)
        .row_buffer_size(16)
        .thread_name(|id| format!("store-sqlite-{id}"))
}

async fn prepare(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let fail = |error: sqlx::Error| explain(path, &error);
    let check: String =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *connection).await.map_err(fail)?;
    if check != "ok" {
        return Err(OpenError::Corrupt { path: path.to_owned(), detail: check });
    }
    let found: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(fail)?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await
        .map_err(fail)?;
    match (found, tables) {
        (SCHEMA_VERSION, _) => Ok(()),
        (0, 0) => {
            let mut transaction = connection.begin().await.map_err(fail)?;
            sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await.map_err(fail)?;
            transaction.commit().await.map_err(fail)
        }
        _ => Err(OpenError::Version { path: path.to_owned(), found, known: SCHEMA_VERSION }),
    }
}

fn explain(path: &Path, error: &sqlx::Error) -> OpenError {
    let path = PathBuf::from(path);
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
    // Extended codes carry the primary one in their low byte.
    let primary = code.parse::<u32>().map_or(String::new(), |code| (code & 0xff).to_string());
    let detail =
        error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    match primary.as_str() {
        BUSY => OpenError::Locked { path },
        CORRUPT | NOT_A_DATABASE => OpenError::Corrupt { path, detail },
        _ => OpenError::Unusable { path, detail },
    }
}

/// The highest floor of each collection among the rows.
fn newest_floors(dead: &[DeadRow]) -> Vec<&DeadRow> {
    let mut newest = std::collections::HashMap::new();
    for row in dead {
        let entry = newest.entry(&row.collection).or_insert(row);
        if row.floor > entry.floor {
            *entry = row;
        }
    }
    newest.into_values().collect()
}

enum ReplayError {
    Sql(sqlx::Error),
    Content(String),
}

impl From<sqlx::Error> for ReplayError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl StoredRow {
    fn read(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let collection = Collection::from_stored(row.try_get(2)?);
        Ok(Self {
            revision: unsigned(row.try_get(0)?),
            written: row.try_get(1)?,
            id: ObjectId::new(&collection, row.try_get(3)?, row.try_get(4)?),
            json: row.try_get(5)?,
        })
    }

    /// Brings `state` to this revision.
    pub(super) fn apply(self, state: &mut State) -> Result<(), String> {
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

// SQLite has only signed integers; at a million writes a second the counter lasts 292,000 years.
fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}
