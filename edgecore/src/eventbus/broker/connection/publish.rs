//! What a client publishes: whether it may, whether it came before, who gets it, and what is answered.

use mqtt_proto::v5::Publish;
use mqtt_proto::{QoS, QosPid};
use tracing::info;

use super::answers::{Answer, Reply};
use super::{Connection, End, RECEIVE_MAXIMUM, Sink, Stream, TOPIC_ALIASES};
use crate::eventbus::broker::frame::{FrameError, Version};
use crate::eventbus::broker::message::Message;
use crate::eventbus::broker::router::Attached;
use crate::eventbus::broker::session::Reception;

impl<T: Stream, S: Sink> Connection<T, S> {
    pub(super) async fn publish(&mut self, attached: &Attached, mut publish: Publish) -> Result<(), End> {
        self.resolve_alias(&mut publish)?;
        let qos_pid = publish.qos_pid;
        if self.frames.version() == Some(Version::V5) && qos_pid != QosPid::Level0 {
            let unreleased = self.session(attached, |session, _, _| session.unreleased())?;
            if self.answers.publishes() + unreleased >= usize::from(RECEIVE_MAXIMUM) {
                return Err(End::TooMany);
            }
        }
        let pid = match qos_pid {
            QosPid::Level0 => {
                // Nobody waits for it, and there is no disk for it: it is lost, as its quality allows.
                if self.may_write(attached, &publish.topic_name)? && self.router.has_room().await {
                    let message = Message::received(publish);
                    self.router.route(Some(&attached.id), &message);
                    self.sink.take(&message.topic, message.payload).await;
                }
                return Ok(());
            }
            QosPid::Level1(pid) | QosPid::Level2(pid) => pid,
        };
        let exactly_once = qos_pid.qos() == QoS::Level2;
        let mut told = None;
        if exactly_once {
            match self.session(attached, |session, _, journal| session.receive(pid, journal))? {
                Reception::First(sender) => told = Some(sender),
                Reception::Repeated(outcome) => {
                    self.answers.push(Answer::repeated(pid, outcome));
                    return Ok(());
                }
                Reception::Kept(ticket) => {
                    self.answers.push(Answer::settled(Reply::Received { pid }, ticket));
                    return Ok(());
                }
            }
        }
        if !self.may_write(attached, &publish.topic_name)? {
            if exactly_once {
                self.session(attached, |session, _, journal| session.complete(pid, journal))?;
            }
            self.answers.push(Answer::settled(Reply::Denied { pid, exactly_once }, 0));
            return Ok(());
        }
        let reply = if exactly_once { Reply::Received { pid } } else { Reply::Acknowledged { pid } };
        if !self.router.has_room().await {
            return Err(End::NotStored);
        }
        // Subscribers see the message before they see what we answer to it.
        let message = Message::received(publish);
        let ticket = self.router.route(Some(&attached.id), &message);
        let outcome = self.sink.take(&message.topic, message.payload).await;
        self.answers.push(Answer::new(reply, outcome, told, ticket));
        Ok(())
    }

    pub(super) fn may_write(&mut self, attached: &Attached, topic: &str) -> Result<bool, End> {
        let may = self.router.may_write(attached, topic).ok_or(End::TakenOver)?;
        if !may && !std::mem::replace(&mut self.denied, true) {
            let client = &attached.id;
            info!(%client, topic, "no rule of modules.eventBus.mqttAclFile lets this MQTT client write there: ignored");
        }
        Ok(may)
    }

    /// Gives the topic to a publish that names it by its alias, and remembers a new one (MQTT 5 §3.3.2.3.4).
    pub(super) fn resolve_alias(&mut self, publish: &mut Publish) -> Result<(), End> {
        let Some(alias) = publish.properties.topic_alias else { return Ok(()) };
        if alias == 0 || alias > TOPIC_ALIASES {
            return Err(FrameError::TopicAlias.into());
        }
        if publish.topic_name.is_empty() {
            publish.topic_name = self.aliases.get(&alias).cloned().ok_or(FrameError::TopicAlias)?;
        } else {
            self.aliases.insert(alias, publish.topic_name.clone());
        }
        Ok(())
    }
}
