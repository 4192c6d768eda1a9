//! CONNECT and its answer: who it is, whether they may come in, and what was agreed.

use std::sync::Arc;
use std::time::Duration;

use mqtt_proto::v5::{
    Connack, ConnackProperties, Connect, ConnectReasonCode, LastWill, Packet, PublishProperties,
};
use tokio::time::timeout;
use tracing::debug;

use super::{Connection, End, INTRODUCTION, RECEIVE_MAXIMUM, STALLED, Sink, Stream, TOPIC_ALIASES};
use crate::eventbus::broker::acl::{Deed, Who};
use crate::eventbus::broker::frame::{FrameError, Version};
use crate::eventbus::broker::message::Message;
use crate::eventbus::broker::router::{Attached, Hello, Refused, Will};
use crate::eventbus::broker::speak::speak;

/// A client that was let in.
pub(super) struct Introduced {
    pub(super) attached: Attached,
    /// Seconds; 0: the client may be silent for ever.
    pub(super) keep_alive: u16,
    /// Seconds that the session outlives the connection.
    pub(super) expiry: u32,
    /// Publishes with a QoS that may be on their way to the client at a time.
    pub(super) window: usize,
}

impl<T: Stream, S: Sink> Connection<T, S> {
    /// Lets the client in, or says why not.
    pub(super) async fn introduction(&mut self) -> Result<Introduced, End> {
        let connect = match timeout(INTRODUCTION, self.connect()).await {
            Ok(Ok(connect)) => connect,
            Ok(Err(end)) => {
                self.refuse_frame(&end);
                return Err(end);
            }
            Err(_) => return Err(End::NoIntroduction),
        };
        let properties = &connect.properties;
        self.frames.client_longest = properties.max_packet_size.map_or(usize::MAX, |most| most as usize);
        let user = self.check(&connect).await?;
        let expiry = properties.session_expiry_interval.unwrap_or(0);
        let window =
            usize::from(properties.receive_max.unwrap_or(u16::MAX)).min(self.router.limits().in_flight);
        let made = connect.client_id.is_empty().then(|| Arc::from(format!("auto-{}", uuid::Uuid::new_v4())));
        let id: &Arc<str> = made.as_ref().unwrap_or(&connect.client_id);
        // What waits for the disk is bounded: only what lasts needs it.
        if (expiry > 0 || connect.last_will.is_some()) && !self.router.has_room().await {
            let why = "the disk takes nothing: no sessions that last and no wills until it does";
            return Err(self.refuse(ConnectReasonCode::ServerUnavailable, why));
        }
        let will = connect.last_will.map(will);
        let who = Who { user: user.as_deref(), client: id };
        if will.as_ref().is_some_and(|will| !self.router.allows(who, Deed::Write, &will.message.topic)) {
            let why = "the client may not write to the topic of its will";
            return Err(self.refuse(ConnectReasonCode::NotAuthorized, why));
        }
        let hello = Hello { id, user: user.as_deref(), clean: connect.clean_start, expiry, will };
        let mut attached = match self.router.attach(hello) {
            Ok(attached) => attached,
            Err(Refused::Full) => {
                return Err(self.refuse(ConnectReasonCode::ServerBusy, "every client's place is taken"));
            }
            Err(Refused::Foreign) => {
                let why = "the session of that client id is another user's";
                return Err(self.refuse(ConnectReasonCode::NotAuthorized, why));
            }
        };
        if let Some(orphaned) = attached.orphaned.take() {
            speak(&self.router, &self.sink, orphaned).await;
        }
        if !self.is_on_disk(attached.ticket).await {
            self.router.renounce(&attached);
            self.depart(&attached).await;
            return Err(self.refuse(ConnectReasonCode::ServerUnavailable, "the session cannot be stored"));
        }
        self.is_on_disk_or_stuck(attached.will_ticket).await;
        let mut connack = Connack::new(attached.session_present, ConnectReasonCode::Success);
        connack.properties = ConnackProperties {
            receive_max: Some(RECEIVE_MAXIMUM),
            max_packet_size: u32::try_from(self.router.limits().packet_bytes).ok(),
            topic_alias_max: Some(TOPIC_ALIASES),
            assigned_client_id: made,
            ..ConnackProperties::default()
        };
        if !self.put(connack.into())? {
            self.router.renounce(&attached);
            self.depart(&attached).await;
            return Err(End::Refused("the client takes no packet as long as the answer to its CONNECT"));
        }
        for packet in attached.repeat.drain(..) {
            self.put(packet)?;
        }
        debug!(client = %attached.id, version = ?self.frames.version(), "MQTT client connected");
        Ok(Introduced { attached, keep_alive: connect.keep_alive, expiry, window })
    }

