//! The steps of an ImagePrePullJob.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Secret};
use proto::message::{Content, Operation};
use proto::operations::{Action, ImagePrePullSpec, ImagePrePullTemplate, ImageStatus, SecretName};
use proto::resource::{ObjectKey, ResourceKind};

use super::runner::Done;
use super::{Tools, check};
use crate::edged::images::{self, ImageError, Puller};
use crate::metamanager::FetchError;

/// KubeEdge's pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// More attempts help nobody.
const RETRIES: i64 = 100;
/// How long a secret is waited for while the cloud is away or starting.
const SECRET_WITHIN: Duration = Duration::from_secs(600);
const SECRET_AGAIN: Duration = Duration::from_secs(2);
/// Words about one image, and about all of them.
const LONGEST: usize = 1024;

pub(super) async fn step(action: Action, spec: &str, tools: &Tools) -> Done {
    let template = match serde_json::from_str::<ImagePrePullSpec>(spec) {
        Ok(spec) => spec.image_pre_pull_template,
        Err(error) => return Done::of(Err(format!("the job's spec cannot be read: {error}"))),
    };
    match action {
        Action::Check => Done::of(check::check(&template.check_items).await),
        Action::Pull => pull(&template, tools).await,
    }
}

async fn pull(template: &ImagePrePullTemplate, tools: &Tools) -> Done {
    let Some(puller) = &tools.images else {
        return Done::of(Err("this node runs no pods: modules.edged.enable is false".into()));
    };
    let secret = match template.secret() {
        Ok(None) => None,
        Ok(Some(name)) => match secret(&name, tools).await {
            Ok(secret) => Some(secret),
            Err(reason) => return Done::of(Err(reason)),
        },
        Err(error) => return Done::of(Err(error.to_string())),
    };
    let attempts = template.retry_times.clamp(0, RETRIES) + 1;
    let mut statuses = Vec::new();
    for image in &template.images {
        let failure = one(puller, image, secret.as_ref(), attempts).await.err();
        statuses.push(ImageStatus {
            image: image.clone(),
            status: if failure.is_none() { "True" } else { "False" }.into(),
            reason: failure.map(|error| cut(&error.to_string())).unwrap_or_default(),
        });
    }
    let failed: Vec<_> = statuses.iter().filter(|status| status.status == "False").collect();
    let failure = failed.first().map(|first| {
        let all = statuses.len();
        cut(&format!("{} of {all} images were not pulled; {}: {}", failed.len(), first.image, first.reason))
    });
    Done { failure, extend: serde_json::to_string(&statuses).unwrap_or_default() }
}

/// One image, if it is not there; `latest` may have changed, and is asked for again.
async fn one(puller: &Puller, image: &str, secret: Option<&Secret>, attempts: i64) -> Result<(), ImageError> {
    let container = Container { image: Some(image.to_owned()), ..Container::default() };
    let name = images::normalized(image)?;
    let credentials = secret.map(|secret| images::credentials_of(secret, &name)).unwrap_or_default();
    let mut attempt = 1;
    loop {
        let pulled = match puller.present(&container).await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => puller.fetch(&name, credentials.clone(), Default::default()).await.map(drop),
            Err(error) => Err(error),
        };
        match pulled {
            Err(error) if attempt < attempts => {
                tracing::debug!(image, attempt, "not pulled, again soon: {error}");
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
            }
            pulled => return pulled,
        }
    }
}

/// The pull secret as the cloud has it now; as it was last known here when the cloud is away.
async fn secret(name: &SecretName, tools: &Tools) -> Result<Secret, String> {
    let key = ObjectKey::namespaced(&name.namespace, ResourceKind::Secret, &name.name);
    let what = format!("imageSecrets: secret {}/{}", name.namespace, name.name);
    let asked = async {
        loop {
            let reason = match tools.store.ask(Operation::Query, &key, Content::null()).await {
                Ok(object) => return Ok(object),
                Err(FetchError::NotFound(_)) => return Err(format!("{what} not found")),
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
