//! A node, and a registry with a password behind a link that can be cut.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::registry::{PASSWORD, USER};
use e2e::{Engine, Link, Registry, Runtime, Stack, StackOptions, disk, eventually};
use serde_json::{Value, json};

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Options {
    /// The size of the runtime's disk, if it has one of its own.
    pub(crate) disk: Option<&'static str>,
    /// `runtimeRequestTimeout`.
    pub(crate) silence: Option<&'static str>,
}

pub(crate) struct Site {
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
    pub(crate) way: Link,
    // Last: it takes the folder away.
    pub(crate) stack: Stack,
}

impl Site {
    pub(crate) async fn start(runtime: Runtime) -> Result<Self> {
        Self::start_with(runtime, Options::default()).await
    }

    pub(crate) async fn start_with(runtime: Runtime, options: Options) -> Result<Self> {
        let mut stack = Stack::start(StackOptions::default()).await?;
        let dir = stack.dir().join("r");
        if let Some(size) = options.disk {
            disk::small(&dir.join("root"), size)?;
        }
        let engine = Engine::start(runtime, &dir).await?;
        let registry = Registry::start(&stack.dir().join("registry")).await?;
        let way = Link::to(registry.address().parse()?)?;
        let mut edge = engine.options();
        let kubelet = &mut edge.overlay["modules"]["edged"]["tailoredKubeletConfig"];
        kubelet["nodeStatusMaxImages"] = json!(50);
        if let Some(silence) = options.silence {
            kubelet["runtimeRequestTimeout"] = json!(silence);
        }
        stack.join(&edge).await?;
        stack.node_ready("edge1", LIMIT).await?;
        let site = Self { engine, registry, way, stack };
        site.login("login", &site.way.address().to_string(), PASSWORD)?;
        Ok(site)
    }

    /// The runtime's disk.
    pub(crate) fn disk(&self) -> PathBuf {
        self.stack.dir().join("r/root")
    }

    /// The name of an image on the way that can be cut.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.way.address())
    }

    /// Puts an image into the registry, and nowhere else, with so many bytes that no other has.
    pub(crate) fn publish(&self, name: &str, own: usize) -> Result<()> {
        let mut bytes = vec![0; own];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let image = self.registry.image(name);
        // The name in the command makes an image of its own of the layer that all have.
        self.engine.add_image_holding(&image, &["/bin/sh", "-c", name], &bytes)?;
        self.engine.push(&image, USER, PASSWORD)
    }

    pub(crate) fn has(&self, image: &str) -> Result<bool> {
        Ok(self.engine.images()?.lines().any(|line| line == image))
    }

    /// What `kubectl create secret docker-registry` makes.
    pub(crate) fn login(&self, name: &str, server: &str, password: &str) -> Result<()> {
        let server = format!("--docker-server={server}");
        let (user, password) = (format!("--docker-username={USER}"), format!("--docker-password={password}"));
        self.stack
            .kubectl(&["create", "secret", "docker-registry", name, &server, &user, &password])
            .map(drop)
    }

    pub(crate) fn job(&self, name: &str, template: Value) -> Result<()> {
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

    pub(crate) fn status(&self, name: &str) -> Result<Value> {
        let job = self.stack.kubectl(&["get", "imageprepulljob", name, "-o", "json"])?;
        Ok(serde_json::from_str::<Value>(&job)?["status"].take())
    }

    pub(crate) async fn until(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
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

    pub(crate) async fn ends(&self, name: &str, phase: &str) -> Result<Value> {
        self.until(name, phase, |status| status["phase"] == phase).await
    }

    /// The job fails, and of each image its status holds these words; the image is there if there are none.
    pub(crate) async fn fails(&self, name: &str, expected: &[(&str, &[&str])]) -> Result<()> {
        let status = self.ends(name, "Failure").await?;
        for (at, (image, words)) in expected.iter().enumerate() {
            let told = &status["nodeStatus"][0]["imageStatus"][at];
            assert_eq!(told["image"], *image, "{status:#}");
            assert_eq!(told["status"], if words.is_empty() { "True" } else { "False" }, "{told}");
            let reason = told["reason"].as_str().unwrap_or_default();
            let there = words.is_empty() || reason.starts_with(&format!("{image} on node edge1: "));
            assert!(there && words.iter().all(|word| reason.contains(word)), "{words:?}: {reason}");
            assert_eq!(self.has(image)?, words.is_empty(), "{image}");
        }
        Ok(())
    }

    /// The files of tasks that the edge has not done with.
    pub(crate) fn tasks(&self) -> usize {
        let folder = std::fs::read_dir(self.stack.dir().join("edge/tasks"));
        folder
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().extension() == Some("json".as_ref()))
            .count()
    }
}
