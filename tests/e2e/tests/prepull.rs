//! An ImagePrePullJob fetches images onto a real node before a pod wants them, whoever is killed meanwhile.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::image::PAUSE;
use e2e::registry::{PASSWORD, USER};
use e2e::{Containerd, Docker, EdgeOptions, Fault, Link, Registry, Stack, StackOptions, eventually};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

/// Either runtime.
enum Runtime {
    Containerd(Containerd),
    Docker(Docker),
}

impl Runtime {
    fn options(&self) -> EdgeOptions {
        match self {
            Self::Containerd(containerd) => EdgeOptions::on(containerd),
            Self::Docker(docker) => EdgeOptions {
                runtime: Some(docker.socket()),
                cgroup_root: Some(docker.cgroup_root()),
                overlay: json!({ "modules": { "edged": { "podSandboxImage": PAUSE } } }),
                ..EdgeOptions::default()
            },
        }
    }

    /// Puts a busybox under this name into its registry, and nowhere else.
    fn publish(&self, image: &str) -> Result<()> {
        match self {
            Self::Containerd(containerd) => {
                containerd.add_image(image, &["/bin/sh"])?;
                containerd.push(image, USER, PASSWORD)
            }
            Self::Docker(docker) => {
                docker.add_image(image, &["/bin/sh"])?;
                docker.push(image, USER, PASSWORD)
            }
        }
    }

    fn has(&self, image: &str) -> Result<bool> {
        Ok(match self {
            Self::Containerd(containerd) => containerd.ctr(&["images", "ls", "-q"])?,
            Self::Docker(docker) => docker.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?,
        }
        .lines()
        .any(|line| line == image))
    }
}

/// A node, and a registry with a password behind a link that can be cut.
struct Site {
    stack: Stack,
    runtime: Runtime,
    registry: Registry,
    way: Link,
}

impl Site {
    async fn start(docker: bool) -> Result<Self> {
        let mut stack = Stack::start(StackOptions::default()).await?;
        let runtime = if docker {
            Runtime::Docker(Docker::start(&stack.dir().join("docker")).await?)
        } else {
            Runtime::Containerd(Containerd::start(stack.dir()).await?)
        };
        let registry = Registry::start(&stack.dir().join("registry")).await?;
        let way = Link::to(registry.address().parse()?)?;
        let mut options = runtime.options();
        options.overlay["modules"]["edged"]["tailoredKubeletConfig"]["nodeStatusMaxImages"] = json!(50);
        stack.join(&options).await?;
        stack.node_ready("edge1", LIMIT).await?;
        let site = Self { stack, runtime, registry, way };
        site.login("login", PASSWORD)?;
        Ok(site)
    }

    fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.way.address())
    }

    /// What `kubectl create secret docker-registry` makes.
    fn login(&self, name: &str, password: &str) -> Result<()> {
        let server = format!("--docker-server={}", self.way.address());
        let (user, password) = (format!("--docker-username={USER}"), format!("--docker-password={password}"));
        self.stack
            .kubectl(&["create", "secret", "docker-registry", name, &server, &user, &password])
            .map(drop)
    }

    fn job(&self, name: &str, template: Value) -> Result<()> {
        let mut whole =
            json!({ "nodeNames": ["edge1"], "imageSecrets": "default/login", "checkItems": ["mem"] });
        for (key, value) in template.as_object().context("an object")? {
            whole[key] = value.clone();
        }
        let job = json!({
            "apiVersion": "operations.kubeedge.io/v1alpha2", "kind": "ImagePrePullJob",
            "metadata": { "name": name }, "spec": { "imagePrePullTemplate": whole },
        });
        self.stack.apply(&job.to_string()).map(drop)
    }

    fn status(&self, name: &str) -> Result<Value> {
        let job = self.stack.kubectl(&["get", "imageprepulljob", name, "-o", "json"])?;
        Ok(serde_json::from_str::<Value>(&job)?["status"].take())
    }

    async fn until(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(&format!("job {name}: {what}"), LIMIT, || async {
            let status = self.status(name).map_err(|error| error.to_string())?;
            if is(&status) { Ok(status) } else { Err(status.to_string()) }
        })
        .await
        .with_context(|| {
            let edge = self.stack.edge.as_ref().map(e2e::Daemon::tail).unwrap_or_default();
            format!("cloudcore:\n{}\nedgecore:\n{edge}", self.stack.cloud.tail())
        })
    }

    async fn ends(&self, name: &str, phase: &str) -> Result<Value> {
        self.until(name, phase, |status| status["phase"] == phase).await
    }

    /// The files of tasks that the edge has not done with.
    fn tasks(&self) -> usize {
        let folder = std::fs::read_dir(self.stack.dir().join("edge/tasks"));
        folder
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().extension() == Some("json".as_ref()))
            .count()
    }
}

