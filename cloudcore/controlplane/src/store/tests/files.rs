//! The file: its versions, its size, its snapshots.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sqlx::{Connection, SqliteConnection};

use super::*;
use crate::store::disk::kept_aside;

/// A file as the first release wrote it.
const VERSION_1: &str = r#"
    PRAGMA journal_mode = WAL;
    CREATE TABLE log (revision INTEGER PRIMARY KEY, written INTEGER NOT NULL, collection TEXT NOT NULL,
        namespace TEXT NOT NULL, name TEXT NOT NULL, object BLOB);
    CREATE TABLE compacted (collection TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID;
    PRAGMA user_version = 1;
    INSERT INTO compacted VALUES ('pods', 3);
    INSERT INTO log VALUES
        (2, 100, 'pods', 'default', 'a', '{"metadata":{"name":"a","namespace":"default","resourceVersion":"2"},"n":1}'),
        (5, 101, 'pods', 'default', 'a', '{"metadata":{"name":"a","namespace":"default","resourceVersion":"5"},"n":2}'),
        (6, 102, 'pods', 'default', 'b', '{"metadata":{"name":"b","namespace":"default","resourceVersion":"6"},"n":1}'),
        (7, 103, 'pods', 'default', 'b', NULL);
"#;

async fn connect(file: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", file.display())).await.unwrap()
}

async fn number(connection: &mut SqliteConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
}

async fn write_by_hand(file: &Path, sql: &'static str) {
    let mut connection = connect(file).await;
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn open(config: &Config) -> (TaskSet, Store) {
    let tasks = TaskSet::new("test");
    let store = Store::open(config.clone(), &tasks).await.unwrap();
    (tasks, store)
}

async fn close(tasks: TaskSet, store: Store) {
    drop(store);
    assert!(tasks.shutdown(Duration::from_secs(5)).await.is_clean());
}

#[tokio::test]
async fn an_older_file_is_upgraded_with_all_it_holds_and_kept_aside_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path().join("test.db"));
    write_by_hand(&config.path, VERSION_1).await;
    // An upgrade that was cut off left this.
    std::fs::write(dir.path().join("test.db.half"), "half a copy").unwrap();

    let (tasks, store) = open(&config).await;
    assert_eq!(names(&list(&store, None).unwrap()), ["a=2"]);
    assert_eq!(store.revision(), 7);
    assert!(store.watch(&pods(), 2).look().is_err(), "what was compacted stays so");
    assert_eq!(store.watch(&pods(), 4).look().unwrap().events.len(), 3);
    assert_eq!(store.create(id("c"), pod("c", 1)).await.unwrap().revision, 8);
    close(tasks, store).await;

    let mut new = connect(&config.path).await;
    assert_eq!(number(&mut new, "PRAGMA user_version").await, i64::from(proto::backup::SCHEMA));
    assert_eq!(number(&mut new, "PRAGMA auto_vacuum").await, 2);
    let aside = kept_aside(&config.path, 1);
    assert_eq!(aside.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut old = connect(&aside).await;
    assert_eq!(number(&mut old, "PRAGMA user_version").await, 1);
    assert_eq!(number(&mut old, "SELECT count(*) FROM log").await, 4);
    let names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("half")), "{names:?}");

    // The next start finds nothing to do and leaves the copy alone.
    old.close().await.unwrap();
    new.close().await.unwrap();
    let kept = std::fs::read(&aside).unwrap();
    let (tasks, store) = open(&config).await;
    assert_eq!(names_now(&store), ["a=2", "c=1"]);
    close(tasks, store).await;
    assert_eq!(std::fs::read(&aside).unwrap(), kept);
}

fn names_now(store: &Store) -> Vec<String> {
    names(&list(store, None).unwrap())
}

#[tokio::test]
async fn a_newer_file_and_a_foreign_one_are_refused_with_what_to_do_and_left_alone() {
    for (sql, found) in [
        ("PRAGMA user_version = 999", 999),
        ("CREATE TABLE recipes (cake TEXT)", 0),
        ("PRAGMA user_version = -1", -1),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path().join("test.db"));
        write_by_hand(&config.path, sql).await;
        let error = Store::open(config.clone(), &TaskSet::new("test")).await.unwrap_err();
        assert!(matches!(error, OpenError::Version { found: version, .. } if version == found), "{error}");
        assert!(error.to_string().contains("run the newer cloudcore"), "{error}");
        let mut file = connect(&config.path).await;
        assert_eq!(number(&mut file, "PRAGMA user_version").await, found);
        assert_eq!(number(&mut file, "SELECT count(*) FROM sqlite_schema WHERE name = 'log'").await, 0);
    }
}

