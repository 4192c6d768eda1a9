//! The schema and its versions. A step is one transaction, so a file is always of one version or the next.

use std::path::{Path, PathBuf};

use sqlx::SqliteConnection;

use super::explain;
use crate::store::OpenError;

/// Step n makes version n + 1 out of version n. A released step is never changed; a new version is a new step.
const STEPS: [&str; proto::backup::SCHEMA as usize] = [
    "CREATE TABLE log (
         revision   INTEGER PRIMARY KEY,
         written    INTEGER NOT NULL,
         collection TEXT NOT NULL,
         namespace  TEXT NOT NULL,
         name       TEXT NOT NULL,
         object     BLOB            -- NULL: the object was removed
     );
     -- Watchers cannot go back before these revisions.
     CREATE TABLE compacted (collection TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID;",
    "-- floor: no collection's watchers can go back before this revision.
     -- snapshot: the file was taken at this revision and has not been opened since.
     CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;",
];
const NEWEST: i64 = proto::backup::SCHEMA as i64;
/// SQLite's `auto_vacuum`: freed pages are given back in steps that we choose.
const INCREMENTAL: i64 = 2;

/// Where a file is kept as it was before it was upgraded from `version`.
pub(in crate::store) fn kept_aside(path: &Path, version: i64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".v{version}"));
    name.into()
}

/// A file that was kept aside by this or an earlier upgrade.
pub(super) fn any_kept_aside(path: &Path) -> Option<PathBuf> {
    (1..NEWEST).map(|version| kept_aside(path, version)).find(|aside| aside.exists())
}

/// Checks the file and brings it to the newest version.
pub(super) async fn prepare(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let fail = |error: sqlx::Error| explain(path, &error);
    let check: String =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *connection).await.map_err(fail)?;
    if check != "ok" {
        return Err(OpenError::Corrupt { path: path.to_owned(), detail: check });
    }
    let found = number(connection, "PRAGMA user_version").await.map_err(fail)?;
    let empty = number(connection, "SELECT count(*) FROM sqlite_schema").await.map_err(fail)? == 0;
    let ours = if found == 0 { empty } else { (1..=NEWEST).contains(&found) };
    if !ours {
        return Err(OpenError::Version { path: path.to_owned(), found, known: NEWEST });
    }
    if found < NEWEST && !empty {
        let aside = kept_aside(path, found);
        keep_aside(connection, path, &aside).await?;
        tracing::info!(from = found, to = NEWEST, kept = %aside.display(), "the store is upgraded");
    }
    upgrade(connection, found).await.map_err(fail)?;
    if number(connection, "PRAGMA auto_vacuum").await.map_err(fail)? != INCREMENTAL {
        let changed =
            sqlx::raw_sql("PRAGMA auto_vacuum = INCREMENTAL; VACUUM").execute(&mut *connection).await;
        if let Err(error) = changed {
            tracing::warn!(
                "the store cannot be rewritten so that it can shrink, trying again at the next start: {error}"
            );
        }
    }
    Ok(())
}

/// Makes a file of the newest version out of one of version `found`.
pub(super) async fn upgrade(connection: &mut SqliteConnection, found: i64) -> Result<(), sqlx::Error> {
    for (step, target) in STEPS.iter().zip(1_i64..).filter(|(_, target)| *target > found) {
        let sql = format!("BEGIN IMMEDIATE; {step} PRAGMA user_version = {target}; COMMIT");
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut *connection).await;
        if done.is_err() {
            // Fails when there is nothing left to roll back.
            let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
        }
        done?;
    }
    Ok(())
}

async fn number(connection: &mut SqliteConnection, sql: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(sql).fetch_one(connection).await
}

/// A whole copy, under its name only when it is complete.
async fn keep_aside(connection: &mut SqliteConnection, path: &Path, aside: &Path) -> Result<(), OpenError> {
    let half = aside.with_extension("half");
    let unusable = |detail: String| OpenError::Unusable { path: aside.to_owned(), detail };
    match std::fs::remove_file(&half) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(unusable(error.to_string()));
        }
        _ => {}
    }
    let name = half.to_str().ok_or_else(|| unusable("its name is not UTF-8".to_owned()))?;
    let copy = sqlx::query("VACUUM INTO ?").bind(name).execute(connection).await;
    copy.map_err(|error| explain(path, &error))?;
    let finish = || -> std::io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let file = std::fs::File::open(&half)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.sync_all()?;
        std::fs::rename(&half, aside)
    };
    finish().map_err(|error| unusable(error.to_string()))
}
