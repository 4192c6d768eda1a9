//! When devices were heard last. An equal value is neither written nor sent, so this is how the cloud tells a device that says the
//! same from one that says nothing.
//!
//! In memory only: written down it would wear the flash out, and after a restart a device that lives says so by itself. What
//! was heard while the cloud was away is told when it is back.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use futures::StreamExt as _;
use proto::devices::SeenReport;
use proto::resource::Resource;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::engine::DeviceId;
use crate::edgehub::{Connection, Tell, Word};

/// How often at most the cloud is told.
const EVERY: Duration = Duration::from_secs(60);
/// Most devices in one message.
const MOST: usize = 1000;

/// When devices were heard, for the cloud.
pub type Presence = Word<Seen>;

/// What is known of it.
#[derive(Debug)]
pub struct Seen {
    /// Since when devices are listened to.
    began: Instant,
    devices: HashMap<DeviceId, Heard>,
    /// What the message on its way tells.
    telling: Vec<(DeviceId, Instant)>,
    /// Of that message.
    version: u64,
    /// It is time to tell.
    due: bool,
    /// The cloud of this session has been told something, if only that there is nothing.
    greeted: bool,
    /// The cloud of this session does not understand it.
    deaf: bool,
}

#[derive(Debug)]
struct Heard {
    at: Instant,
    told: Option<Instant>,
}

impl Presence {
    pub(super) fn new(connection: Option<watch::Receiver<Connection>>) -> Self {
        let seen = Seen {
            began: Instant::now(),
            devices: HashMap::new(),
            telling: Vec::new(),
            version: 0,
            due: false,
            greeted: false,
            deaf: false,
        };
        Self::of(seen, connection)
    }

    /// These devices have just said something.
    pub(super) fn heard<'a>(&self, devices: impl Iterator<Item = &'a DeviceId>) {
        let now = Instant::now();
        let mut seen = self.lock();
        for device in devices {
            match seen.devices.get_mut(device) {
                Some(heard) => heard.at = now,
                None => drop(seen.devices.insert(device.clone(), Heard { at: now, told: None })),
            }
        }
    }

    /// Forgets devices that are gone.
    pub(super) fn retain(&self, is_there: impl Fn(&DeviceId) -> bool) {
        self.lock().devices.retain(|device, _| is_there(device));
    }

    /// Says when it is time to tell, until cancelled.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), Infallible> {
        let mut sessions = self.sessions();
        let mut rounds = interval(EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = rounds.tick() => self.round(),
                Some(_) = sessions.next() => self.begin(),
            }
        }
    }

    fn round(&self) {
        let mut seen = self.lock();
        seen.due = true;
        if seen.has_news() {
            drop(seen);
            self.wake();
        }
    }

    /// Another cloud, or the same after a restart: it may know nothing.
    fn begin(&self) {
        let mut seen = self.lock();
        seen.devices.values_mut().for_each(|heard| heard.told = None);
        (seen.greeted, seen.deaf) = (false, false);
        seen.telling.clear();
        drop(seen);
        self.round();
    }
}

impl Seen {
    fn has_news(&self) -> bool {
        !self.deaf && (!self.greeted || self.devices.values().any(Heard::is_news))
    }
}

impl Heard {
    fn is_news(&self) -> bool {
        self.told != Some(self.at)
    }
}

impl Tell for Seen {
    const NAME: &'static str = "seen";
    const RESOURCE: Resource = Resource::Seen;
    type Content = SeenReport;

