//! The SQLite file.
//!
//! WAL with `synchronous=FULL`: each commit is one fsync, and survives a power cut. The file is locked for this process, its page
//! cache is small, because reads come from memory. [`schema`] has its versions, [`rows`] what documents look like in it, [`seal`] how
//! they get another look, [`space`] how
//! it shrinks, [`snapshot`] how it is copied while it is in use.

mod rows;
mod schema;
mod seal;
pub(super) mod snapshot;
mod space;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row as _, SqliteConnection};

use super::cipher::{Cipher, Unreadable};
use super::state::{DeadRow, State};
use super::{Collection, OpenError};

pub(super) use rows::{Row, StoredRow};
#[cfg(test)]
pub(super) use schema::kept_aside;

/// Rows that are read at once when the file is opened.
const BATCH: i64 = 256;
/// SQLite's primary result codes.
const BUSY: &str = "5";
const CORRUPT: &str = "11";
const NOT_A_DATABASE: &str = "26";

pub(super) struct Disk {
    connection: SqliteConnection,
    cipher: Arc<Cipher>,
    /// Something is kept in another form than it would be kept in now.
    outdated: bool,
    /// There may be more free pages than the file should keep.
    spacious: bool,
}

impl Disk {
    /// Opens or creates the file and replays it into `state`.
    pub(super) async fn open(path: &Path, cipher: Arc<Cipher>, state: &mut State) -> Result<Self, OpenError> {
        let fail = |error: sqlx::Error| explain(path, &error);
        let mut connection = options(path).connect().await.map_err(fail)?;
        schema::prepare(&mut connection, path).await?;
        let wrong = |error: ReplayError| match error {
            ReplayError::Sql(error) => explain_row(path, &cipher, &error),
            ReplayError::Content(detail) => OpenError::Corrupt { path: path.to_owned(), detail },
        };
        snapshot::adopt(&mut connection, &cipher).await.map_err(wrong)?;
        if let Some(floor) = snapshot::get(&mut connection, "floor").await.map_err(fail)? {
            state.set_base(floor);
        }
        let floors = sqlx::query("SELECT collection, revision FROM compacted");
        for row in floors.fetch_all(&mut connection).await.map_err(fail)? {
            let collection: String = row.try_get(0).map_err(fail)?;
            state.set_floor(&Collection::from_stored(&collection), unsigned(row.try_get(1).map_err(fail)?));
        }
        let mut disk = Self { connection, cipher: Arc::clone(&cipher), outdated: false, spacious: true };
        disk.replay(state).await.map_err(wrong)?;
        // From here on everything is in memory, and the file is only written.
        sqlx::raw_sql("PRAGMA mmap_size = 0").execute(&mut disk.connection).await.map_err(fail)?;
        Ok(disk)
    }

    /// Row by row in batches, so that starting does not hold the file twice in memory. SQLite's thread reads one while this one takes
    /// in the one before.
    async fn replay(&mut self, state: &mut State) -> Result<(), ReplayError> {
        let mut rows = rows::select(&mut self.connection, &self.cipher, 0, BATCH).await?;
        while let Some(newest) = rows.last() {
            self.outdated |= rows.iter().any(|row| !row.is_current());
            let next = rows::select(&mut self.connection, &self.cipher, newest.revision, BATCH);
            let take_in = async { rows.into_iter().try_for_each(|row| row.apply(state)) };
            let (next, taken) = tokio::join!(next, take_in);
            taken.map_err(ReplayError::Content)?;
            rows = next?;
        }
        Ok(())
    }

    pub(super) async fn rows_after(&mut self, revision: u64) -> Result<Vec<StoredRow>, sqlx::Error> {
        rows::select(&mut self.connection, &self.cipher, revision, -1).await
    }

    /// Rewrites what is not kept as it would be kept now, and leaves nothing of its old form in the file.
    pub(super) async fn renew(&mut self, path: &Path) -> Result<(), OpenError> {
        if !self.outdated {
            return Ok(());
        }
        let renewed = seal::renew(&mut self.connection, &self.cipher).await;
        let count = renewed.map_err(|error| explain(path, &error))?;
        self.outdated = false;
        tracing::info!(count, "secrets were written anew as they are to be kept now");
        if let Some(aside) = schema::any_kept_aside(path) {
            tracing::warn!(
                file = %aside.display(),
                "the copy from before an upgrade may hold secrets that are not encrypted: remove it when it is not needed any more"
            );
        }
        Ok(())
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
            // What makes the file smaller later needs space now; the write comes first.
            self.spacious = false;
            // Fails when there is nothing left to roll back.
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await;
        }
        written
    }

    async fn write(&mut self, rows: &[Row<'_>], dead: &[DeadRow]) -> Result<(), sqlx::Error> {
        for row in rows {
            rows::insert(&mut self.connection, &self.cipher, row).await?;
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
        if self.spacious || !dead.is_empty() {
            self.spacious = space::along(&mut self.connection).await?;
        }
        Ok(())
    }

    /// Whether [`Disk::shrink`] may have something to do.
    pub(super) fn is_spacious(&self) -> bool {
        self.spacious
    }

    /// Gives some free pages back to the file system.
    pub(super) async fn shrink(&mut self) {
        match space::step(&mut self.connection).await {
            Ok(more) => self.spacious = more,
            Err(error) => {
                tracing::warn!("cannot give free pages of the store back: {error}");
                self.spacious = false;
            }
        }
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
        // For checking and reading the file at the start; the checks take a third of the time.
        .pragma("mmap_size", "1073741824")
        .pragma("journal_size_limit", "4194304")
        .pragma("wal_autocheckpoint", "500")
        .busy_timeout(std::time::Duration::from_secs(2))
        .command_buffer_size(16)
        .row_buffer_size(BATCH as usize)
        .thread_name(|id| format!("store-sqlite-{id}"))
}

/// [`explain`] for what cannot be decrypted.
fn explain_row(path: &Path, cipher: &Cipher, error: &sqlx::Error) -> OpenError {
    let sealed = match error {
        sqlx::Error::Decode(source) => source.downcast_ref::<rows::Sealed>(),
        _ => None,
    };
    match sealed {
        Some(rows::Sealed { place, error: Unreadable::UnknownKey(key) }) => OpenError::Key {
            path: path.to_owned(),
            place: place.clone(),
            key: key.clone(),
            keys: cipher.file_of(key).to_owned(),
        },
        Some(damaged) => OpenError::Corrupt { path: path.to_owned(), detail: damaged.to_string() },
        None => explain(path, error),
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

// SQLite has only signed integers; at a million writes a second the counter lasts 292,000 years.
fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}
