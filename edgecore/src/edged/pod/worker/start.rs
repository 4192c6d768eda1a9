//! Making sandboxes and containers. What goes wrong for one pod becomes a trouble that is waited for and shown; only when
//! the runtime as a whole is away is the round given up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_cri::v1::{Mount, PodSandboxConfig};
use k8s_openapi::api::core::v1::Container as Spec;

use super::super::status::QosClass;
use super::{RoundError, Worker};
use crate::edged::dns::{self, Dns};
use crate::edged::events::Severity;
use crate::edged::hooks;
use crate::edged::images::{Found, ImageError};
use crate::edged::pod::plan::Trouble;
use crate::edged::pod::{container, env, members, policy, sandbox};
use crate::edged::runtime::{ContainerId, Image, RuntimeError, SandboxId};
use crate::edged::{cgroups, volumes};

/// First and longest pause after a failed attempt, in milliseconds, as in Kubernetes.
const PAUSE: (i64, i64) = (10_000, 300_000);
/// The same for sandboxes: often a network that is not there yet.
const SANDBOX_PAUSE: (i64, i64) = (1_000, 60_000);
/// How long a postStart hook may take.
const POST_START: Duration = Duration::from_secs(60);

/// Why a container was not started: Kubernetes' word, and what happened.
struct Failure {
    reason: &'static str,
    message: String,
    outage: Option<RuntimeError>,
}

impl Failure {
    fn new(reason: &'static str, message: impl ToString) -> Self {
        Self { reason, message: message.to_string(), outage: None }
    }

    fn runtime(reason: &'static str, error: RuntimeError) -> Self {
        Self { reason, message: error.to_string(), outage: error.is_outage().then_some(error) }
    }
}

impl Worker {
    fn sandbox_config(&self, attempt: u32) -> PodSandboxConfig {
        let host = std::fs::read_to_string(&self.ctx.settings.resolv_conf).unwrap_or_default();
        sandbox::config(&self.pod, attempt, &self.ctx.settings, &Dns::parse(&host))
    }

    pub(super) async fn create_sandbox(&mut self, attempt: u32) -> Result<(), RoundError> {
        let ctx = Arc::clone(&self.ctx);
        // The semaphore is never closed.
        let _slot = ctx.creations.acquire().await;
        let config = self.sandbox_config(attempt);
        let logs = PathBuf::from(&config.log_directory);
        if let Err(error) = self.hold().await {
            let message = format!("hold the pod to its limits: {error}");
            return self.no_sandbox(RuntimeError::failed("RunPodSandbox", message)).await;
        }
        let made = match tokio::fs::create_dir_all(&logs).await {
            Ok(()) => ctx.runtime.run_sandbox(config).await,
            Err(error) => {
                let message = format!("make the log directory {}: {error}", logs.display());
                Err(RuntimeError::failed("RunPodSandbox", message))
            }
        };
        match made {
            Ok(_) => {
                self.memory.sandbox = None;
                // A group that systemd has made only now.
                if let Err(error) = self.hold().await {
                    tracing::warn!("cannot hold the pod to its limits: {error}");
                }
                Ok(())
            }
            Err(error) if error.is_outage() => Err(error.into()),
            Err(error) => self.no_sandbox(error).await,
        }
    }

    async fn no_sandbox(&mut self, error: RuntimeError) -> Result<(), RoundError> {
        let now = self.ctx.clock.now();
        let failures = self.memory.sandbox.as_ref().map_or(0, |trouble| trouble.failures.saturating_add(1));
        let until = Self::pause_after(failures, SANDBOX_PAUSE.0, SANDBOX_PAUSE.1, now);
        let message = format!("Failed to create pod sandbox: {}", error.in_full());
        let reason = "FailedCreatePodSandBox";
        self.ctx.events.pod(&self.pod, None, Severity::Warning, reason, &message).await;
        self.memory.sandbox = Some(Trouble { reason: reason.into(), message, since: now, until, failures });
        Ok(())
    }

    /// No more for all of its containers than they may have, and no more processes than a pod may have on this node.
    async fn hold(&self) -> std::io::Result<()> {
        let (pod, ctx) = (Arc::clone(&self.pod), Arc::clone(&self.ctx));
        let held = move || {
            cgroups::limits::weigh_classes(ctx.admission.cpu_milli(QosClass::Burstable), &ctx.settings)?;
            cgroups::limits::hold_pod(&pod, &ctx.settings)
        };
        tokio::task::spawn_blocking(held).await.map_err(std::io::Error::other).and_then(|result| result)
    }

