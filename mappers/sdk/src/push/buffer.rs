//! Readings on disk until their target has them.

use std::path::PathBuf;

use futures::TryStreamExt as _;
use sqlite::{Durability, OpenError, Options, Transaction};
use sqlx::{Row as _, SqlitePool};
use tokio::sync::Mutex;

use super::{Counts, Sample, Target};

/// The most readings that wait: at one a second, of a day.
pub(super) const MOST: Weight = Weight { readings: 100_000, bytes: 64 << 20 };
/// Bytes that are read back at a time; one reading at least.
const AT_ONCE: i64 = 1 << 20;

/// See [`Options::steps`].
const STEPS: &[&str] = &["
    CREATE TABLE IF NOT EXISTS target (key TEXT PRIMARY KEY, target TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS reading (
        row INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, sample TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS reading_target ON reading (target, row);
"];
/// Readings that are looked through at a time for what has to go.
const STEP: i64 = 256;

/// How much it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub readings: i64,
    pub bytes: i64,
}

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
    most: Weight,
    /// What waits. Whoever changes the file holds it.
    waits: Mutex<Weight>,
    counts: Counts,
}

/// A reading that waits.
pub(super) struct Held {
    pub row: i64,
    pub sample: Sample,
}

// === impl Buffer ===

impl Buffer {
    /// One that holds `most`.
    pub(super) async fn open(path: PathBuf, most: Weight, counts: Counts) -> Result<Self, BufferError> {
        // What was read in the last moments before a power cut is less than what a sync a second costs in flash.
        let options = Options { path, steps: STEPS, durability: Durability::Lazy };
        let pool = sqlite::open(&options).await?.pool;
        sqlx::query(
            "DELETE FROM target WHERE NOT EXISTS (SELECT 1 FROM reading WHERE reading.target = target.key)",
        )
        .execute(&pool)
        .await?;
        let row = sqlx::query("SELECT count(*), coalesce(sum(octet_length(sample)), 0) FROM reading")
            .fetch_one(&pool)
            .await?;
        let waits = Weight { readings: row.try_get(0)?, bytes: row.try_get(1)? };
        counts.waiting(waits.readings, waits.bytes);
        Ok(Self { pool, most, waits: Mutex::new(waits), counts })
    }

    /// Keeps readings. How many of the oldest had to go for them.
    pub(super) async fn keep(&self, readings: &[(Target, Sample)]) -> Result<u64, BufferError> {
        if readings.is_empty() {
            return Ok(0);
        }
        let mut held = self.waits.lock().await;
        let mut waits = *held;
        let mut transaction = Transaction::begin(&self.pool).await?;
        for (target, sample) in readings {
            let (key, sample) = (target.to_string(), serde_json::to_string(sample)?);
            sqlx::query("INSERT OR REPLACE INTO target VALUES (?, ?)")
                .bind(&key)
                .bind(serde_json::to_string(target)?)
                .execute(&mut *transaction)
                .await?;
            waits.add(&sample);
            sqlx::query("INSERT INTO reading (target, sample) VALUES (?, ?)")
                .bind(&key)
                .bind(sample)
                .execute(&mut *transaction)
                .await?;
        }
        let dropped = self.drop_oldest(&mut waits, &mut transaction).await?;
        transaction.commit().await?;
        *held = waits;
        self.counts.waiting(waits.readings, waits.bytes);
        Ok(dropped)
    }

    async fn drop_oldest(
        &self,
        waits: &mut Weight,
        transaction: &mut Transaction,
    ) -> Result<u64, BufferError> {
        let mut dropped = 0;
        while waits.is_over(self.most) {
            let oldest = sqlx::query("SELECT row, octet_length(sample) FROM reading ORDER BY row LIMIT ?")
                .bind(STEP)
                .fetch_all(&mut **transaction)
                .await?;
            let mut last = None;
            for row in oldest {
                if !waits.is_over(self.most) {
                    break;
                }
                waits.remove(row.try_get(1)?);
                last = Some(row.try_get::<i64, _>(0)?);
                dropped += 1;
            }
            let Some(last) = last else { break };
            sqlx::query("DELETE FROM reading WHERE row <= ?").bind(last).execute(&mut **transaction).await?;
        }
        Ok(dropped)
    }

    /// How many wait.
    pub(super) async fn waiting(&self) -> i64 {
        self.waits.lock().await.readings
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
        let mut rows = sqlx::query("SELECT row, sample FROM reading WHERE target = ? ORDER BY row LIMIT ?")
            .bind(target)
            .bind(most)
            .fetch(&self.pool);
        let mut held = Vec::new();
        let mut bytes = 0;
        while bytes < AT_ONCE
            && let Some(row) = rows.try_next().await?
        {
            let sample: String = row.try_get(1)?;
            bytes += weight(&sample);
            held.push(Held { row: row.try_get(0)?, sample: serde_json::from_str(&sample)? });
        }
        Ok(held)
    }

    /// These have arrived.
    pub(super) async fn forget(&self, rows: &[i64]) -> Result<(), BufferError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut held = self.waits.lock().await;
        let mut waits = *held;
        let mut transaction = Transaction::begin(&self.pool).await?;
        for row in rows {
            // It may have been dropped meanwhile.
            let bytes: Option<i64> =
                sqlx::query_scalar("DELETE FROM reading WHERE row = ? RETURNING octet_length(sample)")
                    .bind(row)
                    .fetch_optional(&mut *transaction)
                    .await?;
            if let Some(bytes) = bytes {
                waits.remove(bytes);
            }
        }
        transaction.commit().await?;
        *held = waits;
        self.counts.waiting(waits.readings, waits.bytes);
        Ok(())
    }
}

