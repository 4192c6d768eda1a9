//! Readings on disk until their target has them.

use std::path::PathBuf;

use sqlite::{Durability, OpenError, Options, Transaction};
use sqlx::{Row as _, SqlitePool};

use super::{Sample, Target};

/// The most readings that wait: at one a second, of a day.
pub(super) const MOST: i64 = 100_000;

/// See [`Options::steps`].
const STEPS: &[&str] = &["
    CREATE TABLE IF NOT EXISTS target (key TEXT PRIMARY KEY, target TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS reading (
        row INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, sample TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS reading_target ON reading (target, row);
"];

/// The buffer does not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BufferError {
    /// Its file cannot be opened.
    #[error("{0}; or choose another by --buffer")]
    Open(#[from] OpenError),
    /// Its file.
    #[error("readings cannot be kept on disk: {0}")]
    Sql(#[from] sqlx::Error),
    /// What is in it.
    #[error("a reading cannot be read back: {0}")]
    Json(#[from] serde_json::Error),
}

/// The open file.
pub(super) struct Buffer {
    pool: SqlitePool,
    most: i64,
}

/// A reading that waits.
pub(super) struct Held {
    pub row: i64,
    pub sample: Sample,
}

// === impl Buffer ===

impl Buffer {
    /// One that holds `most` readings.
    pub(super) async fn open(path: PathBuf, most: i64) -> Result<Self, BufferError> {
        // What was read in the last moments before a power cut is less than what a sync a second costs in flash.
        let options = Options { path, steps: STEPS, durability: Durability::Lazy };
        let pool = sqlite::open(&options).await?.pool;
        Ok(Self { pool, most })
    }

    /// Keeps readings. How many of the oldest had to go for them.
    pub(super) async fn keep(&self, readings: &[(Target, Sample)]) -> Result<u64, BufferError> {
        if readings.is_empty() {
            return Ok(0);
        }
        let mut transaction = Transaction::begin(&self.pool).await?;
        for (target, sample) in readings {
            let key = target.to_string();
            sqlx::query("INSERT OR REPLACE INTO target VALUES (?, ?)")
                .bind(&key)
                .bind(serde_json::to_string(target)?)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("INSERT INTO reading (target, sample) VALUES (?, ?)")
                .bind(&key)
                .bind(serde_json::to_string(sample)?)
                .execute(&mut *transaction)
                .await?;
        }
        let dropped = sqlx::query(
            "DELETE FROM reading WHERE row IN (SELECT row FROM reading ORDER BY row LIMIT
                max(0, (SELECT count(*) FROM reading) - ?))",
        )
        .bind(self.most)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(dropped.rows_affected())
    }

    /// How many wait.
    pub(super) async fn waiting(&self) -> Result<i64, BufferError> {
        Ok(sqlx::query_scalar("SELECT count(*) FROM reading").fetch_one(&self.pool).await?)
    }

    /// Those that something waits for.
    pub(super) async fn targets(&self) -> Result<Vec<(String, Target)>, BufferError> {
        let rows = sqlx::query(
            "SELECT key, target FROM target WHERE EXISTS (SELECT 1 FROM reading WHERE reading.target = target.key)",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| Ok((row.try_get(0)?, serde_json::from_str(&row.try_get::<String, _>(1)?)?)))
            .collect()
    }

    /// What has waited longest for the target.
    pub(super) async fn oldest(&self, target: &str, most: u32) -> Result<Vec<Held>, BufferError> {
        let rows = sqlx::query("SELECT row, sample FROM reading WHERE target = ? ORDER BY row LIMIT ?")
            .bind(target)
            .bind(most)
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|row| {
                let sample = serde_json::from_str(&row.try_get::<String, _>(1)?)?;
                Ok(Held { row: row.try_get(0)?, sample })
            })
            .collect()
    }

    /// These have arrived.
    pub(super) async fn forget(&self, rows: &[i64]) -> Result<(), BufferError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut transaction = Transaction::begin(&self.pool).await?;
        for row in rows {
            sqlx::query("DELETE FROM reading WHERE row = ?").bind(row).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ms: i64) -> (Target, Sample) {
        let sample = Sample {
            namespace: "d".into(),
            device: "b".into(),
            property: "t".into(),
            value: at_ms.to_string(),
            at_ms,
        };
        (Target::Http { url: "http://h/".into() }, sample)
    }

    async fn held(buffer: &Buffer) -> Vec<i64> {
        let (key, _) = buffer.targets().await.unwrap().remove(0);
        buffer.oldest(&key, 100).await.unwrap().into_iter().map(|held| held.sample.at_ms).collect()
    }

    #[tokio::test]
    async fn the_oldest_go_when_there_are_too_many_and_are_counted_and_the_others_outlive_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/push.db");
        let buffer = Buffer::open(path.clone(), 10).await.unwrap();
        let batch: Vec<_> = (0..8).map(sample).collect();
        assert_eq!(buffer.keep(&batch).await.unwrap(), 0);
        let batch: Vec<_> = (8..13).map(sample).collect();
        assert_eq!(buffer.keep(&batch).await.unwrap(), 3);
        drop(buffer);
        let buffer = Buffer::open(path, 10).await.unwrap();
        assert_eq!(held(&buffer).await, (3..13).collect::<Vec<_>>());
        let (key, target) = buffer.targets().await.unwrap().remove(0);
        assert_eq!(target, sample(0).0);
        let rows: Vec<i64> = buffer.oldest(&key, 9).await.unwrap().iter().map(|held| held.row).collect();
        buffer.forget(&rows).await.unwrap();
        assert_eq!(held(&buffer).await, [12]);
    }

    #[tokio::test]
    async fn a_damaged_file_is_kept_aside_and_readings_are_taken_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("push.db");
        std::fs::write(&path, b"this is no database".repeat(1000)).unwrap();
        let buffer = Buffer::open(path, 10).await.unwrap();
        buffer.keep(&[sample(1)]).await.unwrap();
        assert_eq!(held(&buffer).await, [1]);
        let names = std::fs::read_dir(directory.path()).unwrap().flatten();
        assert_eq!(names.filter(|entry| entry.file_name().to_string_lossy().contains("corrupt-")).count(), 1);
    }
}
