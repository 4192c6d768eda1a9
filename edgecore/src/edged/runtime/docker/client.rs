//! [`ContainerRuntime`] over the Docker Engine API.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, InspectContainerOptions, InspectNetworkOptions,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder,
};
use futures::StreamExt;
use k8s_cri::v1 as cri;
use tokio::sync::mpsc;

use super::super::shared::{gone, tell};
use super::super::{
    Container, ContainerId, ContainerRuntime, Health, Image, PodUid, RuntimeError, Sandbox, SandboxId,
    Version, labels,
};
use super::container::Logs;
use super::security::Options;
use super::{Docker, container, log, names, observe, sandbox};

#[async_trait]
impl ContainerRuntime for Docker {
    fn kind(&self) -> String {
        "docker".into()
    }

    async fn version(&self) -> Result<Version, RuntimeError> {
        let told = self.call("version", self.options.limit, |api| async move { api.version().await }).await?;
        Ok(Version { name: "docker".into(), version: told.version.unwrap_or_default() })
    }

    async fn health(&self) -> Result<Health, RuntimeError> {
        let asked = self
            .call("network", self.options.limit, |api| async move {
                api.inspect_network("bridge", None::<InspectNetworkOptions>).await
            })
            .await;
        match asked {
            Ok(_) => Ok(Health::default()),
            Err(RuntimeError::NotFound { message, .. }) => Ok(Health {
                runtime: None,
                network: Some(format!(
                    "{message}. The engine runs without its default bridge: remove \"bridge\": \"none\" from \
                     /etc/docker/daemon.json"
                )),
            }),
            Err(error) => Err(error),
        }
    }

    async fn sandboxes(&self, pod: Option<&PodUid>) -> Result<Vec<Sandbox>, RuntimeError> {
        let listed = self.list(names::filter(names::SANDBOX, pod)).await?;
        Ok(listed.into_iter().filter_map(observe::sandbox).collect())
    }

    async fn containers(&self, pod: Option<&PodUid>) -> Result<Vec<Container>, RuntimeError> {
        let listed = self.list(names::filter(names::CONTAINER, pod)).await?;
        Ok(listed.into_iter().filter_map(observe::container).collect())
    }

    async fn inspect(&self, id: &ContainerId) -> Result<Container, RuntimeError> {
        let mut container =
            observe::inspected(self.look(&id.0).await?).ok_or_else(|| RuntimeError::NotFound {
                call: "ContainerStatus",
                message: format!("container {id} has no pod labels"),
            })?;
        // As users know images: by the digest of their registry, where there is one.
        if let Some(image) = self.find_image(&container.image_ref).await?
            && let Some(digest) = image.digests.into_iter().next()
        {
            container.image_ref = digest;
        }
        Ok(container)
    }

    async fn addresses(&self, id: &SandboxId) -> Result<Vec<IpAddr>, RuntimeError> {
        Ok(self.look(&id.0).await?.network_settings.map(observe::addresses).unwrap_or_default())
    }

