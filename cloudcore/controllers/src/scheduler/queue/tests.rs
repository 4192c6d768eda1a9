use serde_json::json;

use super::*;

fn pod(name: &str, priority: i32, second: i64) -> Arc<Pending> {
    changed(name, priority, second, 1)
}

fn changed(name: &str, priority: i32, second: i64, generation: i64) -> Arc<Pending> {
    let created = Timestamp::from_second(second).unwrap().to_string();
    let pod = json!({
        "metadata": {"name": name, "uid": name, "namespace": "n", "creationTimestamp": created, "generation": generation},
        "spec": {"containers": [], "priority": priority},
    });
    Arc::new(Pending::of(&serde_json::from_value(pod).unwrap()).unwrap())
}

fn next(queue: &mut Queue, now: Instant) -> Option<String> {
    queue.pop(now).map(|pod| pod.uid().to_owned())
}

const ANY: Needs = Needs { pods: false, fewer_pods: false, volumes: false };

#[test]
fn the_more_important_come_first_and_then_the_older() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for (name, priority, second) in [("young", 0, 9), ("old", 0, 1), ("high", 5, 9)] {
        queue.put(pod(name, priority, second), now);
    }
    let order: Vec<_> = std::iter::from_fn(|| next(&mut queue, now)).collect();
    assert_eq!(order, ["high", "old", "young"]);
}

#[test]
fn pauses_double_up_to_ten_seconds() {
    let (mut queue, mut now) = (Queue::default(), Instant::now());
    queue.put(pod("p", 0, 1), now);
    for seconds in [1, 2, 4, 8, 10, 10] {
        assert!(queue.pop(now).is_some());
        queue.rest("p");
        let due = queue.due(now).unwrap();
        assert_eq!(due - now, Duration::from_secs(seconds));
        assert!(queue.pop(due - Duration::from_millis(1)).is_none());
        now = due;
    }
}

#[test]
fn who_found_no_node_waits_for_help_and_is_not_forgotten() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.put(pod("p", 0, 1), now);
    assert!(queue.pop(now).is_some());
    queue.park("p", ANY, now);
    assert_eq!(queue.due(now), Some(now + FORGOTTEN + moment("p")));

    queue.wake(now, |_, _| false);
    assert_eq!(queue.due(now), Some(now + FORGOTTEN + moment("p")));
    queue.wake(now, |_, _| true);
    assert_eq!(queue.due(now), Some(now + FIRST_PAUSE), "not before its pause is over");

    let later = now + Duration::from_secs(60);
    assert!(queue.pop(later).is_some());
    queue.park("p", ANY, later);
    let rested = later + Duration::from_secs(30);
    queue.wake(rested, |_, _| true);
    assert_eq!(next(&mut queue, rested).as_deref(), Some("p"));
    queue.park("p", ANY, rested);
    assert_eq!(next(&mut queue, rested + FORGOTTEN + SPREAD).as_deref(), Some("p"));
}

#[test]
fn a_change_of_the_pod_itself_is_tried_and_one_that_matters_not_is_not() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.put(pod("p", 0, 1), now);
    assert!(queue.pop(now).is_some());
    queue.park("p", ANY, now);
    queue.put(pod("p", 0, 1), now + LONGEST_PAUSE);
    assert!(queue.pop(now + LONGEST_PAUSE).is_none());
    queue.put(changed("p", 0, 1, 2), now + LONGEST_PAUSE);
    assert!(queue.pop(now + LONGEST_PAUSE).is_some());
}

#[test]
fn thousands_that_nothing_helped_are_not_tried_together() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for _ in 0..5000 {
        let name = uuid();
        queue.put(pod(&name, 0, 1), now);
        assert!(queue.pop(now).is_some());
        queue.park(&name, ANY, now);
    }
    let end = now + FORGOTTEN;
    assert!(queue.pop(end - Duration::from_millis(1)).is_none(), "not before 5 minutes");
    for second in 1..=30 {
        let tried = std::iter::from_fn(|| next(&mut queue, end + Duration::from_secs(second))).count();
        assert!((80..300).contains(&tried), "{tried} in second {second}");
    }
    assert!(queue.due(end).is_none());
}

fn uuid() -> String {
    let (high, low) = (fastrand::u64(..), fastrand::u64(..));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

proptest::proptest! {
    /// Against a list that is searched anew each time.
    #[test]
    fn nobody_is_lost_and_nobody_comes_twice(steps in proptest::collection::vec((0_u8..6, 0_usize..5, 0_u64..400), 1..80)) {
            let (mut queue, mut now) = (Queue::default(), Instant::now());
            let names = ["a", "b", "c", "d", "e"];
            let (mut waiting, mut taken) = (BTreeSet::new(), BTreeSet::new());
            for (step, which, seconds) in steps {
                let name = names[which];
                match step {
                    0 => {
                        queue.put(pod(name, 0, 1), now);
                        if !taken.contains(name) { waiting.insert(name.to_owned()); }
                    }
                    1 => { queue.remove(name); waiting.remove(name); taken.remove(name); }
                    2 => if let Some(uid) = next(&mut queue, now) {
                        assert!(waiting.remove(&uid), "{uid} came though it did not wait");
                        taken.insert(uid);
                    },
                    3 => if taken.remove(name) { queue.park(name, ANY, now); waiting.insert(name.to_owned()); },
                    4 => if taken.remove(name) { queue.rest(name); waiting.insert(name.to_owned()); },
                    _ => { queue.wake(now, |pod, _| pod.uid() == name); now += Duration::from_secs(seconds); }
                }
            }
            let end = now + FORGOTTEN + SPREAD;
            let left: BTreeSet<_> = std::iter::from_fn(|| next(&mut queue, end)).collect();
            assert_eq!(left, waiting);
            assert!(queue.due(end).is_none());
    }
}
