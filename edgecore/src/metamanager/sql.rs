//! Every statement on edgecore.db. No policy: who calls decides.

use std::time::Duration;

use proto::resource::{ObjectKey, ResourceKind};
use sqlx::{Row as _, SqliteConnection, SqlitePool};
use tasks::clock;

use crate::edgehub::RowKey;

use super::StoreError;
use super::push::Version;
use super::reports::{self, Kind, Row};
use super::tokens::TokenRow;

/// A report as it stands in the table.
#[derive(Debug, Clone)]
pub(super) struct StoredReport {
    pub(super) row: Row,
    pub(super) version: u64,
    pub(super) confirmed: u64,
}

/// An object as it stands in the table.
#[derive(Debug)]
pub(super) struct ObjectRow {
    pub(super) key: ObjectKey,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) json: String,
}

// --- objects

pub(super) async fn version(
    db: &mut SqliteConnection,
    key: &ObjectKey,
) -> Result<Option<Version>, StoreError> {
    let row = sqlx::query("SELECT uid, resource_version, created FROM objects WHERE key = ?")
        .bind(key.to_string())
        .fetch_optional(db)
        .await?;
    row.map(|row| {
        Ok(Version {
            key: key.clone(),
            uid: row.try_get(0)?,
            resource_version: row.try_get(1)?,
            created: row.try_get(2)?,
        })
    })
    .transpose()
}

pub(super) async fn put(db: &mut SqliteConnection, version: &Version, json: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO objects (key, kind, uid, resource_version, created, json) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (key) DO UPDATE SET uid = excluded.uid, resource_version = excluded.resource_version,
         created = excluded.created, json = excluded.json",
    )
    .bind(version.key.to_string())
    .bind(version.key.kind.as_str())
    .bind(&version.uid)
    .bind(&version.resource_version)
    .bind(&version.created)
    .bind(json)
    .execute(db)
    .await?;
    Ok(())
}