    pub(super) async fn start(
        &mut self,
        name: &str,
        restarts: u32,
        back_off: Duration,
        sandbox: &SandboxId,
    ) -> Result<(), RoundError> {
        let Some((_, spec)) = members::find(&self.pod, name) else { return Ok(()) };
        let spec = spec.into_owned();
        match self.try_start(&spec, restarts, back_off, sandbox).await {
            Ok(()) => {
                self.memory.containers.remove(name);
                Ok(())
            }
            Err(Failure { outage: Some(error), .. }) => Err(error.into()),
            Err(failure) => {
                self.remember(name, failure).await;
                Ok(())
            }
        }
    }

    /// Notes a failure, shows it, and sets the time of the next attempt.
    async fn remember(&mut self, name: &str, failure: Failure) {
        let now = self.ctx.clock.now();
        let before = self.memory.containers.get(name);
        let failures = before.map_or(0, |trouble| trouble.failures.saturating_add(1));
        let until = match failure.reason {
            // The container exists and has ended: its own back-off counts.
            "RunContainerError" | "PostStartHookError" => now,
            "CreateContainerConfigError" => Self::pause_after(0, PAUSE.0, PAUSE.1, now),
            _ => Self::pause_after(failures, PAUSE.0, PAUSE.1, now),
        };
        let event = match failure.reason {
            "InvalidImageName" => ("InspectFailed", failure.message.clone()),
            "ErrImageNeverPull" => ("ErrImageNeverPull", failure.message.clone()),
            "ErrImagePull" => {
                ("Failed", format!("Failed to pull image {:?}: {}", self.image_name(name), failure.message))
            }
            _ => ("Failed", format!("Error: {}", failure.message)),
        };
        let events = &self.ctx.events;
        events.pod(&self.pod, Some(name), Severity::Warning, event.0, &event.1).await;
        if matches!(failure.reason, "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull") {
            let message = format!("Error: {}", failure.reason);
            events.pod(&self.pod, Some(name), Severity::Warning, "Failed", &message).await;
        }
        let trouble =
            Trouble { reason: failure.reason.into(), message: failure.message, since: now, until, failures };
        self.memory.containers.insert(name.to_owned(), trouble);
    }

    /// The image of a container as the user wrote it.
    pub(super) fn image_name(&self, name: &str) -> String {
        members::find(&self.pod, name).and_then(|(_, spec)| spec.image.clone()).unwrap_or_default()
    }

    async fn try_start(
        &mut self,
        spec: &Spec,
        restarts: u32,
        back_off: Duration,
        sandbox: &SandboxId,
    ) -> Result<(), Failure> {
        let attempt = self.seen.sandboxes.first().map_or(0, |sandbox| sandbox.attempt);
        let sandbox_config = self.sandbox_config(attempt);
        let image = self.image(spec, &sandbox_config).await?;
        let facts = self.ctx.facts(&self.seen.addresses);
        let objects = Arc::clone(&self.objects);
        let config_error = |error: env::ConfigError| Failure::new("CreateContainerConfigError", error);
        let environment = env::of(&self.pod, spec, &objects, &facts).map_err(config_error)?;
        let mounts = self.mounts(spec, restarts, environment.into_iter().collect()).await?;
        let from = container::Ingredients {
            pod: &self.pod,
            container: spec,
            restarts,
            back_off,
            image: &image,
            objects: &objects,
            facts: &facts,
            settings: &self.ctx.settings,
            unified: self.ctx.unified_cgroups,
            target: self.target(&spec.name)?,
        };
        let config = container::config(from, mounts).map_err(config_error)?;
        let log = PathBuf::from(&sandbox_config.log_directory).join(&spec.name);
        tokio::fs::create_dir_all(&log).await.map_err(|error| {
            Failure::new("CreateContainerError", format!("make {}: {error}", log.display()))
        })?;
        let runtime = &self.ctx.runtime;
        let id = runtime
            .create_container(sandbox, config, sandbox_config)
            .await
            .map_err(|error| Failure::runtime("CreateContainerError", error))?;
        let events = &self.ctx.events;
        let created = format!("Created container: {}", spec.name);
        events.pod(&self.pod, Some(&spec.name), Severity::Normal, "Created", &created).await;
        runtime.start_container(&id).await.map_err(|error| Failure::runtime("RunContainerError", error))?;
        let started = format!("Started container {}", spec.name);
        events.pod(&self.pod, Some(&spec.name), Severity::Normal, "Started", &started).await;
        self.post_start(spec, id).await
    }

    /// The container whose processes an ephemeral one is to see, if it says so.
    fn target(&self, name: &str) -> Result<Option<&ContainerId>, Failure> {
        let Some(target) = members::target(&self.pod, name) else { return Ok(None) };
        let found = self.seen.latest(target).map(|container| &container.id);
        let missing = || {
            Failure::new("CreateContainerConfigError", format!("unable to find target container {target}"))
        };
        found.map(Some).ok_or_else(missing)
    }

