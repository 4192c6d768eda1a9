//! What goes out to the client: answers once they may be given, what waits in its session, and why it is put out.

use bytes::BytesMut;
use mqtt_proto::v5::{Disconnect, DisconnectReasonCode, Packet};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::answers::Reply;
use super::{Connection, End, STALLED, Sink, Stream};
use crate::eventbus::broker::frame::Version;
use crate::eventbus::broker::router::Attached;
use crate::eventbus::broker::session::{Ending, Session};

/// Bytes written in one go.
const CHUNK: usize = 16 * 1024;

impl<T: Stream, S: Sink> Connection<T, S> {
    /// Says what may be said: the outcome is known, and what it promises is on disk.
    pub(super) fn answer(&mut self, attached: &Attached) -> Result<(), End> {
        while let Some((answer, stored)) = self.answers.heard() {
            if !stored {
                // MQTT 3.1.1 has no "no", and who hears one from MQTT 5 gives the message up: only a client that
                // reconnects sends it again.
                return Err(End::NotStored);
            }
            let ticket = match answer.reply {
                Reply::Received { pid } => {
                    self.session(attached, |session, _, journal| session.kept(pid, journal))?
                }
                _ => 0,
            };
            self.answers.wait_for_disk(answer, ticket);
        }
        let durable = *self.durable.borrow_and_update();
        while let Some(reply) = self.answers.due(durable) {
            self.put(reply.packet())?;
        }
        Ok(())
    }

    /// Moves what waits for the client into the output, up to a chunk.
    pub(super) fn fill(&mut self, attached: &Attached, window: usize) {
        if self.answers.holds_deliveries() {
            return;
        }
        let durable = *self.durable.borrow();
        while self.output.len() < CHUNK {
            let next = |session: &mut Session, _: &_, journal: &mut _| {
                session.next(window, durable, journal, Instant::now())
            };
            let Some(Some(packet)) = self.router.with(attached, next) else { break };
            let pid = match &packet {
                Packet::Publish(publish) => publish.qos_pid.pid(),
                _ => None,
            };
            // MQTT5-3.1.2-24, -25: what is too long for the client counts as delivered.
            if let (Ok(false), Some(pid)) = (self.put(packet), pid) {
                let _ = self.settled(attached, pid, Ending::TooLong);
            }
        }
        if self.output.len() >= CHUNK {
            attached.wake.notify_one();
        }
    }

    pub(super) fn say_why(&mut self, reason: DisconnectReasonCode, end: &End) {
        let mut disconnect = Disconnect::new(reason);
        disconnect.properties.reason_string = Some(end.to_string().into());
        if self.frames.version() == Some(Version::V5)
            && let Ok(false) = self.put(disconnect.into())
        {
            // MQTT5-3.14.2-3: what is too long with words goes without.
            let _ = self.put(Disconnect::new(reason).into());
        }
    }

    pub(super) fn put(&mut self, packet: Packet) -> Result<bool, End> {
        Ok(self.frames.put(packet, &mut self.output)?)
    }

    pub(super) async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all_buf(&mut self.output).await?;
            self.stream.flush().await
        };
        timeout(STALLED, write).await.map_err(|_| End::Stalled)??;
        if self.output.capacity() > 4 * CHUNK {
            self.output = BytesMut::with_capacity(1024);
        }
        Ok(())
    }
}