    /// None of it is due again before the next round, but for what found no room.
    fn ahead(&mut self) -> Option<(u64, SeenReport)> {
        let now = Instant::now();
        if !self.due || !self.has_news() {
            return None;
        }
        let news = self.devices.iter().filter(|(_, heard)| heard.is_news());
        self.telling = news.take(MOST).map(|(device, heard)| (device.clone(), heard.at)).collect();
        self.due = self.telling.len() == MOST;
        self.version += 1;
        let age =
            |at: Instant| u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX);
        let devices = self.telling.iter().map(|(device, at)| (device.to_string(), age(*at)));
        Some((self.version, SeenReport { listening: age(self.began), devices: devices.collect() }))
    }

    fn confirmed(&mut self, version: u64) {
        if version != self.version {
            return;
        }
        self.greeted = true;
        for (device, at) in std::mem::take(&mut self.telling) {
            if let Some(heard) = self.devices.get_mut(&device) {
                heard.told = Some(at);
            }
        }
    }

    fn rejected(&mut self, _: u64) {
        self.deaf = true;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proto::session::Dialect;

    use super::*;
    use crate::edgehub::{Outbox, RowKey};

    fn id(number: usize) -> DeviceId {
        DeviceId::new("default", &format!("d{number}")).unwrap()
    }

    fn presence() -> (watch::Sender<Connection>, Presence) {
        let (up, connection) = watch::channel(Connection::Up { dialect: Dialect::SkerryV1 });
        let presence = Presence::new(Some(connection));
        presence.begin();
        (up, presence)
    }

    async fn told(presence: &Presence) -> Option<(SeenReport, u64)> {
        let report = presence.ahead(10, &HashSet::new()).await.unwrap().pop()?;
        Some((report.message.content.parse().unwrap(), report.version))
    }

    async fn confirm(presence: &Presence, version: u64) {
        presence.confirm(&RowKey(Seen::NAME.into()), version).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_speaks_all_the_time_is_told_of_once_a_round_with_its_age() {
        let (_up, presence) = presence();
        let (report, version) = told(&presence).await.expect("a greeting, though there is nothing");
        assert!(report.devices.is_empty());
        confirm(&presence, version).await;
        for _ in 0..1000 {
            presence.heard([id(1), id(2)].iter());
            assert_eq!(told(&presence).await, None);
        }
        tokio::time::advance(Duration::from_secs(20)).await;
        presence.heard([id(2)].iter());
        tokio::time::advance(Duration::from_secs(2)).await;
        presence.round();
        let (report, version) = told(&presence).await.unwrap();
        let ages: Vec<_> = report.devices.clone().into_iter().collect();
        assert_eq!(ages, [("default/d1".to_owned(), 22_000), ("default/d2".to_owned(), 2_000)]);
        assert_eq!(report.listening, 22_000);
        presence.heard([id(1)].iter());
        confirm(&presence, version).await;
        assert_eq!(told(&presence).await, None, "not before the next round");
        presence.round();
        assert_eq!(told(&presence).await.unwrap().0.devices.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_confirmed_and_what_was_heard_offline_is_told_again() {
        let (up, presence) = presence();
        presence.heard([id(1)].iter());
        assert_eq!(told(&presence).await.unwrap().0.devices.len(), 1);
        // No confirmation came.
        presence.round();
        let (_, version) = told(&presence).await.unwrap();
        confirm(&presence, version).await;
        up.send_replace(Connection::Down);
        presence.heard([id(2)].iter());
        presence.round();
        assert_eq!(told(&presence).await, None);
        up.send_replace(Connection::Up { dialect: Dialect::SkerryV1 });
        presence.begin();
        assert_eq!(told(&presence).await.unwrap().0.devices.len(), 2, "another session is told all");
        // KubeEdge's cloud has no place for it, and an older one of ours says so.
        up.send_replace(Connection::Up { dialect: Dialect::KubeEdge });
        presence.begin();
        assert_eq!(told(&presence).await, None);
        up.send_replace(Connection::Up { dialect: Dialect::SkerryV1 });
        presence.reject(&RowKey(Seen::NAME.into()), 9, "what?").await.unwrap();
        presence.round();
        assert_eq!(told(&presence).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn many_devices_are_told_of_in_parts_and_those_that_are_gone_not_at_all() {
        let (_up, presence) = presence();
        let devices: Vec<DeviceId> = (0..2500).map(id).collect();
        presence.heard(devices.iter());
        presence.retain(|device| *device != id(7));
        let mut seen = HashSet::new();
        for part in [1000, 1000, 499] {
            let (report, version) = told(&presence).await.unwrap();
            assert_eq!(report.devices.len(), part);
            seen.extend(report.devices.into_keys());
            confirm(&presence, version).await;
        }
        assert_eq!((told(&presence).await, seen.len()), (None, 2499));
    }
}
