//! Looking at what the runtime holds of the pod. Asks for details only where something has changed.

use jiff::Timestamp;

use super::{RoundError, Worker};
use crate::edged::clock::Look;
use crate::edged::housekeeping;
use crate::edged::pod::observed::Observed;
use crate::edged::pod::{container, policy, sandbox, words};
use crate::edged::runtime::{Container, ContainerId, ContainerState, PodUid, RuntimeError, Sandbox};

impl Worker {
    pub(super) async fn observe(&mut self) -> Result<(), RoundError> {
        let uid = PodUid(self.identity().2);
        let runtime = std::sync::Arc::clone(&self.ctx.runtime);
        let sandboxes = runtime.sandboxes(Some(&uid)).await?;
        let listed = runtime.containers(Some(&uid)).await?;
        let mut containers = Vec::with_capacity(listed.len());
        for container in listed {
            containers.extend(self.detail(container).await?);
        }
        let ids: Vec<&ContainerId> = containers.iter().map(|container| &container.id).collect();
        self.known.retain(|id, _| ids.contains(&id));
        let mut seen = Observed::new(sandboxes, containers, Vec::new());
        if let Some(newest) = seen.sandboxes.first().filter(|newest| newest.ready).cloned() {
            seen.addresses = self.addresses(&newest).await?;
        }
        seen.condemned = std::mem::take(&mut self.seen.condemned);
        seen.condemned.retain(|id| seen.containers.iter().any(|container| container.id == *id));
        let now = self.ctx.clock.now();
        seen.date(&self.seen, Look { wall: Timestamp::now(), now, before: self.looked });
        self.looked = Some(now);
        self.seen = seen;
        Ok(())
    }

    /// `None` when the container disappeared between the list and the question.
    async fn detail(&mut self, listed: Container) -> Result<Option<Container>, RoundError> {
        if let Some(known) = self.known.get(&listed.id)
            && std::mem::discriminant(&known.state) == std::mem::discriminant(&listed.state)
        {
            return Ok(Some(known.clone()));
        }
        let mut container = match self.ctx.runtime.inspect(&listed.id).await {
            Ok(container) => Container { sandbox: listed.sandbox, ..container },
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if container.exit().is_some() {
            container = self.with_last_words(container).await?;
        }
        if !matches!(container.state, ContainerState::Created | ContainerState::Unknown) {
            self.known.insert(container.id.clone(), container.clone());
        }
        Ok(Some(container))
    }

    /// What waited for its next start when the agent was last heard of still does.
    pub(super) fn recall_condemned(&mut self) {
        for status in self.prior.iter().flat_map(|prior| prior.container_statuses.iter().flatten()) {
            let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
            let id = status.container_id.as_deref().and_then(|id| id.split_once("://"));
            if let Some((_, id)) = id
                && waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
            {
                self.seen.condemned.insert(ContainerId(id.to_owned()));
            }
        }
    }

    async fn with_last_words(&self, mut container: Container) -> Result<Container, RoundError> {
        let log = sandbox::log_directory(&self.pod, &self.ctx.settings)
            .join(container::log_path(&container.name, container.restarts()));
        let read = tokio::task::spawn_blocking(move || {
            if let ContainerState::Exited(exit) = &container.state {
                let message = words::read(&container, exit, &log);
                if let ContainerState::Exited(exit) = &mut container.state {
                    exit.message = message;
                }
            }
            container
        });
        read.await.map_err(|error| RuntimeError::failed("read the last words", error.to_string()).into())
    }

    async fn addresses(&mut self, newest: &Sandbox) -> Result<Vec<std::net::IpAddr>, RoundError> {
        if policy::host_network(&self.pod) {
            return Ok(Vec::new());
        }
        if let Some((id, known)) = &self.addresses
            && *id == newest.id
        {
            return Ok(known.clone());
        }
        let addresses = match self.ctx.runtime.addresses(&newest.id).await {
            Ok(addresses) => addresses,
            Err(error) if error.is_not_found() => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        if !addresses.is_empty() {
            self.addresses = Some((newest.id.clone(), addresses.clone()));
        }
        Ok(addresses)
    }

    /// Removes the log of a container that is forgotten.
    pub(super) async fn remove_log(&mut self, id: &ContainerId) {
        let Some(gone) = self.known.remove(id) else { return };
        let logs = sandbox::log_directory(&self.pod, &self.ctx.settings);
        let path = logs.join(container::log_path(&gone.name, gone.restarts()));
        let file = path.clone();
        let removed = tokio::task::spawn_blocking(move || housekeeping::remove_log(&file)).await;
        if let Err(error) = removed.map_err(std::io::Error::other).and_then(|result| result) {
            tracing::warn!("cannot remove {}: {error}", path.display());
        }
        if let Some(words) = gone.last_words {
            tokio::fs::remove_file(words).await.ok();
        }
    }

    /// Whether anything that was tried is still to be waited for.
    pub(super) fn pause_after(failures: u32, first: i64, longest: i64, now: Timestamp) -> Timestamp {
        let seconds = first.saturating_mul(2_i64.saturating_pow(failures.min(16))).min(longest);
        now.saturating_add(jiff::SignedDuration::from_millis(seconds)).unwrap_or(now)
    }
}
