mod files;

use proptest::prelude::*;
use serde_json::json;

use super::*;

struct Room {
    dir: tempfile::TempDir,
    tasks: TaskSet,
    store: Store,
}

fn small(dir: &tempfile::TempDir) -> Config {
    Config { history_events: 8, ..Config::new(dir.path().join("test.db")) }
}

async fn room() -> Room {
    let dir = tempfile::tempdir().unwrap();
    let tasks = TaskSet::new("test");
    let store = Store::open(small(&dir), &tasks).await.unwrap();
    Room { dir, tasks, store }
}

impl Room {
    async fn restart(self) -> Self {
        drop(self.store);
        assert!(self.tasks.shutdown(Duration::from_secs(5)).await.is_clean());
        let tasks = TaskSet::new("test");
        let store = Store::open(small(&self.dir), &tasks).await.unwrap();
        Self { dir: self.dir, tasks, store }
    }
}

fn pods() -> Collection {
    Collection::new("", "pods")
}

fn id(name: &str) -> ObjectId {
    ObjectId::new(&pods(), "default", name)
}

fn pod(name: &str, n: u64) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "n": n})
}

fn names(page: &Page) -> Vec<String> {
    page.objects.iter().map(|(key, object)| format!("{}={}", key.name, object.value()["n"])).collect()
}

fn all(at: Option<u64>) -> Page {
    Page { objects: Vec::new(), revision: at.unwrap_or_default(), remaining: 0 }
}

fn list(store: &Store, at: Option<u64>) -> Result<Page, Compacted> {
    store.list(&ListQuery { collection: &pods(), namespace: None, at, after: None, limit: 0 }, |_| true)
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_with_its_revision() {
    let room = room().await;
    let one = room.store.create(id("a"), pod("a", 1)).await.unwrap();
    let two = room.store.update(id("a"), one.revision, pod("a", 2)).await.unwrap();
    let gone = room.store.create(id("b"), pod("b", 1)).await.unwrap();
    let removed = room.store.delete(id("b"), gone.revision).await.unwrap();
    assert!(one.revision < two.revision && gone.revision < removed.revision);
    assert_eq!(removed.value()["metadata"]["resourceVersion"], json!(removed.revision.to_string()));

    let room = room.restart().await;
    assert_eq!(room.store.revision(), removed.revision);
    assert_eq!(room.store.get(&id("a")).unwrap().json(), two.json());
    assert!(room.store.get(&id("b")).is_none());
    let mut watcher = room.store.watch(&pods(), one.revision);
    let kinds: Vec<_> = watcher.next().await.unwrap().events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Modified, EventKind::Added, EventKind::Deleted]);
}

