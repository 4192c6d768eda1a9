//! Getting what the pod refers to, and making its volumes ready or up to date.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1 as auth;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proto::resource::{ObjectKey, ResourceKind};
use serde::de::DeserializeOwned;

use super::Worker;
use crate::edged::events::Severity;
use crate::edged::objects::{Absent, Objects, References, Token, TokenRequest};
use crate::edged::pod::plan::{Trouble, Volumes};
use crate::edged::pod::policy;
use crate::edged::volumes;
use crate::metamanager::{FetchError, PodToken};

/// First and longest pause between attempts to make volumes ready, in milliseconds.
const VOLUME_PAUSE: (i64, i64) = (500, 120_000);
/// The shortest time to the next question for a token.
const TOKEN_PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// Even a long-lived token is renewed once a day.
const TOKEN_LONGEST: SignedDuration = SignedDuration::from_hours(24);

impl Worker {
    /// Brings objects and volumes up to date if something may have changed, or if it failed and is due again.
    pub(super) async fn prepare(&mut self) {
        let now = self.ctx.clock.now();
        let due = |time: Option<Timestamp>| time.is_some_and(|time| now >= time);
        let renew = due(self.renew);
        let retry = self.memory.volumes != Volumes::Ready && self.memory.mounting.is_none()
            || due(self.memory.mounting.as_ref().map(|trouble| trouble.until));
        if !(self.stale || renew || retry) {
            return;
        }
        let references = References::of(&self.pod);
        let now_there = Arc::new(self.gather(&references, now).await);
        let before = std::mem::replace(&mut self.objects, now_there);
        self.stale = false;
        if self.pull_secrets().any(|name| before.secret(name) != self.objects.secret(name)) {
            // Other credentials may be let in.
            self.memory.containers.retain(|_, trouble| !trouble.is_pull());
        }
        if self.memory.volumes == Volumes::Released {
            self.memory.volumes = Volumes::Unknown;
        }
        match self.sync_volumes().await {
            Ok(()) => {
                self.memory.volumes = Volumes::Ready;
                self.memory.mounting = None;
            }
            Err(message) => {
                let failures =
                    self.memory.mounting.as_ref().map_or(0, |trouble| trouble.failures.saturating_add(1));
                let until = Self::pause_after(failures, VOLUME_PAUSE.0, VOLUME_PAUSE.1, now);
                let event = format!("MountVolume.SetUp failed for {message}");
                self.ctx.events.pod(&self.pod, None, Severity::Warning, "FailedMount", &event).await;
                let reason = "FailedMount".to_owned();
                self.memory.mounting = Some(Trouble { reason, message, since: now, until, failures });
            }
        }
    }

    /// Names of the secrets with the pod's credentials for registries.
    fn pull_secrets(&self) -> impl Iterator<Item = &str> {
        let references = policy::spec(&self.pod).image_pull_secrets.iter().flatten();
        references.map(|reference| reference.name.as_str())
    }