#[tokio::test]
async fn the_file_shrinks_after_a_mass_deletion_while_writes_go_on() {
    let room = room().await;
    let file = room.dir.path().join("test.db");
    let size = || std::fs::metadata(&file).unwrap().len();
    let stuffed = |name: &str| {
        let mut object = pod(name, 0);
        object["stuffing"] = "x".repeat(8000).into();
        object
    };
    let store = &room.store;
    let created = (0..1500).map(|n| {
        let name = format!("p{n}");
        async move { store.create(id(&name), stuffed(&name)).await.unwrap().revision }
    });
    let revisions = futures::future::join_all(created).await;
    let steady = store.create(id("steady"), pod("steady", 0)).await.unwrap().revision;
    let full = size();
    assert!(full > 8_000_000, "{full}");

    let deleted = revisions.into_iter().enumerate().map(|(n, revision)| async move {
        store.delete(id(&format!("p{n}")), revision).await.unwrap();
    });
    let go_on = async {
        let (mut last, mut n) = (steady, 0);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while size() > full / 2 {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{} of {full} bytes are left after {n} writes",
                size()
            );
            n += 1;
            last = store.update(id("steady"), last, pod("steady", n)).await.unwrap().revision;
        }
        n
    };
    let (_, n) = tokio::join!(futures::future::join_all(deleted), go_on);
    let room = room.restart().await;
    assert_eq!(names_now(&room.store), [format!("steady={n}")]);
}

#[tokio::test]
async fn the_file_shrinks_when_nobody_writes_either() {
    let dir = tempfile::tempdir().unwrap();
    let config = small(&dir);
    let (tasks, store) = open(&config).await;
    close(tasks, store).await;
    write_by_hand(
        &config.path,
        "CREATE TABLE ballast (x); INSERT INTO ballast VALUES (zeroblob(20000000)); DROP TABLE ballast;",
    )
    .await;
    let size = || std::fs::metadata(&config.path).unwrap().len();
    assert!(size() > 20_000_000);
    let (tasks, store) = open(&config).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while size() > 5_000_000 {
        assert!(tokio::time::Instant::now() < deadline, "{} bytes are left", size());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    close(tasks, store).await;
}

#[tokio::test]
async fn a_snapshot_taken_while_others_write_is_the_state_at_its_revision_and_continues_far_ahead() {
    let room = room().await;
    for n in 0..500 {
        room.store.create(id(&format!("p{n:03}")), pod("p", n)).await.unwrap();
    }
    let others = Collection::new("", "secrets");
    let other = ObjectId::new(&others, "default", "s");
    let secret = room.store.create(other.clone(), pod("s", 0)).await.unwrap().revision;
    room.store.delete(other, secret).await.unwrap();

    let copy = Config::new(room.dir.path().join("copy.db"));
    let store = room.store.clone();
    let snapshot = async { room.store.snapshot(&copy.path).await.unwrap() };
    let storm = async {
        let mut kept = std::collections::HashMap::new();
        let mut last = store.create(id("storm"), pod("storm", 0)).await.unwrap().revision;
        for n in 1..200 {
            kept.insert(last, n - 1);
            last = store.update(id("storm"), last, pod("storm", n)).await.unwrap().revision;
        }
        kept.insert(last, 199);
        (kept, last)
    };
    let (at, (stormed, last)) = tokio::join!(snapshot, storm);

    let (tasks, restored) = open(&copy).await;
    let mut objects = list(&restored, None).unwrap().objects;
    let storm = objects.iter().position(|(key, _)| &*key.name == "storm").map(|index| objects.remove(index));
    let n = storm.map(|(_, object)| object.value()["n"].as_u64().unwrap());
    let then = stormed.iter().filter(|(revision, _)| **revision <= at).max_by_key(|(revision, _)| **revision);
    assert_eq!(n, then.map(|(_, n)| *n), "at revision {at}");
    assert_eq!(objects.len(), 500);
    for pair in objects.windows(2) {
        assert!(pair[0].1.revision < pair[1].1.revision, "the order of the last changes is kept");
    }
    for (_, object) in &objects {
        assert!(object.revision > last, "a revision that was given out before is given out again");
        assert_eq!(object.value()["metadata"]["resourceVersion"], object.revision.to_string());
    }
    for collection in [pods(), others, Collection::new("", "nodes")] {
        assert!(restored.watch(&collection, last).look().is_err(), "{collection}");
        let query =
            ListQuery { collection: &collection, namespace: None, at: Some(last), after: None, limit: 0 };
        assert!(restored.list(&query, |_| true).is_err(), "{collection}");
        assert!(restored.watch(&collection, restored.revision()).look().is_ok(), "{collection}");
    }
    let now = restored.revision();
    assert!(now >= at + 1_000_000_000);
    let first = restored.create(id("first"), pod("first", 1)).await.unwrap().revision;
    assert_eq!(first, now + 1);
    close(tasks, restored).await;

    // Only the first opening jumps.
    let (tasks, restored) = open(&copy).await;
    assert_eq!(restored.revision(), first);
    assert_eq!(restored.watch(&pods(), now).look().unwrap().events.len(), 1);
    close(tasks, restored).await;
}

#[tokio::test]
async fn the_same_snapshot_restored_twice_never_gives_out_a_revision_twice() {
    let room = room().await;
    room.store.create(id("a"), pod("a", 1)).await.unwrap();
    let mut highest = 0;
    for round in 0..3 {
        let copy = Config::new(room.dir.path().join(format!("copy{round}.db")));
        room.store.snapshot(&copy.path).await.unwrap();
        let (tasks, restored) = open(&copy).await;
        let lowest = restored.get(&id("a")).unwrap().revision;
        assert!(lowest > highest, "{lowest} after {highest}");
        highest = restored.create(id("b"), pod("b", 1)).await.unwrap().revision;
        close(tasks, restored).await;
    }
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_written_says_where_and_why() {
    let room = room().await;
    let error = room.store.snapshot(Path::new("/no/such/dir/copy.db")).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/dir/copy.db") && error.contains("unable to open"), "{error}");
}
