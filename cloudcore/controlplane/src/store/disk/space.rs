//! Giving freed pages back to the file system, a few at a time.

use sqlx::SqliteConnection;

/// Free pages that stay in the file, because the next writes will want them: 2 MB.
const SPARE: i64 = 512;
/// Pages that go along with a commit: at most that many are moved, within the commit's own transaction.
const ALONG: i64 = 32;
/// Pages of one step while nobody writes.
const STEP: i64 = 256;

/// How many pages of the file hold nothing.
async fn free(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA freelist_count").fetch_one(connection).await
}

/// Gives up to `most` pages back. True when there are more to give.
async fn give_back(connection: &mut SqliteConnection, most: i64) -> Result<bool, sqlx::Error> {
    let excess = free(connection).await? - SPARE;
    if excess <= 0 {
        return Ok(false);
    }
    let sql = format!("PRAGMA incremental_vacuum({})", excess.min(most));
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await?;
    Ok(excess > most)
}

/// A small step, for within a transaction that writes anyway.
pub(super) async fn along(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    give_back(connection, ALONG).await
}

/// A larger step with a transaction of its own.
pub(super) async fn step(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    give_back(connection, STEP).await
}