    async fn run_sandbox(&self, config: cri::PodSandboxConfig) -> Result<SandboxId, RuntimeError> {
        let pause = self.options.pause.clone();
        if self.find_image(&pause).await?.is_none() {
            self.fetch_image(&pause, None).await?;
        }
        let name = names::sandbox(&config.metadata.clone().unwrap_or_default());
        let dns = config.dns_config.clone();
        let context = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        let selinux = context.and_then(|context| context.selinux_options.as_ref());
        let options = Options::of(
            context.and_then(|context| context.seccomp.as_ref()),
            context.and_then(|context| context.apparmor.as_ref()),
            selinux,
            false,
        )
        .await?;
        let body = sandbox::body(config, &pause, options, self.engine().await?.oom);
        let id = self.create(&name, body).await?;
        self.start(&id).await?;
        if let Some(dns) = dns {
            let place = self.look(&id).await?.resolv_conf_path.unwrap_or_default();
            // Written in place: the pause container has this very file mounted, and so will the others.
            tokio::fs::write(&place, sandbox::resolv_conf(&dns))
                .await
                .map_err(|error| RuntimeError::failed("RunPodSandbox", format!("write {place}: {error}")))?;
        }
        Ok(SandboxId(id))
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        for inside in self.inside(id).await? {
            self.stop(&inside, Duration::ZERO).await?;
        }
        self.stop(&id.0, Duration::ZERO).await
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        for inside in self.inside(id).await? {
            self.remove(&inside).await?;
        }
        self.remove(&id.0).await
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<ContainerId, RuntimeError> {
        let pod = sandbox_config.metadata.clone().unwrap_or_default();
        let name = names::container(&pod, &config.metadata.clone().unwrap_or_default());
        let context = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        let options = Options::of(
            context.and_then(|context| context.seccomp.as_ref()),
            context.and_then(|context| context.apparmor.as_ref()),
            context.and_then(|context| context.selinux_options.as_ref()),
            context.is_some_and(|context| context.no_new_privs),
        )
        .await?;
        for mount in &config.mounts {
            make_source(Path::new(&mount.host_path)).await?;
        }
        let logs = Logs { max_size: self.options.log_max_size, max_files: self.options.log_max_files };
        let body = container::body(sandbox, config, &sandbox_config, options, self.engine().await?.oom, logs);
        self.create(&name, body).await.map(ContainerId)
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let started = self.start(&id.0).await;
        // Also after a failure: the log may hold the reason.
        if let Ok(told) = self.look(&id.0).await
            && let Some(source) = told.log_path.as_deref().filter(|path| !path.is_empty())
            && let Some(place) = log_place(&told)
            && let Err(error) = log::link(&place, Path::new(source)).await
        {
            tracing::warn!(container = %id, "cannot link its log to {}: {error}", place.display());
        }
        started
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        self.stop(&id.0, grace).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.remove(&id.0).await
    }

    async fn layers(&self, pod: &PodUid) -> Result<BTreeMap<ContainerId, u64>, RuntimeError> {
        let filter = names::filter(names::CONTAINER, Some(pod));
        let options = ListContainersOptionsBuilder::new().size(true).filters(&filter).build();
        let listed = self
            .call("ListContainerStats", self.options.limit, |api| async move {
                api.list_containers(Some(options)).await
            })
            .await?;
        let size = |item: bollard::models::ContainerSummary| {
            Some((ContainerId(item.id?), u64::try_from(item.size_rw.unwrap_or(0)).unwrap_or(0)))
        };
        Ok(listed.into_iter().filter_map(size).collect())
    }

    async fn exec(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        limit: Duration,
    ) -> Result<(i32, String), RuntimeError> {
        self.run(id, command, limit).await
    }

    async fn image(&self, name: &str) -> Result<Option<Image>, RuntimeError> {
        self.find_image(name).await
    }

    async fn pull_image(
        &self,
        name: &str,
        auth: Option<cri::AuthConfig>,
        _sandbox: cri::PodSandboxConfig,
    ) -> Result<String, RuntimeError> {
        self.fetch_image(name, auth).await
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        self.list_images().await
    }

    async fn remove_image(&self, id: &str) -> Result<(), RuntimeError> {
        self.forget_image(id).await
    }

    async fn image_usage(&self) -> Result<Vec<(String, u64)>, RuntimeError> {
        self.usage().await
    }

    async fn watch(&self, nudge: mpsc::Sender<()>) -> Result<(), RuntimeError> {
        const CALL: &str = "events";
        let filters: HashMap<String, Vec<String>> = [
            ("type", vec!["container"]),
            ("label", vec![labels::POD_UID]),
            ("event", vec!["start", "die", "oom", "destroy"]),
        ]
        .map(|(key, values)| (key.to_owned(), values.into_iter().map(str::to_owned).collect()))
        .into();
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        let mut events = self.engine().await?.api.events(Some(options));
        while let Some(event) = events.next().await {
            event.map_err(|error| self.fail(CALL, self.options.limit, error))?;
            if tell(&nudge) {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Docker {
    async fn list(
        &self,
        filter: HashMap<String, Vec<String>>,
    ) -> Result<Vec<bollard::models::ContainerSummary>, RuntimeError> {
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
        self.call("ListContainers", self.options.limit, |api| async move {
            api.list_containers(Some(options)).await
        })
        .await
    }

    /// Containers that were made in a sandbox.
    async fn inside(&self, id: &SandboxId) -> Result<Vec<String>, RuntimeError> {
        let label = format!("{}={id}", names::SANDBOX_ID);
        let listed = self.list(HashMap::from([("label".to_owned(), vec![label])])).await?;
        Ok(listed.into_iter().filter_map(|item| item.id).collect())
    }

    async fn look(&self, id: &str) -> Result<ContainerInspectResponse, RuntimeError> {
        let id = id.to_owned();
        self.call("ContainerStatus", self.options.limit, |api| async move {
            api.inspect_container(&id, None::<InspectContainerOptions>).await
        })
        .await
    }

    async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<String, RuntimeError> {
        let options = |name: &str| Some(CreateContainerOptionsBuilder::new().name(name).build());
        let (first, second) = (options(name), options(&format!("{name}_{:08x}", fastrand::u32(..))));
        self.call("CreateContainer", self.options.limit, |api| async move {
            match api.create_container(first, body.clone()).await {
                // What has the name was left behind by a crash; it is found by its labels and goes in its time.
                Err(Error::DockerResponseServerError { status_code: 409, .. }) => {
                    api.create_container(second, body).await
                }
                other => other,
            }
        })
        .await
        .map(|made| made.id)
    }

    async fn start(&self, id: &str) -> Result<(), RuntimeError> {
        let id = id.to_owned();
        self.call("StartContainer", self.options.limit.saturating_mul(2), |api| async move {
            api.start_container(&id, None::<StartContainerOptions>).await
        })
        .await
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        let (id, seconds) = (id.to_owned(), i32::try_from(grace.as_secs()).unwrap_or(i32::MAX));
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        let limit = self.options.limit.saturating_add(grace);
        gone(
            self.call(
                "StopContainer",
                limit,
                |api| async move { api.stop_container(&id, Some(options)).await },
            )
            .await,
        )
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let place = match self.look(id).await {
            Ok(told) => log_place(&told),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let id = id.to_owned();
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let removed = self
            .call("RemoveContainer", self.options.limit, |api| async move {
                match api.remove_container(&id, Some(options)).await {
                    // Somebody else removes it right now.
                    Err(Error::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
                    other => other,
                }
            })
            .await;
        gone(removed)?;
        if let Some(place) = place {
            log::unlink(&place).await;
        }
        Ok(())
    }
}

fn log_place(told: &ContainerInspectResponse) -> Option<PathBuf> {
    told.config.as_ref()?.labels.as_ref()?.get(names::LOG_PATH).map(PathBuf::from)
}

/// The engine refuses to mount what is not there; as with the other runtimes, it becomes a directory.
async fn make_source(path: &Path) -> Result<(), RuntimeError> {
    if tokio::fs::symlink_metadata(path).await.is_ok() {
        return Ok(());
    }
    tokio::fs::create_dir_all(path)
        .await
        .map_err(|error| RuntimeError::failed("CreateContainer", format!("make {}: {error}", path.display())))
}
