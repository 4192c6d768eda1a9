//! Images: looking, fetching, removing.

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{CreateImageOptionsBuilder, ListImagesOptions, RemoveImageOptions};
use futures::StreamExt;
use k8s_cri::v1::AuthConfig;

use super::super::shared::{PULL, gone};
use super::super::{Image, RuntimeError};
use super::error::UNKNOWN;
use super::{Docker, observe};

impl Docker {
    pub(super) async fn find_image(&self, name: &str) -> Result<Option<Image>, RuntimeError> {
        let asked = name.to_owned();
        let found = self
            .call("ImageStatus", self.options.limit, |api| async move { api.inspect_image(&asked).await })
            .await;
        match found {
            Ok(image) => Ok(Some(observe::image(image))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn fetch_image(
        &self,
        name: &str,
        auth: Option<AuthConfig>,
    ) -> Result<String, RuntimeError> {
        const CALL: &str = "PullImage";
        let options = CreateImageOptionsBuilder::new().from_image(name).build();
        let credentials = auth.map(credentials);
        let limit = self.options.limit;
        let pulled = self
            .call(CALL, PULL, |api| async move {
                let mut progress = api.create_image(Some(options), None, credentials);
                // The engine tells each step, unpacking too: silence is the registry's.
                while let Ok(told) = tokio::time::timeout(limit, progress.next()).await {
                    match told {
                        Some(step) => drop(step?),
                        None => return Ok(true),
                    }
                }
                Ok(false)
            })
            .await;
        let all = pulled.map_err(|error| match error {
            // What is missing is the image in its registry, not something here.
            RuntimeError::NotFound { call, message } => {
                RuntimeError::Failed { call, code: Some(UNKNOWN), message }
            }
            other => other,
        })?;
        if !all {
            return Err(RuntimeError::Stalled { limit });
        }
        let image = self.find_image(name).await?;
        image
            .map(|image| image.id)
            .ok_or_else(|| RuntimeError::failed(CALL, format!("{name} was pulled but is not there")))
    }

    pub(super) async fn list_images(&self) -> Result<Vec<Image>, RuntimeError> {
        let listed = self
            .call("ListImages", self.options.limit, |api| async move {
                api.list_images(None::<ListImagesOptions>).await
            })
            .await?;
        Ok(listed.into_iter().map(|item| observe::listed_image(item, &self.options.pause)).collect())
    }

    /// By all its names: the engine refuses an id that has several, unless forced, and forced it would take images from
    /// stopped containers that are not ours.
    pub(super) async fn forget_image(&self, id: &str) -> Result<(), RuntimeError> {
        let Some(image) = self.find_image(id).await? else { return Ok(()) };
        for name in image.tags.into_iter().chain(image.digests).chain([image.id]) {
            gone(
                self.call("RemoveImage", self.options.limit, |api| async move {
                    api.remove_image(&name, None::<RemoveImageOptions>, None).await
                })
                .await,
            )?;
        }
        Ok(())
    }

    /// The engine's directory and the size of all images; layers that several share count for each.
    pub(super) async fn usage(&self) -> Result<Vec<(String, u64)>, RuntimeError> {
        let told =
            self.call("ImageFsInfo", self.options.limit, |api| async move { api.info().await }).await?;
        let Some(root) = told.docker_root_dir else { return Ok(Vec::new()) };
        let used = self.list_images().await?.iter().map(|image| image.size).sum();
        Ok(vec![(root, used)])
    }
}

fn credentials(auth: AuthConfig) -> DockerCredentials {
    let some = |text: String| (!text.is_empty()).then_some(text);
    DockerCredentials {
        username: some(auth.username),
        password: some(auth.password),
        auth: some(auth.auth),
        email: None,
        serveraddress: some(auth.server_address),
        identitytoken: some(auth.identity_token),
        registrytoken: some(auth.registry_token),
    }
}
