//! A file that is made when it is first needed: most nodes never need it.

use sqlx::SqlitePool;

use crate::{OpenError, Options, open};

/// A store that may not be there yet.
#[derive(Debug)]
pub struct Lazy {
    options: Options,
    pool: Option<SqlitePool>,
}

impl Lazy {
    /// Nothing is opened or made yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, pool: None }
    }

    /// Whether the file is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.options.path.exists()
    }

    /// The open store.
    ///
    /// # Errors
    /// As [`open`].
    pub async fn pool(&mut self) -> Result<SqlitePool, OpenError> {
        if let Some(pool) = &self.pool {
            return Ok(pool.clone());
        }
        let pool = open(&self.options).await?.pool;
        Ok(self.pool.insert(pool).clone())
    }

    /// A damaged file is moved aside when it is opened again.
    pub async fn close(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.close().await;
        }
    }
}
