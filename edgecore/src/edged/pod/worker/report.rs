//! What is told of the pod, and its end.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::plan::Volumes;
use super::super::{sandbox, status};
use super::{RoundError, Worker};
use crate::edged::config::Settings;
use crate::edged::{cgroups, volumes};

impl Worker {
    /// Says how the pod stands, if that differs from what was said, or if somebody else says otherwise.
    pub(super) async fn report(&mut self, now: Timestamp) -> Result<(), RoundError> {
        if !self.present {
            return Ok(());
        }
        let next = status::build(self.view(now), &self.ctx.node_facts);
        if matches!(next.phase.as_deref(), Some("Succeeded" | "Failed")) {
            self.ctx.admission.release(&self.identity().2);
        }
        let version = &self.pod.metadata.resource_version;
        let denied = status::is_denied(&self.pod) && self.objected != *version;
        if !denied && self.untold.is_none() && !status::differs(self.prior.as_ref(), &next) {
            return Ok(());
        }
        self.objected.clone_from(version);
        let (namespace, name, uid) = self.identity();
        let (store, status) = (&self.ctx.store, next.clone());
        match &self.untold {
            None => store.report_pod_status(&namespace, &name, &uid, status).await?,
            Some(event) => {
                store.report_pod_status_telling(&namespace, &name, &uid, status, event).await?;
            }
        }
        self.untold = None;
        tracing::debug!(phase = next.phase, "status reported");
        if self.prior.is_none() {
            self.memory.began = Some(now);
        }
        self.prior = Some(next);
        Ok(())
    }

    /// The end: nothing runs any more and the network is released. Says so, then forgets what is left in the runtime;
    /// a crash in between is made up for by the next round.
    pub(super) async fn finish(&mut self) -> Result<(), RoundError> {
        self.give_back(volumes::teardown).await?;
        if self.present && !self.memory.gone_said {
            // The exit codes disappear with the containers.
            self.report(self.ctx.clock.now()).await?;
            let (namespace, name, uid) = self.identity();
            self.ctx.store.report_pod_gone(&namespace, &name, &uid).await?;
            self.memory.gone_said = true;
        }
        for sandbox in &self.seen.sandboxes {
            self.ctx.runtime.remove_sandbox(&sandbox.id).await?;
        }
        for container in &self.seen.containers {
            self.ctx.runtime.remove_container(&container.id).await?;
        }
        let (uid, ctx) = (self.identity().2, Arc::clone(&self.ctx));
        tokio::task::spawn_blocking(move || cgroups::remove(&uid, &ctx.settings)).await.ok();
        let logs = sandbox::log_directory(&self.pod, &self.ctx.settings);
        if let Err(error) = tokio::fs::remove_dir_all(&logs).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("cannot remove {}: {error}", logs.display());
        }
        self.memory.finished = true;
        self.ctx.admission.release(&self.identity().2);
        Ok(())
    }

    /// The pod has ended: nothing is kept for it, renewed or tried again any more.
    pub(super) async fn release_volumes(&mut self) -> Result<(), RoundError> {
        self.give_back(volumes::release).await?;
        self.memory.volumes = Volumes::Released;
        self.memory.mounting = None;
        self.objects = Arc::default();
        self.renew = None;
        Ok(())
    }

    async fn give_back(&self, how: fn(&str, &Settings) -> io::Result<()>) -> Result<(), RoundError> {
        let (_, _, uid) = self.identity();
        let settings = self.ctx.settings.clone();
        tokio::task::spawn_blocking(move || how(&uid, &settings))
            .await
            .map_err(io::Error::other)
            .and_then(|result| result)
            .map_err(RoundError::Teardown)
    }
}
