//! Transactions that a full disk does not unhinge.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqliteConnection, SqlitePool};

/// All of what is done through it, or nothing.
///
/// Not sqlx's own: when the disk is full SQLite rolls back by itself, which sqlx 0.9 does not expect. Its count of open
/// transactions stays too high, and what it "commits" from then on stands in a savepoint that nobody releases: it is
/// acknowledged, and gone after a crash. So a connection whose transaction did not end well is closed, and the pool
/// opens another.
#[derive(Debug)]
pub struct Transaction {
    connection: PoolConnection<Sqlite>,
    committed: bool,
}

impl Transaction {
    /// Waits for the store's connection, and begins.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn begin(pool: &SqlitePool) -> Result<Self, sqlx::Error> {
        let mut transaction = Self { connection: pool.acquire().await?, committed: false };
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *transaction.connection).await?;
        Ok(transaction)
    }

    /// Everything is on disk when it returns.
    ///
    /// # Errors
    /// What SQLite says; nothing is done then.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("COMMIT").execute(&mut *self.connection).await?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.committed {
            self.connection.close_on_drop();
        }
    }
}

impl Deref for Transaction {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}
