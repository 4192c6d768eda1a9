//! The steps of an ImagePrePullJob.

mod words;

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Secret};
use proto::message::{Content, Operation};
use proto::operations::{Action, ImagePrePullSpec, ImagePrePullTemplate, ImageStatus, SecretName};
use proto::resource::{ObjectKey, ResourceKind};
use tasks::Backoff;
use tokio::time::Instant;

use super::runner::Done;
use super::{Tools, check};
use crate::edged::images::{self, ImageError, Puller, Refusal};
use crate::metamanager::FetchError;
use words::{Login, Words};

/// KubeEdge's pause between two attempts: ours grow from there.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The same when a registry was asked too often.
const BUSY_PAUSES: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(60));
/// More attempts help nobody.
const RETRIES: i64 = 100;
/// How long the cloud waits for the step if the job does not say.
const TIMEOUT_SECONDS: i64 = 300;
/// How long a secret is waited for while the cloud is away or starting.
const SECRET_WITHIN: Duration = Duration::from_secs(600);
const SECRET_AGAIN: Duration = Duration::from_secs(2);
/// Words about one image, and about all of them.
const LONGEST: usize = 1024;

/// One image of the job, and what became of it last.
struct Wanted<'a> {
    image: &'a str,
    result: Option<Result<(), ImageError>>,
}

/// How long is waited between the rounds.
struct Pauses {
    usual: Backoff,
    busy: Backoff,
    until: Instant,
}

pub(super) async fn step(action: Action, spec: &str, node: &str, tools: &Tools) -> Done {
    let template = match serde_json::from_str::<ImagePrePullSpec>(spec) {
        Ok(spec) => spec.image_pre_pull_template,
        Err(error) => return Done::of(Err(format!("the job's spec cannot be read: {error}"))),
    };
    match action {
        Action::Check => Done::of(check::check(&template.check_items).await),
        Action::Pull => pull(&template, node, tools).await,
    }
}

async fn pull(template: &ImagePrePullTemplate, node: &str, tools: &Tools) -> Done {
    let Some(puller) = &tools.images else {
        return Done::of(Err("this node runs no pods: modules.edged.enable is false".into()));
    };
    let secret = match template.secret() {
        Ok(None) => None,
        Ok(Some(name)) => match secret(&name, tools).await {
            Ok(secret) => Some((name, secret)),
            Err(reason) => return none(template, node, &reason),
        },
        Err(error) => return none(template, node, &error.to_string()),
    };
    let mut images: Vec<_> = template.images.iter().map(|image| Wanted { image, result: None }).collect();
    rounds(&mut images, puller, secret.as_ref().map(|(_, secret)| secret), template).await;
    let words = Words { node, place: puller.place().await };
    let failure = |wanted: &Wanted<'_>| {
        let error = wanted.result.as_ref()?.as_ref().err()?;
        let login = Login::of(secret.as_ref(), wanted.image);
        Some(words.of(wanted.image, &login, error))
    };
    summary(node, images.iter().map(|wanted| (wanted.image, failure(wanted))))
}

/// None of the images, all for the same reason.
fn none(template: &ImagePrePullTemplate, node: &str, reason: &str) -> Done {
    summary(node, template.images.iter().map(|image| (image.as_str(), Some(reason.to_owned()))))
}

/// Each image's status, and what is to be said of all.
fn summary<'a>(node: &str, images: impl Iterator<Item = (&'a str, Option<String>)>) -> Done {
    let statuses: Vec<_> = images
        .map(|(image, failure)| ImageStatus {
            image: image.to_owned(),
            status: if failure.is_none() { "True" } else { "False" }.into(),
            reason: failure.map(|reason| cut(&reason)).unwrap_or_default(),
        })
        .collect();
    let failed: Vec<_> = statuses.iter().filter(|status| status.status == "False").collect();
    let failure = failed.first().map(|first| {
        let all = statuses.len();
        cut(&format!("{} of {all} images were not pulled onto node {node}; {}", failed.len(), first.reason))
    });
    Done { failure, extend: serde_json::to_string(&statuses).unwrap_or_default() }
}

