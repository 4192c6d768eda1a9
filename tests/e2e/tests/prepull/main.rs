//! An ImagePrePullJob fetches images onto a real node before a pod wants them, whoever is killed meanwhile.

mod front;
mod refused;
mod site;

use anyhow::Result;
use e2e::{Fault, Runtime, eventually};
use serde_json::{Value, json};
use site::{LIMIT, Site};

async fn images_wait_for_their_pod(runtime: Runtime) -> Result<()> {
    let site = Site::start(runtime).await?;
    let names = ["team/app:1", "team/db:1"];
    names.iter().try_for_each(|name| site.publish(name, 0))?;
    let images = names.map(|name| site.image(name));
    site.job("warm", json!({ "images": images }))?;
    let status = site.ends("warm", "Completed").await?;
    let node = &status["nodeStatus"][0];
    let steps: Vec<_> =
        node["actionFlow"].as_array().into_iter().flatten().map(|step| &step["action"]).collect();
    assert_eq!(steps, ["Check", "Pull"], "{status}");
    assert_eq!((&node["nodeName"], &node["phase"]), (&json!("edge1"), &json!("Successful")));
    for (at, image) in images.iter().enumerate() {
        assert_eq!(node["imageStatus"][at], json!({ "image": image, "status": "True" }));
        assert!(site.has(image)?, "{image}");
    }
    // The scheduler hears of it before the node would have looked by itself, which it does every five minutes.
    eventually("the node's status lists them", LIMIT, || async {
        let path = "jsonpath={.status.images[*].names[*]}";
        let listed =
            site.stack.kubectl(&["get", "node", "edge1", "-o", path]).map_err(|error| error.to_string())?;
        if images.iter().all(|image| listed.contains(image.as_str())) { Ok(()) } else { Err(listed) }
    })
    .await?;
    let table = site.stack.kubectl(&["get", "imageprepulljobs"])?;
    let row: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row[..3], ["warm", "Completed", "1/1"], "{table}");
    let told = site.stack.kubectl(&["describe", "imageprepulljob", "warm"])?;
    assert!(told.contains("2 images for 1 node") && told.contains("1/1 nodes are done"), "{told}");
    let old = site.stack.kubectl(&[
        "get",
        "imageprepulljobs.v1alpha1.operations.kubeedge.io",
        "warm",
        "-o",
        "json",
    ])?;
    assert!(old.contains("operations.kubeedge.io/v1alpha1") && old.contains("team/db:1"), "{old}");

    let mut pod = e2e::pod::sleeper("app", "edge1")?;
    for container in pod.spec.iter_mut().flat_map(|spec| &mut spec.containers) {
        container.image = Some(images[0].clone());
        container.image_pull_policy = Some("Never".into());
    }
    site.stack.apply(&serde_json::to_string(&pod)?)?;
    e2e::pod::ready(&site.stack.client(), "app", LIMIT).await?;

    // One image of two that does not exist: the node failed, and the job bears it if it may.
    let half = json!([images[1], site.image("team/none:1")]);
    site.job("strict", json!({ "images": half, "retryTimes": 1 }))?;
    let status = site.ends("strict", "Failure").await?;
    assert!(
        status["reason"].as_str().unwrap_or_default().contains("1 of 2 images were not pulled"),
        "{status}"
    );
    let images_of = &status["nodeStatus"][0]["imageStatus"];
    assert_eq!(
        (&images_of[0]["status"], &images_of[1]["status"]),
        (&json!("True"), &json!("False")),
        "{status}"
    );
    assert!(images_of[1]["reason"].as_str().unwrap_or_default().contains("team/none"), "{status}");
    site.job("lenient", json!({ "images": half, "failureTolerate": "1" }))?;
    site.ends("lenient", "Completed").await?;

    // What users get wrong.
    let fresh = site.image("team/fresh:1");
    for (name, template, words) in [
        (
            "secret",
            json!({ "images": [fresh], "imageSecrets": "default/none" }),
            "secret default/none not found: make it with kubectl",
        ),
        ("name", json!({ "images": ["UPPER:x:y"] }), "invalid reference format"),
        ("node", json!({ "images": [fresh], "nodeNames": ["edge9"] }), "node \"edge9\" not found"),
        (
            "both",
            json!({ "images": [fresh], "labelSelector": { "matchLabels": { "a": "b" } } }),
            "both nodeNames and labelSelector",
        ),
        (
            "nobody",
            json!({ "images": [fresh], "nodeNames": null, "labelSelector": { "matchLabels": { "a": "b" } } }),
            "no edge node has the labels",
        ),
    ] {
        site.job(name, template)?;
        let status = site.ends(name, "Failure").await?;
        assert!(status["reason"].as_str().unwrap_or_default().contains(words), "{name}: {status}");
    }
    let told = site.stack.kubectl(&["describe", "imageprepulljob", "both"])?;
    assert!(told.contains("Warning") && told.contains("both nodeNames and labelSelector"), "{told}");
    eventually("the edge has done with every task", LIMIT, || async {
        match site.tasks() {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await
}

#[tokio::test]
async fn images_are_on_a_node_with_containerd_before_a_pod_wants_them() -> Result<()> {
    images_wait_for_their_pod(Runtime::Containerd).await
}

#[tokio::test]
async fn images_are_on_a_node_with_docker_before_a_pod_wants_them() -> Result<()> {
    images_wait_for_their_pod(Runtime::Docker).await
}

async fn a_pull_goes_on(runtime: Runtime) -> Result<()> {
    let mut site = Site::start(runtime).await?;
    let names = ["team/first:1", "team/second:1", "team/third:1"];
    names.iter().try_for_each(|name| site.publish(name, 0))?;
    let [first, second, third] = names.map(|name| site.image(name));
    let checked = |status: &Value| {
        let node = &status["nodeStatus"][0];
        node["phase"] == "InProgress" && node["actionFlow"][0]["action"] == "Check"
    };

    // The registry says nothing more: the pull hangs. Both agents are killed in the middle.
    site.way.set(Fault::Silence);
    site.job("killed", json!({ "images": [first] }))?;
    site.until("killed", "the pull has begun", checked).await?;
    site.stack.edge_mut()?.kill();
    site.stack.cloud.kill();
    site.stack.cloud.restart()?;
    site.stack.edge_mut()?.restart()?;
    site.way.set(Fault::None);
    site.until("killed", "it is done", |status| status["phase"] == "Completed").await?;
    assert!(site.has(&first)?);

    // The link to the cloud is cut in the middle: the image comes without it, and the result afterwards.
    site.way.set(Fault::Silence);
    site.job("cut", json!({ "images": [second] }))?;
    site.until("cut", "the pull has begun", checked).await?;
    site.stack.link.set(Fault::Refuse);
    site.way.set(Fault::None);
    eventually("the image is there while the cloud is away", LIMIT, || async {
        match site.has(&second) {
            Ok(true) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    assert_eq!(site.status("cut")?["phase"], "InProgress");
    site.stack.link.set(Fault::None);
    site.ends("cut", "Completed").await?;

    // A job that is deleted in the middle leaves nothing on the node.
    site.way.set(Fault::Silence);
    site.job("deleted", json!({ "images": [third] }))?;
    site.until("deleted", "the pull has begun", checked).await?;
    site.stack.kubectl(&["delete", "imageprepulljob", "deleted"])?;
    site.way.set(Fault::None);
    eventually("the edge has done with every task", LIMIT, || async {
        match site.tasks() {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await
}

#[tokio::test]
async fn a_pull_goes_on_after_kills_and_without_the_cloud_and_is_told_in_the_end() -> Result<()> {
    a_pull_goes_on(Runtime::Containerd).await
}

#[tokio::test]
async fn a_pull_goes_on_after_kills_and_without_the_cloud_and_is_told_in_the_end_on_docker() -> Result<()> {
    a_pull_goes_on(Runtime::Docker).await
}
