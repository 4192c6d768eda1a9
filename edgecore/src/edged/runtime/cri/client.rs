//! [`ContainerRuntime`] over CRI v1.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use k8s_cri::v1 as cri;
use tokio::sync::mpsc;

use super::super::shared::{EXEC_OUTPUT, PULL, gone};
use super::super::{
    Container, ContainerId, ContainerRuntime, Health, Image, Networks, PodUid, RuntimeError, Sandbox,
    SandboxId, Tasks, Version, labels,
};
use super::{Cri, cni_results, convert};

#[async_trait]
impl ContainerRuntime for Cri {
    fn kind(&self) -> String {
        // CRI-O answers on its own socket; everything else that speaks CRI on a containerd socket is containerd.
        if self.endpoint.contains("crio") { "cri-o".into() } else { "containerd".into() }
    }

    async fn version(&self) -> Result<Version, RuntimeError> {
        let request = cri::VersionRequest { version: "v1".into() };
        let mut client = self.runtime.clone();
        let answer = self.call("Version", self.limit, client.version(request)).await?;
        Ok(Version {
            name: answer.runtime_name,
            version: answer.runtime_version.trim_start_matches('v').to_owned(),
        })
    }

    async fn health(&self) -> Result<Health, RuntimeError> {
        let mut client = self.runtime.clone();
        let answer =
            self.call("Status", self.limit, client.status(cri::StatusRequest { verbose: false })).await?;
        Ok(convert::health(answer))
    }

    async fn sandboxes(&self, pod: Option<&PodUid>) -> Result<Vec<Sandbox>, RuntimeError> {
        let filter =
            pod.map(|uid| cri::PodSandboxFilter { label_selector: by_uid(uid), ..Default::default() });
        let mut client = self.runtime.clone();
        let answer = self
            .call(
                "ListPodSandbox",
                self.limit,
                client.list_pod_sandbox(cri::ListPodSandboxRequest { filter }),
            )
            .await?;
        Ok(answer.items.into_iter().filter_map(convert::sandbox).collect())
    }

    async fn containers(&self, pod: Option<&PodUid>) -> Result<Vec<Container>, RuntimeError> {
        let filter =
            pod.map(|uid| cri::ContainerFilter { label_selector: by_uid(uid), ..Default::default() });
        let mut client = self.runtime.clone();
        let answer = self
            .call("ListContainers", self.limit, client.list_containers(cri::ListContainersRequest { filter }))
            .await?;
        Ok(answer.containers.into_iter().filter_map(convert::container).collect())
    }

    async fn inspect(&self, id: &ContainerId) -> Result<Container, RuntimeError> {
        let request = cri::ContainerStatusRequest { container_id: id.0.clone(), verbose: false };
        let mut client = self.runtime.clone();
        let answer = self.call("ContainerStatus", self.limit, client.container_status(request)).await?;
        answer.status.and_then(convert::container_status).ok_or_else(|| RuntimeError::NotFound {
            call: "ContainerStatus",
            message: format!("container {id} has no status or no pod labels"),
        })
    }

