//! What is on its way to the client, within bounds, until the client has settled it.

use mqtt_proto::v5::{Packet, Pubrel};
use mqtt_proto::{Pid, QoS, QosPid};
use tokio::time::Instant;

use super::{Clock, Delivery, Session};
use crate::eventbus::broker::Limits;
use crate::eventbus::broker::journal::{Change, Journal, Ticket};
use crate::eventbus::broker::message::Delivered;

/// A delivery that waits to be sent.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) delivery: Delivery,
    pub(super) pid: Option<Pid>,
    pub(super) dup: bool,
    /// It is sent once this is on disk: an identifier that a crash forgets would be given to another message.
    pub(super) ticket: Ticket,
}

/// Sent with a QoS and not yet settled.
#[derive(Debug)]
pub(super) enum Unsettled {
    Published(Delivery),
    Released,
}

/// What ends a message's way to the client.
#[derive(Debug, Clone, Copy)]
pub(in crate::eventbus::broker) enum Ending {
    /// PUBACK.
    Acknowledged,
    /// PUBCOMP.
    Completed,
    /// A PUBREC that refuses it.
    Refused,
    /// The client takes nothing as long.
    TooLong,
}

impl Ending {
    /// An answer of another quality, or before its turn, ends nothing: the message is sent again when the client comes
    /// back (MQTT5-4.3.2-3, 4.3.3-3, 4.3.3-5).
    fn ends(self, state: &Unsettled) -> bool {
        match (self, state) {
            (Self::TooLong, _) | (Self::Completed, Unsettled::Released) => true,
            (Self::Acknowledged, Unsettled::Published(delivery)) => delivery.qos == QoS::Level1,
            (Self::Refused, Unsettled::Published(delivery)) => delivery.qos == QoS::Level2,
            (Self::Completed, Unsettled::Published(_))
            | (Self::Acknowledged | Self::Refused, Unsettled::Released) => false,
        }
    }
}

impl Session {
    /// Whether there is a place for one more message of `size` bytes.
    pub(super) fn has_room(&self, size: usize, limits: &Limits) -> bool {
        let messages = if self.online { limits.queue_messages } else { limits.offline_messages };
        self.queue.len() < messages && self.queued_bytes + size <= limits.queue_bytes
    }

    /// Queues a message. Who does not read loses what has no room: the twins do not wait for a slow reader.
    pub(in crate::eventbus::broker) fn push(
        &mut self,
        delivery: Delivery,
        limits: &Limits,
        journal: &mut Journal,
        clock: Clock,
    ) {
        let size = delivery.message.size();
        let worthless = !self.online && delivery.qos == QoS::Level0;
        if worthless || !self.has_room(size, limits) {
            self.dropped += u64::from(!worthless);
            return;
        }
        let pid = (delivery.qos != QoS::Level0).then(|| self.next_pid());
        let mut ticket = 0;
        if let Some(pid) = pid {
            ticket = self.note(journal, |_| self.queued(pid, &delivery, clock));
        }
        self.queued_bytes += size;
        self.queue.push_back(Queued { delivery, pid, dup: false, ticket });
    }

    /// The next packet to write, as far as the window of unsettled ones and the disk allow.
    pub(in crate::eventbus::broker) fn next(
        &mut self,
        window: usize,
        durable: Ticket,
        journal: &mut Journal,
        now: Instant,
    ) -> Option<Packet> {
        loop {
            let front = self.queue.front()?;
            let room = self.unsettled.len() < window;
            if (front.pid.is_some() && !room) || front.ticket > durable {
                return None;
            }
            let Queued { delivery, pid, dup, .. } = self.queue.pop_front()?;
            self.queued_bytes -= delivery.message.size();
            if delivery.message.is_expired(now) && !dup {
                if let Some(pid) = pid {
                    self.give_up(pid, journal);
                }
                continue;
            }
            let packet = delivery.message.packet(delivered(&delivery, pid, dup), now);
            if let Some(pid) = pid {
                self.unsettled.push_back((pid, Unsettled::Published(delivery)));
            }
            return Some(packet.into());
        }
    }

    pub(super) fn give_up(&mut self, pid: Pid, journal: &mut Journal) {
        self.in_use.remove(&pid);
        self.note(journal, |client| Some(Change::Settled { client, pid }));
    }