    /// Says which credentials could not be had, before a pull that may fail for want of them.
    pub(super) async fn tell_missing_pull_secrets(&self) {
        let missing: Vec<&str> =
            self.pull_secrets().filter(|name| self.objects.secret(name).is_err()).collect();
        if missing.is_empty() {
            return;
        }
        let words = format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            missing.join(", ")
        );
        let reason = "FailedToRetrieveImagePullSecret";
        self.ctx.events.pod(&self.pod, None, Severity::Warning, reason, &words).await;
    }

    async fn sync_volumes(&self) -> Result<(), String> {
        if policy::spec(&self.pod).volumes.as_ref().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        let (pod, objects, ctx) = (Arc::clone(&self.pod), Arc::clone(&self.objects), Arc::clone(&self.ctx));
        let facts = self.ctx.facts(&self.seen.addresses);
        let sync = move || {
            let from =
                volumes::Ingredients { pod: &pod, objects: &objects, facts: &facts, settings: &ctx.settings };
            volumes::sync(from).map_err(|error| error.to_string())
        };
        tokio::task::spawn_blocking(sync).await.map_err(|error| error.to_string()).and_then(|result| result)
    }

    async fn gather(&mut self, references: &References, now: Timestamp) -> Objects {
        let namespace = self.identity().0;
        let mut objects = Objects::default();
        for name in &references.config_maps {
            let found: Result<ConfigMap, Absent> =
                self.fetch(&namespace, ResourceKind::ConfigMap, name).await;
            objects.config_maps.insert(name.clone(), found);
        }
        for name in &references.secrets {
            let found: Result<Secret, Absent> = self.fetch(&namespace, ResourceKind::Secret, name).await;
            objects.secrets.insert(name.clone(), found);
        }
        self.renew = None;
        let mut tokens = BTreeMap::new();
        for request in &references.tokens {
            let found = self.token(&namespace, request, now).await;
            if let Ok(token) = &found {
                self.renew = Some(self.renew.map_or(token.renew, |renew| renew.min(token.renew)));
            }
            tokens.insert(request.clone(), found);
        }
        objects.tokens = tokens;
        self.gather_claims(&namespace, references, &mut objects).await;
        objects
    }

    pub(super) async fn fetch<T: DeserializeOwned>(
        &self,
        namespace: &str,
        kind: ResourceKind,
        name: &str,
    ) -> Result<T, Absent> {
        self.fetch_key(&ObjectKey::namespaced(namespace, kind, name)).await
    }

    pub(super) async fn fetch_key<T: DeserializeOwned>(&self, key: &ObjectKey) -> Result<T, Absent> {
        let found = self.ctx.store.fetch(key).await.map_err(absent)?;
        serde_json::from_value(found.object)
            .map_err(|error| Absent::Unavailable(format!("what is stored of it cannot be read: {error}")))
    }

    async fn token(&self, namespace: &str, request: &TokenRequest, now: Timestamp) -> Result<Token, Absent> {
        let account = policy::spec(&self.pod).service_account_name.as_deref().unwrap_or("default");
        let meta = &self.pod.metadata;
        let audiences = (!request.audience.is_empty()).then(|| vec![request.audience.clone()]);
        let question = auth::TokenRequest {
            metadata: ObjectMeta::default(),
            spec: Some(auth::TokenRequestSpec {
                audiences,
                expiration_seconds: Some(request.seconds),
                bound_object_ref: Some(auth::BoundObjectReference {
                    kind: Some("Pod".into()),
                    api_version: Some("v1".into()),
                    name: meta.name.clone(),
                    uid: meta.uid.clone(),
                }),
            }),
            status: None,
        };
        let found = self.ctx.store.service_account_token(namespace, account, question).await;
        let PodToken { answer, is_overdue } = found.map_err(absent)?;
        let status = answer.status.ok_or_else(|| Absent::Unavailable("the answer has no token".into()))?;
        let text = status.token.unwrap_or_default();
        let left = status.expiration_timestamp.map(|time| Timestamp::now().duration_until(time.0));
        let life = answer.spec.and_then(|spec| spec.expiration_seconds).map(SignedDuration::from_secs);
        let wait = if is_overdue { TOKEN_PAUSE } else { token_pause(left.unwrap_or_default(), life) };
        Ok(Token { text, renew: now.saturating_add(wait).unwrap_or(Timestamp::MAX) })
    }
}

/// How long a token is used before another one is asked for. By this node's clock it has so much time left: never more than its whole
/// life, and if none, the clock is wrong, for nobody is given a token that has expired.
fn token_pause(left: SignedDuration, life: Option<SignedDuration>) -> SignedDuration {
    let left = match life {
        Some(life) if left <= SignedDuration::ZERO => life,
        Some(life) => left.min(life),
        None => left,
    };
    SignedDuration::from_secs(left.as_secs().max(0) / 5 * 4).clamp(TOKEN_PAUSE, TOKEN_LONGEST)
}

fn absent(error: FetchError) -> Absent {
    match error {
        FetchError::NotFound(_) => Absent::NotFound,
        FetchError::Disconnected(_) => Absent::Offline,
        other => Absent::Unavailable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_in_time_whatever_the_clock_says() {
        let hours = SignedDuration::from_hours;
        let four_fifths = SignedDuration::from_mins(48);
        assert_eq!(token_pause(hours(1), Some(hours(1))), four_fifths);
        assert_eq!(token_pause(hours(24 * 365), Some(hours(1))), four_fifths, "the clock is a year behind");
        assert_eq!(token_pause(hours(-24 * 365), Some(hours(1))), four_fifths, "the clock is a year ahead");
        assert_eq!(
            token_pause(SignedDuration::from_mins(10), Some(hours(1))),
            SignedDuration::from_mins(8),
            "a kept one"
        );
        assert_eq!(token_pause(hours(1000), None), TOKEN_LONGEST);
        assert_eq!(token_pause(SignedDuration::ZERO, None), TOKEN_PAUSE);
    }
}
