//! Images that do not come: each says why and what to do, keeps no other from coming, and comes once the cause is gone.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::registry::PASSWORD;
use e2e::{Engine, Fault, Runtime, disk, eventually};
use nix::sys::statvfs::statvfs;
use serde_json::json;
use tokio::time::sleep;

use super::front::Front;
use super::site::{LIMIT, Options, Site};

/// Bytes that no other image has; more than fits into what is left of a full disk.
const LITTLE: usize = 1000;
const LARGE: usize = 12 << 20;
const LEFT: u64 = 4 << 20;

/// Turns one bit of a file over, and back when it is called again.
fn turn(file: &Path) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(file)?;
    let (mut byte, at) = ([0], file.metadata()?.len() / 2);
    file.read_exact_at(&mut byte, at)?;
    Ok(file.write_all_at(&[byte[0] ^ 1], at)?)
}

async fn each_refusal_is_told(runtime: Runtime) -> Result<()> {
    let site = Site::start(runtime).await?;
    let front = Front::of(site.registry.address()).await?;
    for name in ["team/app:1", "team/secret:1", "team/late:1"] {
        site.publish(name, LITTLE)?;
    }
    site.login("front", &front.address(), PASSWORD)?;
    site.login("wrong", &site.way.address().to_string(), "guessed")?;
    let (app, late) = (site.image("team/app:1"), site.image("team/late:1"));

    // What is final is asked for once, whatever the job says, and the others come.
    let (none, untagged) = (site.image("team/none:1"), site.image("team/app:none"));
    site.job("mixed", json!({ "images": [none, untagged, "UPPER:x:y", app], "retryTimes": 50 }))?;
    let missing = ["has no such repository or tag: push it, or correct the name"];
    let unnamed = ["write registry/repository:tag in images"];
    site.fails("mixed", &[(&none, &missing), (&untagged, &missing), ("UPPER:x:y", &unnamed), (&app, &[])])
        .await?;
    front.fail("team/secret", 403, None)?;
    let secret = front.image("team/secret:1");
    site.job("denied", json!({ "images": [secret], "imageSecrets": "default/front", "retryTimes": 50 }))?;
    let denied = ["denies it: correct the name, or let the user of secret default/front read it"];
    site.fails("denied", &[(&secret, &denied)]).await?;
    let asked = front.asked("team/secret").len();
    assert!((1..=4).contains(&asked), "a refusal that is final was asked for {asked} times");

    // With no secret, one for another registry, a wrong one.
    for (name, secret, words) in [
        ("open", "", "asks for a password: name a pull secret in imageSecrets"),
        ("other", "default/front", "asks for a password, and secret default/front has none for it"),
        ("guessed", "default/wrong", "refuses the name and password of secret default/wrong: correct them"),
    ] {
        site.job(name, json!({ "images": [late], "imageSecrets": secret, "retryTimes": 50 }))?;
        site.fails(name, &[(&late, &[words])]).await?;
    }
    site.job("right", json!({ "images": [late] }))?;
    site.ends("right", "Completed").await?;
    assert!(site.has(&late)?);
    Ok(())
}

async fn what_passes_is_asked_for_again(runtime: Runtime) -> Result<()> {
    let site = Site::start(runtime).await?;
    let front = Front::of(site.registry.address()).await?;
    // One secret for both.
    let config = json!({ "auths": {
        front.address(): { "username": e2e::registry::USER, "password": PASSWORD },
        site.way.address().to_string(): { "username": e2e::registry::USER, "password": PASSWORD },
        site.registry.address(): { "username": e2e::registry::USER, "password": PASSWORD },
    } });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "all" },
        "type": "kubernetes.io/dockerconfigjson", "stringData": { ".dockerconfigjson": config.to_string() },
    });
    site.stack.apply(&secret.to_string())?;
    let before = site.registry.blobs();
    site.publish("team/damaged:1", LITTLE)?;
    let blobs = site.registry.blobs();
    let size = |blob: &&std::path::PathBuf| blob.metadata().map_or(0, |of| of.len());
    let layer = blobs.difference(&before).max_by_key(size).context("a layer")?;
    turn(layer)?;
    for name in ["team/cut:1", "team/busy:1", "team/broken:1"] {
        site.publish(name, LITTLE)?;
    }
    let (cut, damaged) = (site.image("team/cut:1"), site.registry.image("team/damaged:1"));
    let (busy, broken) = (front.image("team/busy:1"), front.image("team/broken:1"));
    let images = json!([cut, damaged, broken, busy]);

    site.way.set(Fault::Refuse);
    front.fail("team/busy", 429, None)?;
    front.fail("team/broken", 503, None)?;
    site.job("once", json!({ "images": images, "imageSecrets": "default/all" }))?;
    let expected: [(&str, &[&str]); 4] = [
        (&cut, &["cannot be reached or says nothing more: check that it runs, and the node's way to it"]),
        (&damaged, &["what the registry", "sent is damaged: push the image again"]),
        (&broken, &["fails: see its log"]),
        (&busy, &["was asked too often: wait, lower concurrency, or raise retryTimes"]),
    ];
    site.fails("once", &expected).await?;

    front.fail("team/busy", 429, Some(Duration::from_secs(2)))?;
    front.fail("team/broken", 503, Some(Duration::from_millis(500)))?;
    site.job("again", json!({ "images": images, "imageSecrets": "default/all", "retryTimes": 5 }))?;
    eventually("all were asked for once", LIMIT, || async {
        if front.asked("team/busy").is_empty() { Err("not yet") } else { Ok(()) }
    })
    .await?;
    site.way.set(Fault::None);
    turn(layer)?;
    site.ends("again", "Completed").await?;
    for image in [&cut, &damaged, &broken, &busy] {
        assert!(site.has(image)?, "{image}");
    }
    let asked = front.asked("team/busy");
    let pause = asked.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default();
    assert!(pause >= Duration::from_secs(2), "who asks too often waits: {pause:?}");
    Ok(())
}

