//! Who gets what, under the lock.

use std::collections::HashMap;
use std::sync::Arc;

use mqtt_proto::QoS;
use mqtt_proto::v5::{RetainHandling, SubscribeReasonCode};

use super::Inner;
use super::client::Client;
use super::comings::Attached;
use super::retained::Retained;
use super::share::Shares;
use super::wills::{Due, Kept};
use crate::eventbus::broker::Limits;
use crate::eventbus::broker::acl::{Acl, Deed, Who};
use crate::eventbus::broker::journal::{Journal, Ticket};
use crate::eventbus::broker::message::Message;
use crate::eventbus::broker::session::{Clock, Delivery, Session, Subscription};

#[derive(Debug, Default)]
pub(super) struct State {
    /// Who may read and write what; `None`: everybody everything.
    pub(super) acl: Option<Arc<Acl>>,
    pub(super) clients: HashMap<Arc<str>, Client>,
    pub(super) shares: Shares,
    pub(super) retained: Retained,
    pub(super) journal: Journal,
    pub(super) next_connection: u64,
    /// Grows with every departure; says which absent session is the oldest.
    pub(super) departures: u64,
    /// The number of the newest will.
    pub(super) last_will: u64,
    /// Wills from before a restart that no client's return takes back: said to clients already, or older than another of
    /// the same client.
    pub(super) orphans: Vec<Kept>,
    /// Wills that are being said.
    pub(super) speaking: usize,
}

impl State {
    pub(super) fn allows(&self, who: Who<'_>, deed: Deed, topic: &str) -> bool {
        self.acl.as_ref().is_none_or(|acl| acl.allows(who, deed, topic))
    }

    pub(super) fn route(&mut self, origin: Option<&str>, message: &Message, inner: &Inner) -> Ticket {
        let limits = &inner.limits;
        let clock = Clock::read();
        let before = self.journal.last();
        let Self { acl, clients, shares, retained, journal, .. } = self;
        let may_read = |session: &Session| {
            acl.as_ref().is_none_or(|acl| acl.allows(session.who(), Deed::Read, &message.topic))
        };
        if message.retain {
            retained.keep(message, limits, journal, clock);
        }
        for (id, client) in clients.iter_mut() {
            let deliveries = client.session.deliveries(message, origin == Some(&**id));
            if deliveries.is_empty() || !may_read(&client.session) {
                continue;
            }
            for delivery in deliveries {
                client.push(delivery, inner, journal, clock);
            }
            if let Some(link) = &client.link {
                link.wake.notify_one();
            }
        }
        for (id, delivery) in shares.deliveries(message, clients, &may_read) {
            if let Some(client) = clients.get_mut(&id) {
                client.push(delivery, inner, journal, clock);
                if let Some(link) = &client.link {
                    link.wake.notify_one();
                }
            }
        }
        self.journal.since(before)
    }

    pub(super) fn subscribe(
        &mut self,
        attached: &Attached,
        subscription: Subscription,
        limits: &Limits,
        clock: Clock,
    ) -> SubscribeReasonCode {
        let Self { acl, clients, shares, retained, journal, .. } = self;
        let Some(client) = clients.get_mut(&attached.id) else {
            return SubscribeReasonCode::UnspecifiedError;
        };
        let who = client.session.who();
        if acl.as_ref().is_some_and(|acl| !acl.may_subscribe(who, &subscription.filter)) {
            return SubscribeReasonCode::NotAuthorized;
        }
        let Some(new) = client.session.subscribe(subscription.clone(), limits, journal) else {
            return SubscribeReasonCode::QuotaExceeded;
        };
        let (options, identifier) = (subscription.options, subscription.identifier);
        if subscription.shared {
            // MQTT 5 §3.3.1.3: no retained messages by shared subscriptions.
            shares.join(&subscription, &attached.id);
        } else if options.retain_handling == RetainHandling::SendAtSubscribe
            || (options.retain_handling == RetainHandling::SendAtSubscribeIfNotExist && new)
        {
            for message in retained.matching(&subscription.filter, clock.now) {
                let who = client.session.who();
                if acl.as_ref().is_some_and(|acl| !acl.allows(who, Deed::Read, &message.topic)) {
                    continue;
                }
                let delivery = Delivery {
                    qos: message.qos.min(options.max_qos),
                    message: message.clone(),
                    retain: true,
                    subscription: identifier,
                    share: None,
                };
                client.session.push(delivery, limits, journal, clock);
            }
        }
        match options.max_qos {
            QoS::Level0 => SubscribeReasonCode::GrantedQoS0,
            QoS::Level1 => SubscribeReasonCode::GrantedQoS1,
            QoS::Level2 => SubscribeReasonCode::GrantedQoS2,
        }
    }

    /// The session is over. Returns its will, if that is still to be spoken.
    pub(super) fn forget(&mut self, id: &Arc<str>, inner: &Inner, clock: Clock) -> Option<Due> {
        let mut client = self.clients.remove(id)?;
        client.session.note_end(&mut self.journal);
        for subscription in client.session.subscriptions.iter().filter(|subscription| subscription.shared) {
            self.shares.leave(&subscription.text, id);
        }
        for delivery in client.session.bequeath() {
            let Self { acl, clients, shares, .. } = self;
            let may_read = |session: &Session| {
                let topic = &delivery.message.topic;
                acl.as_ref().is_none_or(|acl| acl.allows(session.who(), Deed::Read, topic))
            };
            let heir = delivery.share.as_ref().and_then(|share| shares.pick(share, clients, &may_read));
            let Some(heir) = heir else { continue };
            if let Some(client) = self.clients.get_mut(&heir) {
                client.push(delivery, inner, &mut self.journal, clock);
                if let Some(link) = &client.link {
                    link.wake.notify_one();
                }
            }
        }
        client.will.map(Kept::fall_due)
    }
}