    /// The client has it, or does not want it. Identifiers that are unknown are ignored.
    pub(in crate::eventbus::broker) fn settled(&mut self, pid: Pid, ending: Ending, journal: &mut Journal) {
        let before = self.unsettled.len();
        self.unsettled.retain(|(known, state)| *known != pid || !ending.ends(state));
        if self.unsettled.len() < before {
            self.give_up(pid, journal);
        }
    }

    /// PUBREC: from now on only the PUBREL is repeated, which is sent when the ticket is on disk. `None`: nobody knows
    /// of such a message.
    pub(in crate::eventbus::broker) fn recorded(
        &mut self,
        pid: Pid,
        journal: &mut Journal,
    ) -> Option<Ticket> {
        let (_, state) = self.unsettled.iter_mut().find(|(known, _)| *known == pid)?;
        if matches!(state, Unsettled::Published(delivery) if delivery.qos != QoS::Level2) {
            return None;
        }
        *state = Unsettled::Released;
        Some(self.note(journal, |client| Some(Change::Released { client, pid })))
    }

    /// The client came back: what was sent and not settled goes first again (MQTT-4.4.0-1).
    pub(in crate::eventbus::broker) fn resume(&mut self) -> Vec<Packet> {
        self.online = true;
        let mut releases = Vec::new();
        let mut again = Vec::new();
        for (pid, state) in std::mem::take(&mut self.unsettled) {
            match state {
                Unsettled::Published(delivery) => again.push((pid, delivery)),
                Unsettled::Released => {
                    releases.push(Pubrel::new_success(pid).into());
                    self.unsettled.push_back((pid, Unsettled::Released));
                }
            }
        }
        for (pid, delivery) in again.into_iter().rev() {
            self.queued_bytes += delivery.message.size();
            self.queue.push_front(Queued { delivery, pid: Some(pid), dup: true, ticket: 0 });
        }
        releases
    }

    /// The client went: what is not worth keeping goes with it.
    pub(in crate::eventbus::broker) fn leave(&mut self, limits: &Limits, journal: &mut Journal) {
        self.online = false;
        self.queue.retain(|queued| queued.pid.is_some());
        let sent = self.queue.iter().take_while(|queued| queued.dup).count();
        for over in self.queue.split_off(self.queue.len().min(sent + limits.offline_messages)) {
            if let Some(pid) = over.pid {
                self.give_up(pid, journal);
            }
        }
        self.queue.shrink_to_fit();
        self.queued_bytes = self.queue.iter().map(|queued| queued.delivery.message.size()).sum();
    }

    /// What others of its shared subscriptions should get now that it is over (MQTT 5 §4.8.2): what the client may have
    /// seen goes on only if it may be seen twice.
    pub(in crate::eventbus::broker) fn bequeath(&mut self) -> Vec<Delivery> {
        let sent = std::mem::take(&mut self.unsettled).into_iter().filter_map(|(_, state)| match state {
            Unsettled::Published(delivery) if delivery.qos == QoS::Level1 => Some(delivery),
            _ => None,
        });
        let waiting = std::mem::take(&mut self.queue);
        let waiting = waiting.into_iter().filter(|queued| !queued.dup || queued.delivery.qos != QoS::Level2);
        sent.chain(waiting.map(|queued| queued.delivery))
            .filter(|delivery| delivery.share.is_some())
            .collect()
    }

    pub(super) fn next_pid(&mut self) -> Pid {
        loop {
            self.last_pid += 1;
            // Window and queue are far smaller than the 65,535 identifiers, so one is free.
            if self.in_use.insert(self.last_pid) {
                return self.last_pid;
            }
        }
    }
}

pub(super) fn delivered(delivery: &Delivery, pid: Option<Pid>, dup: bool) -> Delivered {
    let qos_pid = match (pid, delivery.qos) {
        (Some(pid), QoS::Level2) => QosPid::Level2(pid),
        (Some(pid), _) => QosPid::Level1(pid),
        (None, _) => QosPid::Level0,
    };
    Delivered { qos_pid, dup, retain: delivery.retain, subscription: delivery.subscription }
}