    /// The first packet, which must be CONNECT (MQTT-3.1.0-1).
    async fn connect(&mut self) -> Result<Connect, End> {
        let not_connect = || End::Frame(FrameError::Violation("MQTT-3.1.0-1: the first packet is CONNECT"));
        loop {
            if self.input.first().is_some_and(|first| *first != 0x10) {
                return Err(not_connect());
            }
            match self.frames.next(&mut self.input)? {
                Some(Packet::Connect(connect)) => return Ok(connect),
                Some(_) => return Err(not_connect()),
                None => self.read().await?,
            }
        }
    }

    /// Whether they are who they say, and ask for what there is. Returns who they are, if users log in here.
    async fn check(&mut self, connect: &Connect) -> Result<Option<Arc<str>>, End> {
        if connect.properties.auth_method.is_some() {
            let why = "enhanced authentication is not supported";
            return Err(self.refuse(ConnectReasonCode::BadAuthMethod, why));
        }
        // MQTT-3.1.3-8: in 3.1.1, who wants a session to last must name it.
        if self.frames.version() == Some(Version::V3) && connect.client_id.is_empty() && !connect.clean_start
        {
            return Err(self.refuse(ConnectReasonCode::ClientIdentifierNotValid, "no client id"));
        }
        let Some(users) = self.users.clone() else { return Ok(None) };
        let Some(name) = &connect.username else {
            return Err(self.refuse(ConnectReasonCode::NotAuthorized, "a user name is needed"));
        };
        let password = connect.password.clone().unwrap_or_default();
        if !users.knows(name, &password).await {
            return Err(
                self.refuse(ConnectReasonCode::BadUserNameOrPassword, "unknown user or wrong password")
            );
        }
        Ok(Some(Arc::clone(name)))
    }

    async fn is_on_disk(&mut self, ticket: u64) -> bool {
        let written = self.durable.wait_for(|durable| *durable >= ticket);
        matches!(timeout(STALLED, written).await, Ok(Ok(_)))
    }

    /// Waits as long as the disk takes something: a will is no reason to keep a client out.
    async fn is_on_disk_or_stuck(&mut self, ticket: u64) {
        let router = &self.router;
        let written = self.durable.wait_for(|durable| *durable >= ticket || router.is_stuck());
        let _ = timeout(STALLED, written).await;
    }

    fn refuse(&mut self, reason: ConnectReasonCode, why: &'static str) -> End {
        match self.put_refusal(reason, why) {
            Ok(()) => End::Refused(why),
            Err(end) => end,
        }
    }

    /// What is wrong with the CONNECT itself: MQTT 5 has a word for it (MQTT5-3.1.4-1), 3.1.1 for the version alone.
    fn refuse_frame(&mut self, end: &End) {
        let reason = match end {
            End::Frame(FrameError::Level(_)) => ConnectReasonCode::UnsupportedProtocolVersion,
            End::Frame(error) if self.frames.version() == Some(Version::V5) => {
                ConnectReasonCode::from_u8(error.reason() as u8).unwrap_or(ConnectReasonCode::MalformedPacket)
            }
            _ => return,
        };
        let _ = self.put_refusal(reason, &end.to_string());
    }

    fn put_refusal(&mut self, reason: ConnectReasonCode, why: &str) -> Result<(), End> {
        let mut connack = Connack::new(false, reason);
        connack.properties.reason_string = Some(why.into());
        if !self.put(connack.into())? {
            // MQTT5-3.2.2-19: what is too long with words goes without.
            self.put(Connack::new(false, reason).into())?;
        }
        Ok(())
    }
}

fn will(will: LastWill) -> Will {
    let delay = Duration::from_secs(will.properties.delay_interval.unwrap_or(0).into());
    let properties = PublishProperties {
        payload_is_utf8: will.properties.payload_is_utf8,
        message_expiry_interval: will.properties.message_expiry_interval,
        content_type: will.properties.content_type,
        response_topic: will.properties.response_topic,
        correlation_data: will.properties.correlation_data,
        user_properties: will.properties.user_properties,
        ..PublishProperties::default()
    };
    Will { message: Message::with(will.topic_name, will.payload, will.qos, will.retain, properties), delay }
}
