//! Tasks of jobs over a real socket: kept before they are acknowledged, reported until the cloud has confirmed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "shared by several test binaries")]
mod cloud;

use std::path::Path;
use std::time::Duration;

use cloud::{Cloud, Edge, NODE, Peer, Service};
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::session::{Ack, Dialect, Item, Outcome};
use serde_json::{Value, json};

/// A job of this node, which runs no pods here: its check succeeds, its pull cannot.
fn task(job: &str) -> Message {
    let resource = format!("operations.kubeedge.io/v1alpha2/imageprepulljob/{job}/node/{NODE}");
    let route =
        Route::new(Source::TaskManager, Group::TaskManager, Operation::Check, resource.as_str().into());
    let spec = json!({"imagePrePullTemplate": {"images": ["a:1"], "nodeNames": [NODE]}});
    Message::new(route, Content::json(&spec).unwrap())
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory.join("tasks")).into_iter().flatten().count()
}

/// The next report about a task.
async fn step(peer: &mut Peer) -> Message {
    peer.hear_that(|item| match item {
        Item::Message(message) if message.route.operation == Operation::UpdateNodeActionStatus => {
            Some(message)
        }
        _ => None,
    })
    .await
}

fn action(message: &Message) -> (String, bool) {
    let report: Value = message.content.parse().unwrap();
    (report["action"].as_str().unwrap().to_owned(), report["succ"] == true)
}

async fn start(cloud: &Cloud, directory: &Path) -> Edge {
    Edge::start_with_jobs(cloud.settings(directory, &cloud.token().to_string()), directory).await
}

