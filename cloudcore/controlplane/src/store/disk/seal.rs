//! Documents that are kept in another form than new ones would be: sealed with an older key, or not at all.

use sqlx::SqliteConnection;

use super::rows::{self, StoredRow};
use super::signed;
use crate::store::cipher::Cipher;

/// Rewrites them all; how many there were. What they were before is wiped from the file and from its log.
pub(super) async fn renew(connection: &mut SqliteConnection, cipher: &Cipher) -> Result<usize, sqlx::Error> {
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let renewed = match all(connection, cipher).await {
        Ok(count) => sqlx::raw_sql("COMMIT").execute(&mut *connection).await.map(|_| count),
        Err(error) => Err(error),
    };
    if renewed.is_err() {
        // Fails when there is nothing left to roll back.
        let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
    }
    let count = renewed?;
    // Pages that were freed before keep what was on them until the file is written anew.
    sqlx::raw_sql("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").execute(connection).await?;
    Ok(count)
}

async fn all(connection: &mut SqliteConnection, cipher: &Cipher) -> Result<usize, sqlx::Error> {
    let (mut last, mut count) = (0, 0);
    loop {
        let rows = rows::select(connection, cipher, last, 256).await?;
        let Some(newest) = rows.last().map(|row| row.revision) else { return Ok(count) };
        last = newest;
        for row in &rows {
            count += usize::from(renew_row(connection, cipher, row).await?);
        }
    }
}

async fn renew_row(
    connection: &mut SqliteConnection,
    cipher: &Cipher,
    row: &StoredRow,
) -> Result<bool, sqlx::Error> {
    let Some(kept) = row.renewed(cipher)? else { return Ok(false) };
    let update = sqlx::query("UPDATE log SET object = ? WHERE revision = ?");
    update.bind(kept).bind(signed(row.revision)).execute(connection).await?;
    Ok(true)
}