    async fn addresses(&self, id: &SandboxId) -> Result<Vec<IpAddr>, RuntimeError> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.0.clone(), verbose: false };
        let mut client = self.runtime.clone();
        let answer = self.call("PodSandboxStatus", self.limit, client.pod_sandbox_status(request)).await?;
        Ok(answer.status.and_then(|status| status.network).map(convert::addresses).unwrap_or_default())
    }

    async fn run_sandbox(&self, config: cri::PodSandboxConfig) -> Result<SandboxId, RuntimeError> {
        let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        let mut client = self.runtime.clone();
        let answer =
            self.call("RunPodSandbox", self.limit.saturating_mul(2), client.run_pod_sandbox(request)).await?;
        Ok(SandboxId(answer.pod_sandbox_id))
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.0.clone() };
        let mut client = self.runtime.clone();
        let stopped =
            gone(self.call("StopPodSandbox", self.limit, client.stop_pod_sandbox(request.clone())).await);
        match stopped {
            Err(error) if cni_results::may_be_why(&error) && cni_results::forget(id).await => {
                gone(self.call("StopPodSandbox", self.limit, client.stop_pod_sandbox(request)).await)
            }
            stopped => stopped,
        }
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.0.clone() };
        let mut client = self.runtime.clone();
        let removed =
            gone(self.call("RemovePodSandbox", self.limit, client.remove_pod_sandbox(request.clone())).await);
        match removed {
            Err(error) if self.end_lost_task(&error).await => {
                gone(self.call("RemovePodSandbox", self.limit, client.remove_pod_sandbox(request)).await)
            }
            removed => removed,
        }
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<ContainerId, RuntimeError> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.0.clone(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let mut client = self.runtime.clone();
        let answer =
            Box::pin(self.call("CreateContainer", self.limit, client.create_container(request))).await?;
        Ok(ContainerId(answer.container_id))
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let request = cri::StartContainerRequest { container_id: id.0.clone() };
        let mut client = self.runtime.clone();
        self.call("StartContainer", self.limit, client.start_container(request)).await.map(drop)
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = cri::StopContainerRequest { container_id: id.0.clone(), timeout };
        let mut client = self.runtime.clone();
        let limit = self.limit.saturating_add(grace);
        gone(self.call("StopContainer", limit, client.stop_container(request)).await)
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let request = cri::RemoveContainerRequest { container_id: id.0.clone() };
        let mut client = self.runtime.clone();
        let removed =
            gone(self.call("RemoveContainer", self.limit, client.remove_container(request.clone())).await);
        match removed {
            Err(error) if self.end_lost_task(&error).await => {
                gone(self.call("RemoveContainer", self.limit, client.remove_container(request)).await)
            }
            removed => removed,
        }
    }

    async fn layers(&self, pod: &PodUid) -> Result<BTreeMap<ContainerId, u64>, RuntimeError> {
        let filter = Some(cri::ContainerStatsFilter { label_selector: by_uid(pod), ..Default::default() });
        let mut client = self.runtime.clone();
        let asked = client.list_container_stats(cri::ListContainerStatsRequest { filter });
        let answer = self.call("ListContainerStats", self.limit, asked).await?;
        let size = |stats: cri::ContainerStats| {
            let used = stats.writable_layer?.used_bytes?.value;
            Some((ContainerId(stats.attributes?.id), used))
        };
        Ok(answer.stats.into_iter().filter_map(size).collect())
    }

    async fn exec(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        limit: Duration,
    ) -> Result<(i32, String), RuntimeError> {
        let timeout = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX).max(1);
        let request = cri::ExecSyncRequest { container_id: id.0.clone(), cmd: command, timeout };
        let mut client = self.runtime.clone();
        let limit = limit.saturating_add(Duration::from_secs(5));
        let answer = self.call("ExecSync", limit, client.exec_sync(request)).await?;
        let mut output = answer.stdout;
        output.extend_from_slice(&answer.stderr);
        output.truncate(EXEC_OUTPUT);
        Ok((answer.exit_code, String::from_utf8_lossy(&output).into_owned()))
    }

    async fn image(&self, name: &str) -> Result<Option<Image>, RuntimeError> {
        let image = Some(cri::ImageSpec { image: name.to_owned(), ..Default::default() });
        let request = cri::ImageStatusRequest { image, verbose: false };
        let mut client = self.images.clone();
        let answer = self.call("ImageStatus", self.limit, client.image_status(request)).await?;
        Ok(answer.image.map(convert::image))
    }

    async fn pull_image(
        &self,
        name: &str,
        auth: Option<cri::AuthConfig>,
        sandbox: cri::PodSandboxConfig,
    ) -> Result<String, RuntimeError> {
        let image = Some(cri::ImageSpec { image: name.to_owned(), ..Default::default() });
        let request = cri::PullImageRequest { image, auth, sandbox_config: Some(sandbox) };
        let mut client = self.images.clone();
        let pull = Box::pin(self.call("PullImage", PULL, client.pull_image(request)));
        tokio::select! {
            pulled = pull => Ok(pulled?.image_ref),
            () = self.nothing_comes() => Err(RuntimeError::Stalled { limit: self.limit }),
        }
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        let mut client = self.runtime.clone();
        let asked = client.status(cri::StatusRequest { verbose: true });
        let own = convert::sandbox_image(&self.call("Status", self.limit, asked).await?);
        let mut client = self.images.clone();
        let asked = client.list_images(cri::ListImagesRequest { filter: None });
        let answer = self.call("ListImages", self.limit, asked).await?;
        let mut images: Vec<Image> = answer.images.into_iter().map(convert::image).collect();
        for image in &mut images {
            image.pinned |=
                own.as_ref().is_some_and(|own| image.tags.contains(own) || image.digests.contains(own));
        }
        Ok(images)
    }

    async fn remove_image(&self, id: &str) -> Result<(), RuntimeError> {
        let image = Some(cri::ImageSpec { image: id.to_owned(), ..Default::default() });
        let mut client = self.images.clone();
        gone(
            self.call("RemoveImage", self.limit, client.remove_image(cri::RemoveImageRequest { image }))
                .await,
        )
    }

    async fn reopen_log(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let request = cri::ReopenContainerLogRequest { container_id: id.0.clone() };
        let mut client = self.runtime.clone();
        self.call("ReopenContainerLog", self.limit, client.reopen_container_log(request)).await.map(drop)
    }

    async fn image_usage(&self) -> Result<Vec<(String, u64)>, RuntimeError> {
        let mut client = self.images.clone();
        let answer =
            self.call("ImageFsInfo", self.limit, client.image_fs_info(cri::ImageFsInfoRequest {})).await?;
        Ok(answer.image_filesystems.into_iter().filter_map(convert::usage).collect())
    }

    async fn networks(&self) -> Result<Option<Networks>, RuntimeError> {
        self.look_at_networks().await
    }

    async fn tasks(&self, containers: &BTreeSet<String>) -> Result<Option<Tasks>, RuntimeError> {
        self.look_at_tasks(containers).await.map(Some)
    }

    async fn watch(&self, nudge: mpsc::Sender<()>) -> Result<(), RuntimeError> {
        match self.watch_containerd(&nudge).await {
            // Not containerd: ask for CRI's own events.
            Err(RuntimeError::Unsupported { .. }) => self.watch_cri(&nudge).await,
            other => other,
        }
    }
}

fn by_uid(uid: &PodUid) -> HashMap<String, String> {
    HashMap::from([(labels::POD_UID.to_owned(), uid.0.clone())])
}