#[tokio::test]
async fn the_second_writer_with_the_same_revision_gets_a_conflict() {
    let room = room().await;
    let first = room.store.create(id("a"), pod("a", 1)).await.unwrap();
    let (left, right) = tokio::join!(
        room.store.update(id("a"), first.revision, pod("a", 2)),
        room.store.update(id("a"), first.revision, pod("a", 3)),
    );
    let current = left.unwrap().revision;
    assert_eq!(right.unwrap_err(), WriteError::Conflict { current });
    assert_eq!(room.store.create(id("a"), pod("a", 1)).await.unwrap_err(), WriteError::AlreadyExists);
    assert_eq!(room.store.delete(id("x"), 1).await.unwrap_err(), WriteError::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_that_others_were_faster_finds_what_they_wrote() {
    let room = room().await;
    for number in 0..200 {
        let id = id(&format!("p{number}"));
        let tries = (0..4).map(async |try_| {
            let made = room.store.create(id.clone(), pod("p", try_)).await;
            assert!(room.store.get(&id).is_some(), "{made:?}, and it is not there");
            made.is_ok()
        });
        let made = futures::future::join_all(tries).await;
        assert_eq!(made.into_iter().filter(|made| *made).count(), 1);
    }
}

#[tokio::test]
async fn a_watcher_that_falls_out_of_the_history_is_told_to_list_again() {
    let room = room().await;
    let mut last = room.store.create(id("a"), pod("a", 0)).await.unwrap().revision;
    let mut slow = room.store.watch(&pods(), last);
    for n in 1..20 {
        last = room.store.update(id("a"), last, pod("a", n)).await.unwrap().revision;
    }
    assert!(slow.next().await.is_err());
    let mut resumed = room.store.watch(&pods(), last - 3);
    assert_eq!(resumed.next().await.unwrap().events.len(), 3);
    assert!(list(&room.store, Some(2)).is_err());
}

#[tokio::test]
async fn pages_show_the_collection_as_it_was_when_the_first_was_read() {
    let room = room().await;
    for name in ["a", "b", "c", "d"] {
        room.store.create(id(name), pod(name, 0)).await.unwrap();
    }
    let at = room.store.revision();
    let before = names(&list(&room.store, None).unwrap());
    room.store.delete(id("a"), room.store.get(&id("a")).unwrap().revision).await.unwrap();
    room.store.update(id("c"), room.store.get(&id("c")).unwrap().revision, pod("c", 9)).await.unwrap();
    room.store.create(id("e"), pod("e", 0)).await.unwrap();
    assert_eq!(names(&list(&room.store, Some(at)).unwrap()), before);

    let key = Key::new("default", "b");
    let query = ListQuery {
        collection: &pods(),
        namespace: Some("default"),
        at: Some(at),
        after: Some(&key),
        limit: 1,
    };
    let page = room.store.list(&query, |_| true).unwrap();
    assert_eq!((names(&page), page.remaining), (vec!["c=0".to_owned()], 1));
}

#[tokio::test]
async fn the_file_does_not_grow_with_the_number_of_updates_and_nothing_compacted_comes_back() {
    let room = room().await;
    let mut last = room.store.create(id("a"), pod("a", 0)).await.unwrap().revision;
    let doomed = room.store.create(id("doomed"), pod("doomed", 0)).await.unwrap().revision;
    room.store.delete(id("doomed"), doomed).await.unwrap();
    for n in 1..400 {
        last = room.store.update(id("a"), last, pod("a", n)).await.unwrap().revision;
    }
    let room = room.restart().await;
    assert_eq!(names(&list(&room.store, None).unwrap()), ["a=399"]);
    assert_eq!(room.store.revision(), last);
    assert!(room.store.watch(&pods(), 2).look().is_err());
    let file = room.dir.path().join("test.db");
    drop(room.store);
    assert!(room.tasks.shutdown(Duration::from_secs(5)).await.is_clean());
    let mut connection =
        <sqlx::SqliteConnection as sqlx::Connection>::connect(file.to_str().unwrap()).await.unwrap();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM log").fetch_one(&mut connection).await.unwrap();
    assert!(rows < 100, "{rows} rows are left");
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_refused_in_one_sentence_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path().join("test.db"));
    std::fs::write(&config.path, [7_u8; 8192]).unwrap();
    let error = Store::open(config.clone(), &TaskSet::new("test")).await.unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    assert_eq!(std::fs::read(&config.path).unwrap(), [7_u8; 8192]);

    let missing = Config::new(dir.path().join("no/such/dir.db"));
    let error = Store::open(missing, &TaskSet::new("test")).await.unwrap_err();
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
}

#[tokio::test]
async fn a_file_in_use_by_another_process_is_refused() {
    let room = room().await;
    let error = Store::open(small(&room.dir), &TaskSet::new("second")).await.unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
}

#[tokio::test]
async fn a_hundred_writers_get_a_hundred_different_revisions() {
    let room = room().await;
    let writes = (0..100).map(|n| {
        let store = room.store.clone();
        async move { store.create(id(&format!("p{n}")), pod("p", n)).await.unwrap().revision }
    });
    let mut revisions = futures::future::join_all(writes).await;
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 100);
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Remove(u8),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![8 => (0..5_u8).prop_map(Step::Put), 3 => (0..5_u8).prop_map(Step::Remove), 1 => Just(Step::Restart)];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Every list at an old revision is what was there then or is refused, whatever happened since, restarts included.
    #[test]
    fn the_past_is_told_truly_or_not_at_all(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut room = room().await;
            let mut seen: Vec<Vec<String>> = vec![names(&all(None)); 2];
            for (n, step) in steps.into_iter().enumerate() {
                let n = n as u64;
                match step {
                    Step::Restart => { room = room.restart().await; continue; }
                    Step::Put(which) => {
                        let (id, object) = (id(&which.to_string()), pod(&which.to_string(), n));
                        match room.store.get(&id) {
                            Some(current) => room.store.update(id, current.revision, object).await.unwrap(),
                            None => room.store.create(id, object).await.unwrap(),
                        };
                    }
                    Step::Remove(which) => {
                        let id = id(&which.to_string());
                        let Some(current) = room.store.get(&id) else { continue };
                        room.store.delete(id, current.revision).await.unwrap();
                    }
                }
                assert_eq!(room.store.revision() as usize, seen.len());
                seen.push(names(&list(&room.store, None).unwrap()));
                for (revision, was) in seen.iter().enumerate().skip(1) {
                    if let Ok(page) = list(&room.store, Some(revision as u64)) {
                        assert_eq!(&names(&page), was, "at revision {revision}");
                    }
                }
            }
        });
    }
}
