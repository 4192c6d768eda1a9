//! How an agent keeps things in an SQLite file: small, durable, and a corrupt one moved aside instead of fatal.
//!
//! Owns: pragmas, schema steps, the move of a corrupt file, transactions, and what SQLite's error codes mean to us.
//! May call: sqlx. Called by: edgecore's metamanager, devicetwin, rules and eventbus, and mappers, each with a file of its own.

mod lazy;
mod transaction;

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tracing::error;

pub use lazy::Lazy;
pub use transaction::Transaction;

/// Pages the connection keeps, in KiB; these stores are small and memory is a promise.
const CACHE_KIB: i64 = 256;
/// WAL pages after which SQLite copies them into the file. Pages written again meanwhile are copied once, so a
/// larger value spares flash; 1,000 pages bound the WAL at 4 MB.
const CHECKPOINT_PAGES: i64 = 1_000;

/// When a commit counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Each commit is synced: it survives a power cut. For everything that is acknowledged.
    Full,
    /// Commits are synced at checkpoints: the last ones may be missing after a power cut, never torn.
    Lazy,
}

/// A store's file and how to make it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The SQLite file; its directory is created.
    pub path: PathBuf,
    /// `steps[n]` is the SQL that takes schema version `n` to `n + 1`; append, never edit.
    pub steps: &'static [&'static str],
    /// When a commit counts as done.
    pub durability: Durability,
}

/// An open store.
#[derive(Debug)]
pub struct Opened {
    /// One connection: writers queue for it instead of failing as busy.
    pub pool: SqlitePool,
    /// Where the corrupt file went that stood in the way. The store is empty then.
    pub moved_aside: Option<PathBuf>,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Permissions, a missing mount, a full disk.
    #[error("cannot open the store {path}: {source}; check the disk's space and the file's permissions")]
    Open {
        /// The store's file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// The corrupt file could not be renamed.
    #[error("the store {path} is corrupt and cannot be moved aside: {source}; move it away by hand")]
    MoveAside {
        /// The store's file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// The directory cannot be made.
    #[error("cannot create the directory of the store {path}: {source}")]
    Directory {
        /// The store's file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// The file was written by a newer version of this agent.
    #[error(
        "the store {path} has schema {found}, this edgecore knows {known}: run the newer edgecore, or move the file away to start empty"
    )]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// The schema version in the file.
        found: i64,
        /// The newest version this program knows.
        known: usize,
    },
}

/// Opens or creates the store. A file that SQLite cannot read is renamed to `<path>.corrupt-<unix seconds>` with its
/// WAL, an error is logged, and an empty store takes its place.
///
/// # Errors
/// Names the file and what stands in the way.
pub async fn open(options: &Options) -> Result<Opened, OpenError> {
    let path = &options.path;
    if let Some(directory) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| OpenError::Directory { path: path.clone(), source })?;
    }
    match connect(options).await {
        Ok(pool) => Ok(Opened { pool, moved_aside: None }),
        Err(OpenError::Open { source, .. }) if is_corrupt(&source) => {
            let aside =
                move_aside(path).map_err(|source| OpenError::MoveAside { path: path.clone(), source })?;
            error!(
                store = %path.display(),
                moved_to = %aside.display(),
                "the store is corrupt ({source}): moved it aside and start with an empty one"
            );
            Ok(Opened { pool: connect(options).await?, moved_aside: Some(aside) })
        }
        Err(error) => Err(error),
    }
}

/// SQLite says that the file is damaged or no database at all.
#[must_use]
pub fn is_corrupt(error: &sqlx::Error) -> bool {
    const CORRUPT: i32 = 11;
    const NOT_A_DATABASE: i32 = 26;
    matches!(code(error), Some(CORRUPT | NOT_A_DATABASE))
}

/// The disk is full or refuses to write: worth another try later.
#[must_use]
pub fn is_disk_trouble(error: &sqlx::Error) -> bool {
    const READ_ONLY: i32 = 8;
    const IO: i32 = 10;
    const FULL: i32 = 13;
    const CANNOT_OPEN: i32 = 14;
    matches!(code(error), Some(READ_ONLY | IO | FULL | CANNOT_OPEN))
}

/// SQLite's primary result code, if it is SQLite that failed.
fn code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

async fn connect(options: &Options) -> Result<SqlitePool, OpenError> {
    // Secrets and tokens are in there. An empty file is an empty database; SQLite gives its WAL the same mode.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&options.path);
    if let Err(source) = made
        && source.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(OpenError::Open { path: options.path.clone(), source: source.into() });
    }
    let synchronous = match options.durability {
        Durability::Full => SqliteSynchronous::Full,
        Durability::Lazy => SqliteSynchronous::Normal,
    };
    let connection = SqliteConnectOptions::new()
        .filename(&options.path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .foreign_keys(false)
        .statement_cache_capacity(32)
        .row_buffer_size(16)
        .command_buffer_size(16)
        .pragma("cache_size", format!("-{CACHE_KIB}"))
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
        .pragma("journal_size_limit", "4194304")
        .pragma("temp_store", "MEMORY");
    let failed = |source| OpenError::Open { path: options.path.clone(), source };
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(connection)
        .await
        .map_err(failed)?;
    match prepare(&pool, options).await {
        Ok(()) => Ok(pool),
        Err(error) => {
            pool.close().await;
            Err(error)
        }
    }
}

