//! One webhook, ready to be called.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::caller::Caller;
use super::matching::Matcher;
use super::reply::{Flaw, Reply};
use super::verdict::{Rule, met};
use super::{Question, service};
use crate::apiserver::Api;
use crate::registry::Resource;
use crate::registry::admission::WEBHOOK_NAMES;
use crate::schema::Json;
use crate::schema::custom::Documents;
use crate::status::{Reason, Status};

/// Where a webhook is.
#[derive(Debug)]
pub(super) enum Place {
    Url(String),
    Service { namespace: String, name: String, port: i64, path: String },
}

/// One entry of `webhooks`, compiled.
pub(super) struct Webhook {
    /// Name of the configuration that it is in.
    pub(super) configuration: String,
    pub(super) name: String,
    /// Whether a request fails when the webhook cannot be asked.
    pub(super) fails: bool,
    /// Whether it is asked again when others changed the object after it.
    pub(super) again: bool,
    matcher: Matcher,
    conditions: Vec<Rule>,
    timeout: Duration,
    /// Whether a dry run does no harm.
    harmless: bool,
    place: Place,
    ca: String,
    /// Made when it is needed: it reads certificates.
    caller: OnceLock<Result<Caller, String>>,
}

/// Why there is no answer that could be used.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The webhook could not be asked; the reason as Kubernetes gives it.
    Call(String),
    /// The request fails whatever the failure policy says.
    Final(Status),
}

// === impl Webhook ===

impl Webhook {
    pub(super) fn compile(configuration: &str, webhook: &Value) -> Self {
        let place = match webhook.pointer("/clientConfig/service").filter(|service| service.is_object()) {
            Some(service) => Place::Service {
                namespace: service.text("/namespace").to_owned(),
                name: service.text("/name").to_owned(),
                port: service.int("/port").unwrap_or(443),
                path: service.text("/path").to_owned(),
            },
            None => Place::Url(webhook.text("/clientConfig/url").to_owned()),
        };
        let seconds = webhook.int("/timeoutSeconds").and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            configuration: configuration.to_owned(),
            name: webhook.text("/name").to_owned(),
            fails: webhook.text("/failurePolicy") != "Ignore",
            again: webhook.text("/reinvocationPolicy") == "IfNeeded",
            matcher: Matcher::of_webhook(webhook),
            conditions: Rule::conditions(webhook, WEBHOOK_NAMES),
            timeout: Duration::from_secs(seconds.unwrap_or(10).clamp(1, 30)),
            harmless: matches!(webhook.text("/sideEffects"), "None" | "NoneOnDryRun"),
            place,
            ca: webhook.text("/clientConfig/caBundle").to_owned(),
            caller: OnceLock::new(),
        }
    }

    /// The version in which to ask about the request; none when it is not this webhook's business.
    pub(super) fn concerns(
        &self,
        api: &Api,
        question: &Question<'_>,
        object: Option<&Value>,
    ) -> Result<Option<Arc<Resource>>, Status> {
        let Some(asked) = self.matcher.matches(api, question, object)? else { return Ok(None) };
        if self.conditions.is_empty() {
            return Ok(Some(asked));
        }
        let shown = |object: Option<&Value>| object.map(|object| question.convert(&asked, object));
        let (new, old) = (shown(object), shown(question.old));
        let request = question.attributes(&asked, object);
        let mut documents = Documents::new(&[
            ("object", new.as_ref()),
            ("oldObject", old.as_ref()),
            ("request", Some(&request)),
        ]);
        match met(&mut documents, &self.conditions) {
            Ok(met) => Ok(Some(asked).filter(|_| met)),
            Err(_) if !self.fails => Ok(None),
            Err(why) => {
                let resource = &question.target.resource;
                Err(Status::forbidden(&resource.group, &resource.plural, question.name(object), &why))
            }
        }
    }

    /// Asks. Waits no longer than the webhook may take.
    pub(super) async fn ask(
        &self,
        api: &Api,
        question: &Question<'_>,
        asked: &Resource,
        object: Option<&Value>,
        mutating: bool,
    ) -> Result<Reply, Trouble> {
        if question.dry_run && !self.harmless {
            let message = format!("admission webhook \"{}\" does not support dry run", self.name);
            return Err(Trouble::Final(Status::bad_request(message)));
        }
        let uid = uuid::Uuid::new_v4().to_string();
        let review = question.review(&uid, asked, object).to_string();
        let failed = |why: String| Trouble::Call(format!("failed to call webhook: {why}"));
        let body = self.post(api, Bytes::from(review)).await.map_err(failed)?;
        let reply = Reply::read(&body, &uid, mutating).map_err(|flaw| match flaw {
            Flaw::NoReview(why) => failed(why),
            Flaw::Wrong(why) => Trouble::Call(format!("received invalid webhook response: {why}")),
        })?;
        let notes = &question.target.notes;
        for (key, value) in &reply.annotations {
            notes.annotate(format!("{}/{key}", self.name), value.clone());
        }
        for warning in &reply.warnings {
            notes.warn(warning.clone());
        }
        if reply.allowed { Ok(reply) } else { Err(Trouble::Final(reply.denial(&self.name))) }
    }

    async fn post(&self, api: &Api, review: Bytes) -> Result<Bytes, String> {
        let timeout = format!("timeout={}s", self.timeout.as_secs());
        let (shown, dialled) = match &self.place {
            Place::Url(url) => (format!("{url}?{timeout}"), Ok(format!("{url}?{timeout}"))),
            Place::Service { namespace, name, port, path } => {
                let path = if path.is_empty() { "/" } else { path };
                let dialled = service::endpoint(api, namespace, name, *port);
                (
                    format!("https://{name}.{namespace}.svc:{port}{path}?{timeout}"),
                    dialled.map(|address| format!("https://{address}{path}?{timeout}")),
                )
            }
        };
        let failed = |why: String| format!("Post \"{shown}\": {why}");
        let dialled = dialled.map_err(failed)?;
        let caller = self.caller.get_or_init(|| Caller::new(&self.ca, self.server_name().as_deref()));
        let caller = caller.as_ref().map_err(|why| failed(why.clone()))?;
        let host = shown.strip_prefix("https://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
        match tokio::time::timeout(self.timeout, caller.post(&dialled, host, review)).await {
            Ok(answer) => answer.map_err(|why| why.under(&shown)),
            Err(_) => Err(failed("context deadline exceeded".to_owned())),
        }
    }

    /// The name that a service's certificate must be for.
    fn server_name(&self) -> Option<String> {
        match &self.place {
            Place::Url(_) => None,
            Place::Service { namespace, name, .. } => Some(format!("{name}.{namespace}.svc")),
        }
    }

    /// What becomes of the request when the webhook could not be asked: it goes on, or fails with this.
    pub(super) fn unreached(&self, why: &str) -> Option<Status> {
        tracing::warn!(
            webhook = self.name,
            configuration = self.configuration,
            why,
            "a webhook could not be asked"
        );
        if !self.fails {
            return None;
        }
        let why = format!("failed calling webhook \"{}\": {why}", self.name);
        let status = Status::new(Reason::InternalError, format!("Internal error occurred: {why}"));
        Some(status.with_cause("", &why, ""))
    }
}