    async fn post_start(&self, spec: &Spec, id: ContainerId) -> Result<(), Failure> {
        let Some(hook) = spec.lifecycle.as_ref().and_then(|hooks| hooks.post_start.as_ref()) else {
            return Ok(());
        };
        let place = self.place(id.clone());
        let Err(words) = hooks::run(hook, spec, &place, &*self.ctx.runtime, POST_START).await else {
            return Ok(());
        };
        tracing::warn!(container = spec.name, "postStart failed: {words}");
        let events = &self.ctx.events;
        for (severity, reason, words) in [
            (Severity::Warning, "FailedPostStartHook", "PostStartHook failed"),
            (Severity::Normal, "Killing", "FailedPostStartHook"),
        ] {
            events.pod(&self.pod, Some(&spec.name), severity, reason, words).await;
        }
        self.ctx.runtime.stop_container(&id, policy::grace(&self.pod)).await.ok();
        Err(Failure::new("PostStartHookError", words))
    }

    async fn image(&mut self, spec: &Spec, sandbox: &PodSandboxConfig) -> Result<Image, Failure> {
        let name = spec.image.as_deref().unwrap_or_default();
        let fail = |error: ImageError| {
            let reason = error.reason();
            let outage = match error {
                ImageError::Pull(source) | ImageError::Inspect { source, .. } if source.is_outage() => {
                    Some(source)
                }
                ref other => return Failure::new(reason, other),
            };
            Failure { reason, message: String::new(), outage }
        };
        let ctx = Arc::clone(&self.ctx);
        let say = async |reason: &str, words: &str| {
            ctx.events.pod(&self.pod, Some(&spec.name), Severity::Normal, reason, words).await;
        };
        if let Some(image) = ctx.images.present(spec).await.map_err(fail)? {
            say("Pulled", &format!("Container image {name:?} already present on machine")).await;
            return Ok(image);
        }
        self.tell_missing_pull_secrets().await;
        say("Pulling", &format!("Pulling image {name:?}")).await;
        let pull = ctx.images.pull(spec, &self.pod, &self.objects, sandbox);
        let mut desired = self.desired.clone();
        let unwanted = async {
            loop {
                super::changed(&mut desired).await;
                match &*desired.borrow_and_update() {
                    super::Desired::Present(pod) if pod.metadata.deletion_timestamp.is_none() => {}
                    _ => return,
                }
            }
        };
        // A pull may take half an hour; a pod that is deleted meanwhile does not wait for it.
        let (image, found) = tokio::select! {
            pulled = pull => pulled.map_err(fail)?,
            () = unwanted => return Err(Failure::new("ErrImagePull", "given up: the pod is being deleted")),
        };
        if let Found::Pulled(words) = found {
            say("Pulled", &words).await;
        }
        Ok(image)
    }

    /// Volumes, `/etc/hosts` and the file for the last words.
    async fn mounts(
        &self,
        spec: &Spec,
        restarts: u32,
        environment: BTreeMap<String, String>,
    ) -> Result<Vec<Mount>, Failure> {
        let (pod, objects, ctx) = (Arc::clone(&self.pod), Arc::clone(&self.objects), Arc::clone(&self.ctx));
        let facts = self.ctx.facts(&self.seen.addresses);
        let addresses = self.seen.addresses.clone();
        let spec = spec.clone();
        let made = tokio::task::spawn_blocking(move || {
            let from =
                volumes::Ingredients { pod: &pod, objects: &objects, facts: &facts, settings: &ctx.settings };
            let mut mounts =
                volumes::for_container(from, &spec, &environment).map_err(|error| error.to_string())?;
            let dir = ctx.settings.pod_dir(pod.metadata.uid.as_deref().unwrap_or_default());
            let taken: Vec<String> = mounts.iter().map(|mount| mount.container_path.clone()).collect();
            if !taken.iter().any(|path| path == "/etc/hosts") {
                let of_host = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
                let text = dns::hosts(&pod, &addresses, &ctx.settings, &of_host);
                let path = dir.join("etc-hosts");
                write_if_changed(&path, &text)
                    .map_err(|error| format!("write {}: {error}", path.display()))?;
                mounts.push(container::bind(&path, "/etc/hosts", false));
            }
            let words =
                spec.termination_message_path.as_deref().unwrap_or(container::DEFAULT_TERMINATION_PATH);
            if !words.is_empty() && !taken.iter().any(|path| path == words) {
                let path = dir.join(volumes::LAST_WORDS).join(&spec.name).join(restarts.to_string());
                make_open_file(&path).map_err(|error| format!("make {}: {error}", path.display()))?;
                mounts.push(container::bind(&path, words, false));
            }
            Ok(mounts)
        });
        let made = made.await.map_err(|error| error.to_string()).and_then(|result| result);
        made.map_err(|message| Failure::new("CreateContainerConfigError", message))
    }
}

fn write_if_changed(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    // Written in place: running containers have this very file mounted.
    std::fs::write(path, text)
}

/// An empty file that any user inside the container may write.
fn make_open_file(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::File::create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
}