/// Checks the file and takes its schema to the newest version.
async fn prepare(pool: &SqlitePool, options: &Options) -> Result<(), OpenError> {
    let failed = |source| OpenError::Open { path: options.path.clone(), source };
    let verdict: String =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(pool).await.map_err(failed)?;
    if verdict != "ok" {
        // Reading the pages that quick_check found damaged may succeed, so the code is supplied here.
        return Err(failed(sqlx::Error::Database(Box::new(Damaged(verdict)))));
    }
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(pool).await.map_err(failed)?;
    let done = usize::try_from(found).ok().filter(|done| *done <= options.steps.len());
    let Some(done) = done else {
        return Err(OpenError::Newer { path: options.path.clone(), found, known: options.steps.len() });
    };
    for (at, step) in options.steps.iter().enumerate().skip(done) {
        let mut transaction = Transaction::begin(pool).await.map_err(failed)?;
        sqlx::raw_sql(*step).execute(&mut *transaction).await.map_err(failed)?;
        // PRAGMA takes no bound parameters; the number is ours.
        let version = format!("PRAGMA user_version = {}", at + 1);
        sqlx::raw_sql(sqlx::AssertSqlSafe(version)).execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
    }
    Ok(())
}

/// Renames the file with its WAL; the shared-memory file is worthless without them.
fn move_aside(path: &Path) -> std::io::Result<PathBuf> {
    let suffixed = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let stamp = tasks::clock::unix_ms() / 1000;
    let aside = suffixed(&format!(".corrupt-{stamp}"));
    std::fs::rename(path, &aside)?;
    let wal = suffixed("-wal");
    if wal.exists() {
        std::fs::rename(&wal, suffixed(&format!(".corrupt-{stamp}-wal")))?;
    }
    match std::fs::remove_file(suffixed("-shm")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(aside),
    }
}

/// What `PRAGMA quick_check` found, in the shape of SQLite's own SQLITE_CORRUPT.
#[derive(Debug)]
struct Damaged(String);

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Damaged {}

impl sqlx::error::DatabaseError for Damaged {
    fn message(&self) -> &str {
        &self.0
    }

    fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
        Some("11".into())
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> sqlx::error::ErrorKind {
        sqlx::error::ErrorKind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[&str] = &["CREATE TABLE t (v INTEGER)", "ALTER TABLE t ADD COLUMN w INTEGER"];

    fn options(directory: &Path, steps: &'static [&'static str]) -> Options {
        Options { path: directory.join("sub/test.db"), steps, durability: Durability::Full }
    }

    #[tokio::test]
    async fn a_file_of_an_older_version_is_taken_to_the_newest() {
        let directory = tempfile::tempdir().unwrap();
        let old = open(&options(directory.path(), &STEPS[..1])).await.unwrap();
        sqlx::query("INSERT INTO t VALUES (1)").execute(&old.pool).await.unwrap();
        old.pool.close().await;
        let new = open(&options(directory.path(), STEPS)).await.unwrap();
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM t WHERE w IS NULL").fetch_one(&new.pool).await.unwrap();
        assert_eq!(count, 1);
        new.pool.close().await;
        let error = open(&options(directory.path(), &STEPS[..1])).await.unwrap_err();
        assert!(error.to_string().contains("schema 2"), "{error}");
    }

    #[tokio::test]
    async fn a_corrupt_file_is_moved_aside_and_an_empty_store_takes_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(directory.path(), STEPS);
        let first = open(&options).await.unwrap();
        for _ in 0..200 {
            sqlx::query("INSERT INTO t VALUES (1, 2)").execute(&first.pool).await.unwrap();
        }
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&first.pool).await.unwrap();
        first.pool.close().await;
        let mut bytes = std::fs::read(&options.path).unwrap();
        bytes[..100].fill(b'x');
        std::fs::write(&options.path, bytes).unwrap();
        let again = open(&options).await.unwrap();
        let aside = again.moved_aside.unwrap();
        assert!(aside.exists());
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(&again.pool).await.unwrap();
        assert_eq!(count, 0);
    }

    #[tokio::test]
    async fn a_damaged_page_is_found_when_the_store_opens() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(directory.path(), STEPS);
        let first = open(&options).await.unwrap();
        sqlx::query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO t SELECT i, i FROM n")
            .execute(&first.pool)
            .await
            .unwrap();
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&first.pool).await.unwrap();
        first.pool.close().await;
        let mut bytes = std::fs::read(&options.path).unwrap();
        bytes[2 * 4096..3 * 4096].fill(0x5a);
        std::fs::write(&options.path, bytes).unwrap();
        let again = open(&options).await.unwrap();
        assert!(again.moved_aside.is_some());
    }
}