/// Whether something was removed.
pub(super) async fn remove(
    db: &mut SqliteConnection,
    key: &ObjectKey,
    uid: Option<&str>,
) -> Result<bool, StoreError> {
    let done = sqlx::query("DELETE FROM objects WHERE key = ?1 AND (?2 IS NULL OR uid = ?2)")
        .bind(key.to_string())
        .bind(uid)
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn object(pool: &SqlitePool, key: &ObjectKey) -> Result<Option<ObjectRow>, StoreError> {
    let row = sqlx::query("SELECT uid, resource_version, json FROM objects WHERE key = ?")
        .bind(key.to_string())
        .fetch_optional(pool)
        .await?;
    row.map(|row| {
        Ok(ObjectRow {
            key: key.clone(),
            uid: row.try_get(0)?,
            resource_version: row.try_get(1)?,
            json: row.try_get(2)?,
        })
    })
    .transpose()
}

pub(super) async fn objects(pool: &SqlitePool, kind: &ResourceKind) -> Result<Vec<ObjectRow>, StoreError> {
    let rows =
        sqlx::query("SELECT key, uid, resource_version, json FROM objects WHERE kind = ? ORDER BY key")
            .bind(kind.as_str())
            .fetch_all(pool)
            .await?;
    rows.into_iter()
        .map(|row| {
            Ok(ObjectRow {
                key: key(row.try_get(0)?)?,
                uid: row.try_get(1)?,
                resource_version: row.try_get(2)?,
                json: row.try_get(3)?,
            })
        })
        .collect()
}

/// Key, uid and resourceVersion of everything held.
pub(super) async fn held(pool: &SqlitePool) -> Result<Vec<(ObjectKey, String, String)>, StoreError> {
    let rows =
        sqlx::query("SELECT key, uid, resource_version FROM objects ORDER BY key").fetch_all(pool).await?;
    rows.into_iter().map(|row| Ok((key(row.try_get(0)?)?, row.try_get(1)?, row.try_get(2)?))).collect()
}

fn key(text: String) -> Result<ObjectKey, StoreError> {
    text.parse().map_err(|error| StoreError::shape(format_args!("the row {text:?}"), error))
}

// --- reports

pub(super) async fn put_report(db: &mut SqliteConnection, row: &Row, version: u64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO reports (row, kind, namespace, name, uid, version, changed_ms, payload)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (row) DO UPDATE SET version = excluded.version, changed_ms = excluded.changed_ms,
         uid = excluded.uid, payload = excluded.payload",
    )
    .bind(row.key().0)
    .bind(row.kind.as_str())
    .bind(&row.namespace)
    .bind(&row.name)
    .bind(&row.uid)
    .bind(number(version))
    .bind(clock::unix_ms())
    .bind(&row.payload)
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn report(
    db: &mut SqliteConnection,
    row: &RowKey,
) -> Result<Option<StoredReport>, StoreError> {
    let found = sqlx::query(
        "SELECT kind, namespace, name, uid, payload, version, confirmed FROM reports WHERE row = ?",
    )
    .bind(&row.0)
    .fetch_optional(db)
    .await?;
    found.as_ref().map(stored_report).transpose()
}

/// Rows that are ahead, oldest change first.
pub(super) async fn ahead(pool: &SqlitePool, limit: usize) -> Result<Vec<StoredReport>, StoreError> {
    let rows = sqlx::query(
        "SELECT kind, namespace, name, uid, payload, version, confirmed FROM reports
         WHERE version > confirmed ORDER BY version LIMIT ?",
    )
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?;
    rows.iter().map(stored_report).collect()
}

fn stored_report(row: &sqlx::sqlite::SqliteRow) -> Result<StoredReport, StoreError> {
    let kind: String = row.try_get(0)?;
    let kind =
        Kind::parse(&kind).ok_or_else(|| StoreError::shape("a report", format!("unknown kind {kind:?}")))?;
    let (version, confirmed): (i64, i64) = (row.try_get(5)?, row.try_get(6)?);
    Ok(StoredReport {
        row: Row {
            kind,
            namespace: row.try_get(1)?,
            name: row.try_get(2)?,
            uid: row.try_get(3)?,
            payload: row.try_get(4)?,
        },
        version: version.unsigned_abs(),
        confirmed: confirmed.unsigned_abs(),
    })
}

/// The cloud has `version` of the row. A pod that is gone needs no rows any more.
pub(super) async fn confirm(db: &mut SqliteConnection, row: &RowKey, version: u64) -> Result<(), StoreError> {
    sqlx::query("UPDATE reports SET confirmed = ?2 WHERE row = ?1 AND confirmed < ?2")
        .bind(&row.0)
        .bind(number(version))
        .execute(&mut *db)
        .await?;
    let Some(gone) = report(&mut *db, row).await? else { return Ok(()) };
    if gone.row.kind == Kind::Gone && gone.confirmed >= gone.version {
        let status = reports::row_key(Kind::Pod, &gone.row.namespace, &gone.row.name, &gone.row.uid);
        for row in [&row.0, &status.0] {
            sqlx::query("DELETE FROM reports WHERE row = ?").bind(row).execute(&mut *db).await?;
        }
    }
    Ok(())
}

/// The cloud will never take `version`: the row counts as told. Nothing but the pod's own report may revive it.
pub(super) async fn reject(db: &mut SqliteConnection, row: &RowKey, version: u64) -> Result<(), StoreError> {
    confirm(db, row, version).await
}

/// Drops events that the cloud has and that are old, those beyond the log's size, and statuses of pods that neither the
/// cloud nor this node knows. What the cloud does not have goes by size alone: a clock that was wrong for a while must not
/// cost it. Returns how many events were dropped for their size.
pub(super) async fn prune(db: &mut SqliteConnection, age: Duration, bytes: u64) -> Result<u64, StoreError> {
    let oldest = clock::unix_ms() - i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    sqlx::query("DELETE FROM reports WHERE kind = 'event' AND changed_ms < ? AND version <= confirmed")
        .bind(oldest)
        .execute(&mut *db)
        .await?;
    let oversize = sqlx::query(
        "DELETE FROM reports WHERE row IN (SELECT row FROM (
            SELECT row, sum(length(payload)) OVER (ORDER BY version DESC) AS total FROM reports WHERE kind = 'event'
         ) WHERE total > ?)",
    )
    .bind(number(bytes))
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "DELETE FROM reports WHERE kind = 'pod' AND version <= confirmed AND changed_ms < ?
         AND NOT EXISTS (SELECT 1 FROM objects WHERE objects.uid = reports.uid)",
    )
    .bind(oldest)
    .execute(&mut *db)
    .await?;
    Ok(oversize.rows_affected())
}

/// The highest version ever given to a row that still stands.
pub(super) async fn last_version(pool: &SqlitePool) -> Result<u64, StoreError> {
    let last: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM reports").fetch_one(pool).await?;
    Ok(last.unwrap_or(0).unsigned_abs())
}

// --- tokens

pub(super) async fn put_token(db: &mut SqliteConnection, token: &TokenRow) -> Result<(), StoreError> {
    // Not those that have expired: the clock may be wrong. One may come after its pod has gone.
    sqlx::query(
        "DELETE FROM tokens WHERE pod_uid <> ? AND NOT EXISTS (SELECT 1 FROM objects WHERE objects.uid = tokens.pod_uid)",
    )
    .bind(&token.pod_uid)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "INSERT OR REPLACE INTO tokens (key, pod_uid, refresh_ms, expires_ms, json) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(&token.key)
    .bind(&token.pod_uid)
    .bind(token.refresh_ms)
    .bind(token.expires_ms)
    .bind(&token.json)
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn token(pool: &SqlitePool, key: &str) -> Result<Option<TokenRow>, StoreError> {
    let row = sqlx::query("SELECT pod_uid, refresh_ms, expires_ms, json FROM tokens WHERE key = ?")
        .bind(key)
        .fetch_optional(pool)
        .await?;
    row.map(|row| {
        Ok(TokenRow {
            key: key.to_owned(),
            pod_uid: row.try_get(0)?,
            refresh_ms: row.try_get(1)?,
            expires_ms: row.try_get(2)?,
            json: row.try_get(3)?,
        })
    })
    .transpose()
}

pub(super) async fn drop_tokens_of(db: &mut SqliteConnection, pod_uid: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM tokens WHERE pod_uid = ?").bind(pod_uid).execute(db).await?;
    Ok(())
}

/// SQLite's integers are signed; our counters never get near the sign.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
