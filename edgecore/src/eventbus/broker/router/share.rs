//! Shared subscriptions: of each group, one member gets a message (MQTT 5 §4.8.2). Clients of 3.1.1 may share too.

use std::collections::HashMap;
use std::sync::Arc;

use super::client::Client;
use crate::eventbus::broker::filter::Filter;
use crate::eventbus::broker::message::Message;
use crate::eventbus::broker::session::{Delivery, Session, Subscription};

#[derive(Debug, Default)]
pub(super) struct Shares {
    /// By the text of the subscription, which names group and filter.
    groups: HashMap<Arc<str>, Group>,
}

#[derive(Debug)]
struct Group {
    filter: Filter,
    members: Vec<Arc<str>>,
    /// Whose turn it is.
    next: usize,
}

impl Shares {
    pub(super) fn join(&mut self, subscription: &Subscription, client: &Arc<str>) {
        let group = self.groups.entry((&*subscription.text).into()).or_insert_with(|| Group {
            filter: subscription.filter.clone(),
            members: Vec::new(),
            next: 0,
        });
        if !group.members.contains(client) {
            group.members.push(Arc::clone(client));
        }
    }

    pub(super) fn leave(&mut self, text: &str, client: &Arc<str>) {
        if let Some(group) = self.groups.get_mut(text) {
            group.members.retain(|member| member != client);
            if group.members.is_empty() {
                self.groups.remove(text);
            }
        }
    }

    /// Who gets `message`, and how.
    pub(super) fn deliveries(
        &mut self,
        message: &Message,
        clients: &HashMap<Arc<str>, Client>,
        may_read: &dyn Fn(&Session) -> bool,
    ) -> Vec<(Arc<str>, Delivery)> {
        let matching: Vec<Arc<str>> = self
            .groups
            .iter()
            .filter(|(_, group)| group.filter.matches(&message.topic))
            .map(|(text, _)| Arc::clone(text))
            .collect();
        let deliveries = matching.into_iter().filter_map(|text| {
            let member = self.pick(&text, clients, may_read)?;
            let session = &clients.get(&member)?.session;
            let how = session.subscriptions.iter().find(|subscription| *subscription.text == *text)?;
            let delivery = Delivery {
                message: message.clone(),
                qos: message.qos.min(how.options.max_qos),
                retain: message.retain && how.options.retain_as_published,
                subscription: how.identifier,
                share: Some(text),
            };
            Some((member, delivery))
        });
        deliveries.collect()
    }

    /// The next member in turn who may have it, of those who are connected if there are any.
    pub(super) fn pick(
        &mut self,
        text: &str,
        clients: &HashMap<Arc<str>, Client>,
        may_read: &dyn Fn(&Session) -> bool,
    ) -> Option<Arc<str>> {
        let group = self.groups.get_mut(text)?;
        let count = group.members.len();
        let in_turn = (0..count).map(|step| (group.next + step) % count);
        let is = |at: &usize, connected: bool| {
            let client = group.members.get(*at).and_then(|member| clients.get(member));
            client.is_some_and(|client| client.link.is_some() == connected && may_read(&client.session))
        };
        let at =
            in_turn.clone().find(|at| is(at, true)).or_else(|| in_turn.clone().find(|at| is(at, false)))?;
        group.next = at + 1;
        group.members.get(at).cloned()
    }
}