// === impl Weight ===

impl Weight {
    fn add(&mut self, sample: &str) {
        self.readings += 1;
        self.bytes += weight(sample);
    }

    fn remove(&mut self, bytes: i64) {
        self.readings -= 1;
        self.bytes -= bytes;
    }

    fn is_over(self, most: Self) -> bool {
        self.readings > most.readings || self.bytes > most.bytes
    }
}

fn weight(sample: &str) -> i64 {
    i64::try_from(sample.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ms: i64) -> (Target, Sample) {
        let sample = Sample {
            namespace: "d".into(),
            device: "b".into(),
            property: "t".into(),
            kind: "int".into(),
            value: at_ms.to_string(),
            at_ms,
        };
        (Target::Http { url: "http://h/".into() }, sample)
    }

    async fn held(buffer: &Buffer) -> Vec<i64> {
        let (key, _) = buffer.targets().await.unwrap().remove(0);
        buffer.oldest(&key, 100).await.unwrap().into_iter().map(|held| held.sample.at_ms).collect()
    }

    async fn open(path: PathBuf, readings: i64, bytes: i64) -> Result<Buffer, BufferError> {
        Buffer::open(path, Weight { readings, bytes }, Counts::default()).await
    }

    #[tokio::test]
    async fn the_oldest_go_when_they_are_too_long_together_and_what_is_left_is_weighed_right() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("push.db");
        let buffer = open(path.clone(), 1000, 100_000).await.unwrap();
        let long = |at_ms| {
            let (target, mut sample) = sample(at_ms);
            sample.value = "é".repeat(5_000);
            (target, sample)
        };
        let batch: Vec<_> = (0..12).map(long).collect();
        assert_eq!(buffer.keep(&batch).await.unwrap(), 3);
        assert_eq!(held(&buffer).await, (3..12).collect::<Vec<_>>());
        let (key, _) = buffer.targets().await.unwrap().remove(0);
        let rows: Vec<i64> = buffer.oldest(&key, 4).await.unwrap().iter().map(|held| held.row).collect();
        buffer.forget(&rows).await.unwrap();
        buffer.forget(&rows).await.unwrap();
        let counted = *buffer.waits.lock().await;
        assert_eq!(counted.readings, 5);
        drop(buffer);
        let buffer = open(path, 1000, 100_000).await.unwrap();
        assert_eq!(*buffer.waits.lock().await, counted);
        let page = buffer.counts.page();
        assert!(page.contains("mapper_push_waiting 5\n"), "{page}");
        // One that is longer than all that fits does not stay either, and nothing is left to drop.
        let buffer = open(directory.path().join("small.db"), 10, 50).await.unwrap();
        assert_eq!(buffer.keep(&[sample(1)]).await.unwrap(), 1);
        assert_eq!(*buffer.waits.lock().await, Weight::default());
    }

    #[tokio::test]
    async fn the_oldest_go_when_there_are_too_many_and_are_counted_and_the_others_outlive_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/push.db");
        let buffer = open(path.clone(), 10, 1 << 20).await.unwrap();
        let batch: Vec<_> = (0..8).map(sample).collect();
        assert_eq!(buffer.keep(&batch).await.unwrap(), 0);
        let batch: Vec<_> = (8..13).map(sample).collect();
        assert_eq!(buffer.keep(&batch).await.unwrap(), 3);
        drop(buffer);
        let buffer = open(path, 10, 1 << 20).await.unwrap();
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
        let buffer = open(path, 10, 1 << 20).await.unwrap();
        buffer.keep(&[sample(1)]).await.unwrap();
        assert_eq!(held(&buffer).await, [1]);
        let names = std::fs::read_dir(directory.path()).unwrap().flatten();
        assert_eq!(names.filter(|entry| entry.file_name().to_string_lossy().contains("corrupt-")).count(), 1);
    }
}