/// Tries all images, then again those that may come after all: one that does not come keeps none of the others waiting for
/// its attempts.
async fn rounds(
    images: &mut [Wanted<'_>],
    puller: &Puller,
    secret: Option<&Secret>,
    template: &ImagePrePullTemplate,
) {
    let seconds = template.timeout_seconds.filter(|seconds| *seconds > 0).unwrap_or(TIMEOUT_SECONDS);
    let mut pauses = Pauses::within(Duration::from_secs(seconds.unsigned_abs()));
    for left in (0..=template.retry_times.clamp(0, RETRIES)).rev() {
        let mut busy = false;
        let mut open = 0_usize;
        for wanted in images.iter_mut().filter(|wanted| wanted.is_open()) {
            wanted.result = Some(one(puller, wanted.image, secret).await);
            open += usize::from(wanted.is_open());
            busy |= wanted.refusal() == Some(Refusal::Busy);
        }
        if open == 0 || left == 0 {
            return;
        }
        let pause = pauses.next(busy, left, Instant::now());
        tracing::debug!(open, left, "images were not pulled, again in {pause:?}");
        tokio::time::sleep(pause).await;
    }
}

/// One image, if it is not there; `latest` may have changed, and is asked for again.
async fn one(puller: &Puller, image: &str, secret: Option<&Secret>) -> Result<(), ImageError> {
    let container = Container { image: Some(image.to_owned()), ..Container::default() };
    let name = images::normalized(image)?;
    if puller.present(&container).await?.is_some() {
        return Ok(());
    }
    let credentials = secret.map(|secret| images::credentials_of(secret, &name)).unwrap_or_default();
    puller.fetch(&name, credentials, Default::default()).await.map(drop)
}

/// The pull secret as the cloud has it now; as it was last known here when the cloud is away.
async fn secret(name: &SecretName, tools: &Tools) -> Result<Secret, String> {
    let key = ObjectKey::namespaced(&name.namespace, ResourceKind::Secret, &name.name);
    let what = format!("imageSecrets: secret {}/{}", name.namespace, name.name);
    let asked = async {
        loop {
            let reason = match tools.store.ask(Operation::Query, &key, Content::null()).await {
                Ok(object) => return Ok(object),
                Err(FetchError::NotFound(_)) => {
                    return Err(format!(
                        "{what} not found: make it with kubectl create secret docker-registry {} -n {}",
                        name.name, name.namespace
                    ));
                }
                Err(FetchError::Forbidden(reason)) => return Err(reason),
                Err(error) => error.to_string(),
            };
            if let Ok(Some(held)) = tools.store.get(&key).await {
                return Ok(held.object);
            }
            tracing::debug!(secret = %key, "the pull secret cannot be read, again soon: {reason}");
            let mut connection = tools.connection.clone();
            if connection.wait_for(|connection| connection.is_up()).await.is_err() {
                return Err(format!("{what}: {reason}"));
            }
            tokio::time::sleep(SECRET_AGAIN).await;
        }
    };
    let object = tokio::time::timeout(SECRET_WITHIN, asked).await.unwrap_or_else(|_| {
        Err(format!("{what} could not be read from the cloud in {} s", SECRET_WITHIN.as_secs()))
    })?;
    serde_json::from_value(object).map_err(|error| format!("{what} is no secret: {error}"))
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

// === impl Wanted ===

impl Wanted<'_> {
    /// Whether asking again may help.
    fn is_open(&self) -> bool {
        match &self.result {
            None => true,
            Some(Ok(())) => false,
            Some(Err(_)) => self.refusal().is_none_or(|refusal| !refusal.is_final()),
        }
    }

    fn refusal(&self) -> Option<Refusal> {
        let error = self.result.as_ref()?.as_ref().err()?;
        Some(Refusal::of(error, self.image))
    }
}

// === impl Pauses ===

impl Pauses {
    fn within(time: Duration) -> Self {
        Self {
            usual: Backoff::new(PAUSE.saturating_mul(2), LONGEST_PAUSE),
            busy: Backoff::new(BUSY_PAUSES.0, BUSY_PAUSES.1),
            until: Instant::now() + time,
        }
    }

    /// Grows, but so that `left` more attempts find their time in the job's; never shorter than KubeEdge's.
    fn next(&mut self, busy: bool, left: i64, now: Instant) -> Duration {
        let wanted = if busy { self.busy.pause() } else { self.usual.pause() };
        let each = self.until.saturating_duration_since(now) / u32::try_from(left).unwrap_or(1).max(1);
        wanted.min(each).max(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_but_leave_every_attempt_its_time_and_are_never_shorter_than_kubeedges() {
        let start = Instant::now();
        let mut pauses = Pauses::within(Duration::from_secs(300));
        let first = pauses.next(false, 3, start);
        let more: Vec<_> = (0..20).map(|_| pauses.next(false, 1, start)).collect();
        assert!((PAUSE..=PAUSE * 2).contains(&first), "{first:?}");
        assert!(more[19] >= LONGEST_PAUSE / 2 && more[19] <= LONGEST_PAUSE, "{more:?}");
        assert_eq!(pauses.next(false, 100, start), Duration::from_secs(3));
        assert!(
            pauses.next(true, 1, start) >= Duration::from_secs(2),
            "who was asked too often is left alone"
        );
        assert_eq!(pauses.next(false, 1, start + Duration::from_secs(400)), PAUSE);
    }

    #[test]
    fn a_refusal_that_is_final_ends_an_image_and_one_that_may_pass_does_not() {
        let name = ImageError::Name("A".into());
        let stalled = ImageError::Pull(crate::edged::runtime::RuntimeError::Stalled { limit: PAUSE });
        for (result, open) in
            [(None, true), (Some(Ok(())), false), (Some(Err(name)), false), (Some(Err(stalled)), true)]
        {
            assert_eq!(Wanted { image: "a:1", result }.is_open(), open);
        }
    }
}
