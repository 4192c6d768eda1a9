//! What a client's packets ask for.

use mqtt_proto::Pid;
use mqtt_proto::v5::{
    Disconnect, DisconnectReasonCode, Packet, Pubrel, PubrelReasonCode, Subscribe, SubscribeReasonCode,
    Unsubscribe,
};

use super::answers::{Answer, Reply};
use super::{Connection, End, Serving, Sink, Stream};
use crate::eventbus::broker::filter::Filter;
use crate::eventbus::broker::frame::FrameError;
use crate::eventbus::broker::router::Attached;
use crate::eventbus::broker::session::{Ending, Subscription};

impl<T: Stream, S: Sink> Connection<T, S> {
    pub(super) async fn take(&mut self, session: &mut Serving<'_>, packet: Packet) -> Result<(), End> {
        let attached = session.attached;
        match packet {
            Packet::Publish(publish) => self.publish(attached, publish).await,
            Packet::Puback(ack) => self.settled(attached, ack.pid, Ending::Acknowledged),
            Packet::Pubcomp(ack) => self.settled(attached, ack.pid, Ending::Completed),
            // MQTT5-4.4.0-2: a refusal ends it.
            Packet::Pubrec(ack) if ack.reason_code as u8 >= 0x80 => {
                self.settled(attached, ack.pid, Ending::Refused)
            }
            Packet::Pubrec(ack) => self.recorded(attached, ack.pid),
            Packet::Pubrel(release) => {
                let pid = release.pid;
                let (found, ticket) =
                    self.session(attached, |session, _, journal| session.complete(pid, journal))?;
                self.answers.push(Answer::settled(Reply::Completed { pid, found }, ticket));
                Ok(())
            }
            Packet::Subscribe(subscribe) => {
                self.subscribe(attached, subscribe).await;
                Ok(())
            }
            Packet::Unsubscribe(Unsubscribe { pid, topics, .. }) => {
                // MQTT 3.1.1 has no "no" to it: who reconnects asks again.
                if !self.may_note(attached).await {
                    return Err(End::NotStored);
                }
                let (codes, ticket) =
                    self.router.unsubscribe(attached, topics.iter().map(|filter| &**filter));
                self.answers.push(Answer::settled(Reply::Unsubscribed { pid, codes }, ticket));
                Ok(())
            }
            Packet::Pingreq => self.put(Packet::Pingresp).map(drop),
            Packet::Disconnect(disconnect) => Err(self.goodbye(session, &disconnect)),
            Packet::Connect(_) => Err(FrameError::Violation("MQTT-3.1.0-2: a second CONNECT").into()),
            _ => Err(FrameError::Violation("a packet that only a server sends").into()),
        }
    }

    fn goodbye(&mut self, serving: &mut Serving<'_>, disconnect: &Disconnect) -> End {
        if let Some(expiry) = disconnect.properties.session_expiry_interval {
            if *serving.expiry == 0 && expiry > 0 {
                return FrameError::Violation(
                    "MQTT5-3.14.2.2.2: a session that was to end cannot be made to last",
                )
                .into();
            }
            *serving.expiry = expiry;
            let _ = self.session(serving.attached, |session, _, journal| {
                session.expiry = expiry;
                session.note_itself(None, journal)
            });
        }
        match disconnect.reason_code {
            DisconnectReasonCode::NormalDisconnect => {
                // MQTT-3.1.2-10: who takes its leave has no will any more.
                self.router.renounce(serving.attached);
                End::Goodbye
            }
            _ => End::GoodbyeWithWill,
        }
    }

    pub(super) fn settled(&mut self, attached: &Attached, pid: Pid, ending: Ending) -> Result<(), End> {
        self.session(attached, |session, _, journal| session.settled(pid, ending, journal))
    }

    fn recorded(&mut self, attached: &Attached, pid: Pid) -> Result<(), End> {
        match self.session(attached, |session, _, journal| session.recorded(pid, journal))? {
            Some(ticket) => {
                self.answers.push(Answer::settled(Reply::Release { pid }, ticket));
                Ok(())
            }
            None => self.put(Pubrel::new(pid, PubrelReasonCode::PacketIdentifierNotFound).into()).map(drop),
        }
    }

    /// Whether changes of the session find room on their way to the disk, or need none.
    async fn may_note(&mut self, attached: &Attached) -> bool {
        let lasts = self.router.with(attached, |session, _, _| session.lasts()).unwrap_or(false);
        !lasts || self.router.has_room().await
    }

    async fn subscribe(&mut self, attached: &Attached, subscribe: Subscribe) {
        let identifier = subscribe.properties.subscription_id;
        let room = self.may_note(attached).await;
        let wanted = subscribe.topics.into_iter().map(|(text, options)| {
            if !room {
                return Err(SubscribeReasonCode::QuotaExceeded);
            }
            let (shared, filter) =
                Filter::shared(&text).map_err(|_| SubscribeReasonCode::TopicFilterInvalid)?;
            Ok(Subscription { text: (&*text).into(), filter, shared, options, identifier })
        });
        // The SUBACK goes out before the retained messages that the subscription queues.
        let (codes, ticket) = self.router.subscribe(attached, wanted.collect());
        self.answers.push(Answer::settled(Reply::Subscribed { pid: subscribe.pid, codes }, ticket));
    }
}
