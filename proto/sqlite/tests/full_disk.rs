//! A disk that is really full, and what is committed after it has room again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sqlite::{Durability, Options, Transaction, is_disk_trouble};
use sqlx::SqlitePool;

struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Self {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(at).status();
        assert!(status.unwrap().success(), "mount a tmpfs at {}", at.display());
        Self(at.to_owned())
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[0; 1024]).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn insert(pool: &SqlitePool, value: i64) -> Result<(), sqlx::Error> {
    let mut transaction = Transaction::begin(pool).await?;
    sqlx::query("INSERT INTO t VALUES (?, randomblob(3000))").bind(value).execute(&mut *transaction).await?;
    transaction.commit().await
}

#[tokio::test]
async fn what_is_committed_after_the_disk_was_full_is_there_for_others() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::mount(directory.path());
    let options = Options {
        path: directory.path().join("test.db"),
        steps: &["CREATE TABLE t (v INTEGER, filling BLOB)"],
        durability: Durability::Full,
    };
    let store = sqlite::open(&options).await.unwrap().pool;
    insert(&store, 1).await.unwrap();
    disk.fill();
    for _ in 0..3 {
        let error = insert(&store, 2).await.unwrap_err();
        assert!(is_disk_trouble(&error), "{error}");
    }
    disk.empty();
    insert(&store, 3).await.unwrap();
    let other = sqlite::open(&options).await.unwrap().pool;
    let there: Vec<i64> = sqlx::query_scalar("SELECT v FROM t ORDER BY v").fetch_all(&other).await.unwrap();
    assert_eq!(there, [1, 3]);
    // One that is let go is not there either, and the next can begin.
    let mut given_up = Transaction::begin(&store).await.unwrap();
    sqlx::query("INSERT INTO t VALUES (4, NULL)").execute(&mut *given_up).await.unwrap();
    drop(given_up);
    insert(&store, 5).await.unwrap();
    let there: Vec<i64> = sqlx::query_scalar("SELECT v FROM t ORDER BY v").fetch_all(&other).await.unwrap();
    assert_eq!(there, [1, 3, 5]);
    store.close().await;
    other.close().await;
}