async fn a_silent_registry_is_given_up(runtime: Runtime) -> Result<()> {
    const SILENCE: Duration = Duration::from_secs(6);
    let options = Options { silence: Some("6s"), ..Options::default() };
    let site = Site::start_with(runtime, options).await?;
    for name in ["team/silent:1", "team/app:1"] {
        site.publish(name, LITTLE)?;
    }
    site.login("here", &site.registry.address(), PASSWORD)?;
    let (silent, app) = (site.image("team/silent:1"), site.registry.image("team/app:1"));
    site.way.set(Fault::Silence);
    if let Engine::Containerd(containerd) = &site.engine {
        // All bytes of an image are here, and unpacking them takes long: the snapshot is what is seen of it.
        containerd.ctr(&["snapshots", "prepare", "extract-1-test"])?;
    }
    site.job("silent", json!({ "images": [silent, app], "imageSecrets": "default/here" }))?;
    if let Engine::Containerd(containerd) = &site.engine {
        sleep(SILENCE * 5 / 2).await;
        let status = site.status("silent")?;
        assert_ne!(status["phase"], "Failure", "{status:#}");
        containerd.ctr(&["snapshots", "rm", "extract-1-test"])?;
    }
    let words = ["cannot be reached or says nothing more", "nothing came from the registry for 6 s"];
    site.fails("silent", &[(&silent, &words), (&app, &[])]).await?;
    site.way.set(Fault::None);
    site.job("heard", json!({ "images": [silent] }))?;
    site.ends("heard", "Completed").await?;
    assert!(site.has(&silent)?);
    Ok(())
}

async fn a_full_disk_is_told(runtime: Runtime) -> Result<()> {
    let site = Site::start_with(runtime, Options { disk: Some("96m"), ..Options::default() }).await?;
    site.publish("team/large:1", LARGE)?;
    // Its layer is here already.
    site.publish("team/light:1", 0)?;
    let (large, light) = (site.image("team/large:1"), site.image("team/light:1"));
    let free = || -> Result<u64> {
        let disk = statvfs(&site.disk())?;
        Ok(disk.blocks_available() * disk.fragment_size())
    };
    eventually("what was published is gone from here", LIMIT, || async {
        let free = free().map_err(|error| error.to_string())?;
        if free > 70 << 20 { Ok(()) } else { Err(free.to_string()) }
    })
    .await?;
    let filler = disk::fill(&site.disk())?;
    let full = filler.metadata()?.len();
    OpenOptions::new().write(true).open(&filler)?.set_len(full.saturating_sub(LEFT))?;

    site.job("full", json!({ "images": [large, light], "retryTimes": 1 }))?;
    let disk = site.disk().display().to_string();
    let words = ["no space left on ", disk.as_str(), ": free some, or lower imageGCHighThresholdPercent"];
    site.fails("full", &[(&large, &words), (&light, &[])]).await?;
    eventually("nothing of the large one is left", LIMIT, || async {
        let free = free().map_err(|error| error.to_string())?;
        if free > LEFT - (1 << 20) { Ok(()) } else { Err(format!("{free} bytes are free")) }
    })
    .await?;
    std::fs::remove_file(filler)?;
    site.job("freed", json!({ "images": [large, light] }))?;
    site.ends("freed", "Completed").await?;
    assert!(site.has(&large)?);
    Ok(())
}

#[tokio::test]
async fn each_refusal_says_what_to_do_and_the_others_come_on_containerd() -> Result<()> {
    each_refusal_is_told(Runtime::Containerd).await
}

#[tokio::test]
async fn each_refusal_says_what_to_do_and_the_others_come_on_docker() -> Result<()> {
    each_refusal_is_told(Runtime::Docker).await
}

#[tokio::test]
async fn what_passes_by_itself_is_asked_for_again_on_containerd() -> Result<()> {
    what_passes_is_asked_for_again(Runtime::Containerd).await
}

#[tokio::test]
async fn what_passes_by_itself_is_asked_for_again_on_docker() -> Result<()> {
    what_passes_is_asked_for_again(Runtime::Docker).await
}

#[tokio::test]
async fn a_registry_that_falls_silent_is_given_up_on_containerd() -> Result<()> {
    a_silent_registry_is_given_up(Runtime::Containerd).await
}

#[tokio::test]
async fn a_registry_that_falls_silent_is_given_up_on_docker() -> Result<()> {
    a_silent_registry_is_given_up(Runtime::Docker).await
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_half_pulled_is_left_on_it_on_containerd() -> Result<()> {
    a_full_disk_is_told(Runtime::Containerd).await
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_half_pulled_is_left_on_it_on_docker() -> Result<()> {
    a_full_disk_is_told(Runtime::Docker).await
}
