//! What the cloud says for rules, carried out.

use bytes::Bytes;
use proto::message::{Content, Group, Message, MessageId, Operation, Route, Source};
use proto::resource::Resource;
use proto::rules::{HttpRequest, HttpResponse, ORDERS, Orders, PublishBytes, Topic};
use proto::session::Outcome;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::Handle;
use super::worker::{Change, Command};
use crate::servicebus::refusal;

/// Topics, and URLs, that one node may be told of.
const MOST: usize = 4096;
/// Calls of local programs at a time.
const CALLS: usize = 64;

impl Handle {
    /// Does what the cloud wants. `Done` when it is on disk, published, or on its way to the program.
    pub async fn accept(&self, message: Message) -> Outcome {
        let resource = message.route.resource.to_string();
        match (&message.route.source, &message.route.operation) {
            (Source::RouterEventBus, Operation::Publish) => self.publish(&resource, &message.content),
            (Source::RouterEventBus, Operation::Update) if resource == ORDERS => {
                match message.content.parse_lenient::<Orders>() {
                    Ok(orders) => self.order(Change::All(orders)).await,
                    Err(error) => Outcome::Rejected(error.to_string()),
                }
            }
            (Source::RouterEventBus, Operation::Subscribe) => match Topic::to_subscribe(&resource) {
                Ok(topic) => self.order(Change::Subscribe(topic.as_str().to_owned())).await,
                Err(error) => Outcome::Rejected(error.to_string()),
            },
            (Source::RouterEventBus, Operation::Unsubscribe) => {
                let topic =
                    Topic::to_subscribe(&resource).map_or(resource, |topic| topic.as_str().to_owned());
                self.order(Change::Unsubscribe(topic)).await
            }
            (Source::RouterServiceBus, Operation::Start) => self.order(Change::Start(resource)).await,
            (Source::RouterServiceBus, Operation::Stop) => self.order(Change::Stop(resource)).await,
            (Source::RouterServiceBus, _) => self.call(resource, message),
            (source, operation) => {
                Outcome::Rejected(format!("this edge does not do {operation} of {source} for rules"))
            }
        }
    }

    fn publish(&self, topic: &str, content: &Content) -> Outcome {
        let Some(publisher) = &self.publisher else {
            warn!(topic, "a rule's message is dropped: modules.eventBus.enable is false");
            return Outcome::Rejected("modules.eventBus.enable is false on this edge".into());
        };
        if let Err(error) = Topic::to_publish(topic) {
            return Outcome::Rejected(error.to_string());
        }
        let payload: Bytes = match (content.as_str(), content.parse::<PublishBytes>()) {
            (Some(text), _) => text.into_owned().into(),
            (None, Ok(bytes)) => bytes.base64.into(),
            (None, Err(_)) => content.get().to_owned().into(),
        };
        publisher.publish(topic, payload);
        Outcome::Done
    }

    async fn order(&self, change: Change) -> Outcome {
        let known = self.orders.borrow().clone();
        let too_many = match &change {
            Change::All(orders) => orders.topics.len().max(orders.urls.len()) > MOST,
            Change::Subscribe(topic) => known.topics.len() >= MOST && !known.topics.contains(topic),
            Change::Start(url) => known.urls.len() >= MOST && !known.urls.contains(url),
            Change::Unsubscribe(_) | Change::Stop(_) => false,
        };
        if too_many {
            return Outcome::Rejected(format!("rules want more than {MOST} topics or URLs of this edge"));
        }
        let (done, stored) = oneshot::channel();
        if self.commands.send(Command::Order { change, done }).await.is_err() {
            return Outcome::Retry("edgecore is shutting down".into());
        }
        match stored.await {
            Ok(true) => Outcome::Done,
            _ => Outcome::Retry("the disk under rules.db refuses the write".into()),
        }
    }

    /// Calls once. What the program says goes up when it has said it; the store does not wait for it.
    fn call(&self, resource: String, message: Message) -> Outcome {
        let (handle, parent) = (self.clone(), message.header.id.clone());
        if self.calls.running() >= CALLS {
            let words = format!("{CALLS} calls of programs on this node are under way: try again");
            self.answers.add(answer(&parent, refusal(503, words)));
            return Outcome::Done;
        }
        let operation = message.route.operation.to_string();
        self.calls.spawn_once("call", move |stop| async move {
            let said = async {
                let Some(caller) = &handle.caller else {
                    return refusal(502, "modules.serviceBus.enable is false on this node".into());
                };
                match message.content.parse_lenient::<HttpRequest>() {
                    Ok(request) => caller.call(&operation, &resource, request).await,
                    Err(error) => refusal(400, format!("error to parse http request: {error}")),
                }
            };
            tokio::select! {
                () = stop.cancelled() => debug!("a call ends with edgecore"),
                said = said => handle.answers.add(answer(&parent, said)),
            }
        });
        Outcome::Done
    }
}

/// As KubeEdge's edge says it, but with the operation that it forgets when something is wrong.
fn answer(parent: &MessageId, said: HttpResponse) -> Message {
    let route = Route::new(Source::ServiceBus, Group::User, Operation::Upload, Resource::None);
    let mut message = Message::new(route, Content::json(&said).unwrap_or_else(|_| Content::null()));
    message.header.parent = Some(parent.clone());
    message
}