async fn nothing_left(directory: &Path) {
    e2e::eventually("no task is left", Duration::from_secs(10), || async {
        match files(directory) {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_stock_cloud_hears_each_step_in_its_own_shape_and_no_acknowledgement() {
    let mut cloud = Cloud::start(Service { dialect: Dialect::KubeEdge, ..Service::default() }).await;
    let directory = tempfile::tempdir().unwrap();
    let edge = start(&cloud, directory.path()).await;
    let mut peer = cloud.peer().await;
    let given = task("warm");
    peer.say(&[Item::Message(given.clone())]).await;
    let mut steps = Vec::new();
    while steps.len() < 2 {
        let said = peer.hear_json().await;
        assert_ne!(said["header"]["parent_msg_id"], given.header.id.to_string(), "{said}");
        if said["route"]["operation"] == "UpdateNodeActionStatus" {
            steps.push(said);
        }
    }
    for (said, (action, succeeded)) in steps.iter().zip([("Check", true), ("Pull", false)]) {
        let route = json!({
            "source": "websocket", "group": "hub", "operation": "UpdateNodeActionStatus",
            "resource": format!("operations.kubeedge.io/v1alpha2/imageprepulljob/warm/node/{NODE}"),
        });
        assert_eq!(said["route"], route);
        let keys: Vec<&String> = said["content"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["action", "succ", "finishTime", "reason", "extend"]);
        assert_eq!(
            (&said["content"]["action"], &said["content"]["succ"]),
            (&json!(action), &json!(succeeded))
        );
        let time = said["content"]["finishTime"].as_str().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
    }
    assert!(steps[1]["content"]["reason"].as_str().unwrap().contains("modules.edged.enable"), "{}", steps[1]);
    // Nobody answers: a later ping that is answered says that they arrived. Whoever does not read answers no pings.
    tokio::select! {
        () = nothing_left(directory.path()) => {}
        () = async { while peer.hear().await.is_some() {} } => panic!("the edge hung up"),
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_task_outlives_the_agent_and_each_step_is_told_until_it_is_confirmed() {
    let mut cloud = Cloud::start(Service { dialect: Dialect::SkerryV1, ..Service::default() }).await;
    let directory = tempfile::tempdir().unwrap();
    let edge = start(&cloud, directory.path()).await;
    let mut peer = cloud.peer().await;
    let given = task("warm");
    peer.say(&[Item::Message(given.clone())]).await;
    let ack = peer
        .hear_that(|item| match item {
            Item::Ack(ack) if ack.of == given.header.id => Some(ack),
            _ => None,
        })
        .await;
    assert_eq!(ack.outcome, Outcome::Done);
    assert_eq!(action(&step(&mut peer).await), ("Check".into(), true));
    edge.stop().await;
    assert_eq!(files(directory.path()), 1);

    // Not confirmed: the next agent tells it again, and then what came after.
    let edge = start(&cloud, directory.path()).await;
    let mut peer = cloud.peer().await;
    for expected in [("Check", true), ("Pull", false)] {
        let report = step(&mut peer).await;
        assert_eq!(action(&report), (expected.0.into(), expected.1));
        peer.say(&[Item::Ack(Ack::of(&report, Outcome::Done))]).await;
    }
    nothing_left(directory.path()).await;

    // A job that is gone.
    peer.say(&[Item::Message(task("gone"))]).await;
    let report = step(&mut peer).await;
    peer.say(&[Item::Ack(Ack::of(&report, Outcome::Rejected("there is no job gone".into())))]).await;
    nothing_left(directory.path()).await;
    edge.stop().await;
}

/// A file system of its own, gone with its value.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn at(path: std::path::PathBuf) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(&path)
            .status();
        assert!(mount.unwrap().success(), "mount a tmpfs at {}", path.display());
        Self(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Sends the task and awaits what the edge says to it.
async fn given(peer: &mut Peer, task: &Message) -> Outcome {
    peer.say(&[Item::Message(task.clone())]).await;
    peer.hear_that(|item| match item {
        Item::Ack(ack) if ack.of == task.header.id => Some(ack.outcome),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_task_that_finds_no_room_on_the_disk_is_not_taken_until_there_is_room() {
    let mut cloud = Cloud::start(Service { dialect: Dialect::SkerryV1, ..Service::default() }).await;
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::at(directory.path().join("tasks"));
    std::fs::write(disk.0.join("filler"), vec![0; 128 << 10]).unwrap_err();
    let edge = start(&cloud, directory.path()).await;
    let mut peer = cloud.peer().await;
    // The second time it is still not on disk.
    for _ in 0..2 {
        match given(&mut peer, &task("warm")).await {
            Outcome::Retry(reason) => assert!(reason.contains("cannot be kept in"), "{reason}"),
            taken => panic!("{taken:?}"),
        }
    }
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    assert_eq!(given(&mut peer, &task("warm")).await, Outcome::Done);
    let kept = std::fs::read_dir(&disk.0).unwrap().flatten();
    assert!(kept.into_iter().any(|entry| entry.path().extension().is_some_and(|it| it == "json")));
    // What was refused had not begun.
    assert_eq!(action(&step(&mut peer).await), ("Check".into(), true));
    edge.stop().await;
}

/// What the files of tasks hold of what was done.
fn kept(folder: &Path) -> Vec<Value> {
    let files = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    files
        .map(|path| {
            serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap()["reports"].clone()
        })
        .collect()
}

#[tokio::test]
async fn a_result_that_finds_no_room_on_the_disk_is_told_once_it_is_there() {
    let mut cloud = Cloud::start(Service { dialect: Dialect::SkerryV1, ..Service::default() }).await;
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::at(directory.path().join("tasks"));
    let edge = start(&cloud, directory.path()).await;
    let mut peer = cloud.peer().await;
    // Looking at the processors takes a second: time to fill the disk behind it.
    let mut slow = task("warm");
    let spec =
        json!({"imagePrePullTemplate": {"images": ["a:1"], "nodeNames": [NODE], "checkItems": ["cpu"]}});
    slow.content = Content::json(&spec).unwrap();
    assert_eq!(given(&mut peer, &slow).await, Outcome::Done);
    std::fs::write(disk.0.join("filler"), vec![0; 128 << 10]).unwrap_err();
    let told = tokio::time::timeout(Duration::from_secs(4), step(&mut peer)).await;
    assert!(told.is_err(), "told what is not on disk: {told:?}");
    assert_eq!(kept(&disk.0), [json!([])]);

    std::fs::remove_file(disk.0.join("filler")).unwrap();
    assert_eq!(action(&step(&mut peer).await).0, "Check");
    assert_eq!(kept(&disk.0)[0][0]["action"], "Check");
    edge.stop().await;
}