async fn images_wait_for_their_pod(docker: bool) -> Result<()> {
    let site = Site::start(docker).await?;
    let images = [site.image("team/app:1"), site.image("team/db:1")];
    images.iter().try_for_each(|image| site.runtime.publish(image))?;
    site.job("warm", json!({ "images": images }))?;
    let status = site.ends("warm", "Completed").await?;
    let node = &status["nodeStatus"][0];
    let steps: Vec<_> =
        node["actionFlow"].as_array().into_iter().flatten().map(|step| &step["action"]).collect();
    assert_eq!(steps, ["Check", "Pull"], "{status}");
    assert_eq!((&node["nodeName"], &node["phase"]), (&json!("edge1"), &json!("Successful")));
    for (at, image) in images.iter().enumerate() {
        assert_eq!(node["imageStatus"][at], json!({ "image": image, "status": "True" }));
        assert!(site.runtime.has(image)?, "{image}");
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
    site.login("wrong", "guessed")?;
    let fresh = site.image("team/fresh:1");
    for (name, template, words) in [
        (
            "password",
            json!({ "images": [fresh], "imageSecrets": "default/wrong" }),
            &["401", "no basic auth", "unauthorized"][..],
        ),
        (
            "secret",
            json!({ "images": [fresh], "imageSecrets": "default/none" }),
            &["secret default/none not found"],
        ),
        ("name", json!({ "images": ["UPPER:x:y"] }), &["invalid reference format"]),
        ("node", json!({ "images": [fresh], "nodeNames": ["edge9"] }), &["node \"edge9\" not found"]),
        (
            "both",
            json!({ "images": [fresh], "labelSelector": { "matchLabels": { "a": "b" } } }),
            &["both nodeNames and labelSelector"],
        ),
        (
            "nobody",
            json!({ "images": [fresh], "nodeNames": null, "labelSelector": { "matchLabels": { "a": "b" } } }),
            &["no edge node has the labels"],
        ),
    ] {
        site.job(name, template)?;
        let status = site.ends(name, "Failure").await?;
        assert!(
            words.iter().any(|word| status["reason"].as_str().unwrap_or_default().contains(word)),
            "{name}: {status}"
        );
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
    images_wait_for_their_pod(false).await
}

#[tokio::test]
async fn images_are_on_a_node_with_docker_before_a_pod_wants_them() -> Result<()> {
    images_wait_for_their_pod(true).await
}

#[tokio::test]
async fn a_pull_goes_on_after_kills_and_without_the_cloud_and_is_told_in_the_end() -> Result<()> {
    let mut site = Site::start(false).await?;
    let (first, second, third) =
        (site.image("team/first:1"), site.image("team/second:1"), site.image("team/third:1"));
    for image in [&first, &second, &third] {
        site.runtime.publish(image)?;
    }
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
    assert!(site.runtime.has(&first)?);

    // The link to the cloud is cut in the middle: the image comes without it, and the result afterwards.
    site.way.set(Fault::Silence);
    site.job("cut", json!({ "images": [second] }))?;
    site.until("cut", "the pull has begun", checked).await?;
    site.stack.link.set(Fault::Refuse);
    site.way.set(Fault::None);
    eventually("the image is there while the cloud is away", LIMIT, || async {
        match site.runtime.has(&second) {
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
    .await?;
    drop(site.registry);
    Ok(())
}
