//! rules.db. It is made with the first thing that is to be kept: most nodes have no rules.

use std::path::PathBuf;

use proto::rules::Orders;
use sqlx::Row as _;

use super::queue::Kept;
use sqlite::{Durability, Lazy, OpenError, Options, Transaction};

/// See [`Options::steps`].
const STEPS: &[&str] = &["
    CREATE TABLE sub_topics (topic TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE target_urls (url TEXT PRIMARY KEY) WITHOUT ROWID;
    -- What was published here and the cloud has not taken.
    CREATE TABLE uploads (
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL
    );
"];

/// Why something could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, mostly.
    #[error("rules.db failed: {0}")]
    Sql(#[from] sqlx::Error),
    /// The file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) orders: Option<Orders>,
    pub(super) kept: Vec<(i64, String, String, bytes::Bytes)>,
    pub(super) gone: Vec<i64>,
}

/// A message as it is on disk.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
}

/// The file, open once it is needed.
#[derive(Debug)]
pub(super) struct Store(Lazy);

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.orders.is_none() && self.kept.is_empty() && self.gone.is_empty()
    }
}

impl Store {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Lazy::new(Options { path, steps: STEPS, durability: Durability::Full }))
    }

    pub(super) fn exists(&self) -> bool {
        self.0.exists()
    }

    /// A damaged file is moved aside when it is opened again.
    pub(super) async fn close(&mut self) {
        self.0.close().await;
    }

    pub(super) async fn orders(&mut self) -> Result<Orders, StoreError> {
        let pool = self.0.pool().await?;
        let topics: Vec<String> = sqlx::query_scalar("SELECT topic FROM sub_topics").fetch_all(&pool).await?;
        let urls: Vec<String> = sqlx::query_scalar("SELECT url FROM target_urls").fetch_all(&pool).await?;
        Ok(Orders { topics: topics.into_iter().collect(), urls: urls.into_iter().collect() })
    }

    pub(super) async fn kept(&mut self) -> Result<Vec<Kept>, StoreError> {
        let pool = self.0.pool().await?;
        let rows = sqlx::query("SELECT seq, topic, length(payload) AS bytes FROM uploads ORDER BY seq");
        let rows = rows.fetch_all(&pool).await?;
        let kept = rows.iter().map(|row| {
            let bytes: i64 = row.try_get("bytes")?;
            let bytes = usize::try_from(bytes).unwrap_or(0);
            Ok(Kept { seq: row.try_get("seq")?, topic: row.try_get("topic")?, bytes })
        });
        Ok(kept.collect::<Result<_, sqlx::Error>>()?)
    }

    pub(super) async fn read(&mut self, seq: i64) -> Result<Option<Stored>, StoreError> {
        let pool = self.0.pool().await?;
        let row = sqlx::query("SELECT id, topic, payload FROM uploads WHERE seq = ?").bind(seq);
        let Some(row) = row.fetch_optional(&pool).await? else { return Ok(None) };
        let stored =
            Stored { id: row.try_get("id")?, topic: row.try_get("topic")?, payload: row.try_get("payload")? };
        Ok(Some(stored))
    }

    /// All of it, or nothing. On disk when it returns.
    pub(super) async fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut transaction = Transaction::begin(&self.0.pool().await?).await?;
        if let Some(orders) = &batch.orders {
            sqlx::raw_sql("DELETE FROM sub_topics; DELETE FROM target_urls")
                .execute(&mut *transaction)
                .await?;
            for topic in &orders.topics {
                let insert = sqlx::query("INSERT INTO sub_topics VALUES (?)").bind(topic);
                insert.execute(&mut *transaction).await?;
            }
            for url in &orders.urls {
                let insert = sqlx::query("INSERT INTO target_urls VALUES (?)").bind(url);
                insert.execute(&mut *transaction).await?;
            }
        }
        for (seq, id, topic, payload) in &batch.kept {
            let insert = sqlx::query("INSERT INTO uploads VALUES (?, ?, ?, ?)");
            let insert = insert.bind(seq).bind(id).bind(topic).bind(payload.as_ref());
            insert.execute(&mut *transaction).await?;
        }
        for seq in &batch.gone {
            let delete = sqlx::query("DELETE FROM uploads WHERE seq = ?").bind(seq);
            delete.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}
