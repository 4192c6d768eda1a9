//! Service account tokens: asked from the cloud, kept so that a pod can restart while the cloud is away.

use k8s_openapi::api::authentication::v1::TokenRequest;
use proto::message::{Content, Group, Message, Operation, Route, Source};
use proto::resource::{ObjectKey, ResourceKind};
use tasks::clock;

use super::handle::Handle;
use super::writer::Write;
use super::{FetchError, StoreError, fetch, sql};

/// Even a long-lived token is refreshed once a day, as the kubelet does.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TokenRow {
    pub(super) key: String,
    pub(super) pod_uid: String,
    /// From here on a fresh one is asked for.
    pub(super) refresh_ms: i64,
    /// From here on it would be worthless if the clock were right.
    pub(super) expires_ms: i64,
    pub(super) json: String,
}

/// A token for a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodToken {
    /// The request with the token in its status.
    pub answer: TokenRequest,
    /// Whether it should have been renewed, and the cloud could not be asked: to be tried again soon.
    pub is_overdue: bool,
}

/// The kept token while it is young, else a fresh one; the kept one again if the cloud is away. Whether it has expired is not for this
/// node to say, whose clock may be wrong, and a pod that starts with an old token starts.
pub(super) async fn token(
    handle: &Handle,
    namespace: &str,
    account: &str,
    request: TokenRequest,
) -> Result<PodToken, FetchError> {
    let what = format!("a token of the service account {namespace}/{account}");
    let shape = |error: serde_json::Error| StoreError::shape(&what, error);
    let spec = serde_json::to_string(&request.spec).map_err(shape)?;
    let key = format!("{namespace}/{account}/{spec}");
    let held = sql::token(&handle.shared.pool(), &key).await?;
    let now = clock::unix_ms();
    let kept = |held: TokenRow, is_overdue| {
        let answer = serde_json::from_str(&held.json).map_err(shape)?;
        Ok(PodToken { answer, is_overdue })
    };
    if let Some(held) = held.clone().filter(|held| held.is_young(now)) {
        return kept(held, false);
    }
    match ask(handle, namespace, account, &request, &what).await {
        Ok(fresh) => {
            if let Some(row) = row(key, now, &fresh).map_err(shape)? {
                // A token that could not be kept is still good for this start of the pod.
                if let Err(reason) = handle.write(Write::Token(row)).await {
                    tracing::warn!("{what} is not kept for restarts without the cloud: {reason}");
                }
            }
            Ok(PodToken { answer: fresh, is_overdue: false })
        }
        Err(error @ (FetchError::NotFound(_) | FetchError::Forbidden(_))) => Err(error),
        Err(error) => match held {
            Some(held) => kept(held, true),
            None => Err(error),
        },
    }
}

async fn ask(
    handle: &Handle,
    namespace: &str,
    account: &str,
    request: &TokenRequest,
    what: &str,
) -> Result<TokenRequest, FetchError> {
    let key = ObjectKey::namespaced(namespace, ResourceKind::ServiceAccountToken, account);
    let content = Content::json(request).map_err(|error| StoreError::shape(what, error))?;
    let route = Route::new(Source::Edged, Group::Meta, Operation::Query, key.into());
    let answer = fetch::ask(handle, Message::new(route, content), what).await?;
    let token: TokenRequest = serde_json::from_value(answer)
        .map_err(|error| FetchError::Unavailable { what: what.to_owned(), reason: error.to_string() })?;
    let given = token.status.as_ref().and_then(|status| status.token.as_deref());
    if given.is_none_or(str::is_empty) {
        let reason = "the answer carries no token".to_owned();
        return Err(FetchError::Unavailable { what: what.to_owned(), reason });
    }
    Ok(token)
}

impl TokenRow {
    /// Whether no other is to be asked for yet. By a clock that was set back since, the token is from the future: then nobody knows.
    fn is_young(&self, now: i64) -> bool {
        let fifth = self.expires_ms.saturating_sub(self.refresh_ms);
        let given = (self.refresh_ms - DAY_MS).max(self.expires_ms.saturating_sub(fifth.saturating_mul(5)));
        (given..self.refresh_ms).contains(&now)
    }
}

/// `None` for a token that says no expiry: it is not kept.
fn row(key: String, now: i64, token: &TokenRequest) -> Result<Option<TokenRow>, serde_json::Error> {
    let expiry = token.status.as_ref().and_then(|status| status.expiration_timestamp.as_ref());
    let Some(expiry) = expiry else { return Ok(None) };
    // By a clock that is wrong it has expired or lives for years: it lives as long as it was given to, from now on.
    let left = expiry.0.as_millisecond() - now;
    let given = token
        .spec
        .as_ref()
        .and_then(|spec| spec.expiration_seconds)
        .map(|seconds| seconds.saturating_mul(1000));
    let life = match given {
        Some(given) if left <= 0 => given,
        Some(given) => left.min(given),
        None => left,
    };
    let bound = token.spec.as_ref().and_then(|spec| spec.bound_object_ref.as_ref());
    Ok(Some(TokenRow {
        key,
        pod_uid: bound.and_then(|bound| bound.uid.clone()).unwrap_or_default(),
        refresh_ms: now + (life / 5 * 4).min(DAY_MS),
        expires_ms: now.saturating_add(life),
        json: serde_json::to_string(token)?,
    }))
}
