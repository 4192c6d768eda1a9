//! Whether anything of an image still comes. CRI answers a pull when it is over, and containerd 1.6 waits for a silent registry for
//! ever; its content service says which bytes are on their way.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;
use tokio::time::{Instant, sleep};

use super::super::{ContainerRuntime, RuntimeError};
use super::Cri;

/// How often is looked before anything has come, so that little is not overlooked, and afterwards.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// What the name of a snapshot into which a layer is unpacked begins with.
const UNPACKING: &str = "extract-";
/// What is before a snapshotter's name in the path of its folder.
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1.";

/// `containerd.services.content.v1.ListStatusesRequest`.
#[derive(Clone, PartialEq, Message)]
struct List {}

/// `containerd.services.content.v1.ListStatusesResponse`.
#[derive(Clone, PartialEq, Message)]
struct Listed {
    #[prost(message, repeated, tag = "1")]
    statuses: Vec<Status>,
}

/// `containerd.services.content.v1.Status`, as far as needed.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "3")]
    reference: String,
    #[prost(int64, tag = "4")]
    offset: i64,
}

/// `containerd.services.snapshots.v1.ListSnapshotsRequest`.
#[derive(Clone, PartialEq, Message)]
struct Snapshots {
    #[prost(string, tag = "1")]
    snapshotter: String,
}

/// `containerd.services.snapshots.v1.ListSnapshotsResponse`.
#[derive(Clone, PartialEq, Message)]
struct ListedSnapshots {
    #[prost(message, repeated, tag = "1")]
    info: Vec<Snapshot>,
}

/// `containerd.services.snapshots.v1.Info`, as far as needed.
#[derive(Clone, PartialEq, Message)]
struct Snapshot {
    #[prost(string, tag = "1")]
    name: String,
}

/// What is on its way, and how far it has come.
type Coming = BTreeMap<String, i64>;

/// Since when nothing has come. Pure.
struct Quiet {
    /// What lay there before, perhaps for ever: another pull may have left it.
    before: Coming,
    last: Coming,
    /// Whether anything has come at all.
    begun: bool,
    since: Instant,
}

impl Cri {
    /// Ends when nothing has come for as long as a call may take. Never on a runtime that does not tell.
    pub(super) async fn nothing_comes(&self) {
        let mut quiet: Option<Quiet> = None;
        loop {
            match self.ask::<_, Listed>("/containerd.services.content.v1.Content/ListStatuses", List {}).await
            {
                Ok(listed) => {
                    let statuses = listed.statuses.into_iter();
                    let coming = statuses.map(|status| (status.reference, status.offset)).collect();
                    let now = Instant::now();
                    match &mut quiet {
                        None => quiet = Some(Quiet::new(coming, now)),
                        Some(quiet) => {
                            if quiet.look(coming, now) >= self.limit {
                                if !self.unpacks().await {
                                    return;
                                }
                                quiet.since = now;
                            }
                        }
                    }
                }
                Err(RuntimeError::Unsupported { .. }) => return std::future::pending().await,
                // Whether the runtime itself is silent is seen by others.
                Err(error) => {
                    tracing::debug!("what is being pulled is not known: {error}");
                    quiet = None;
                }
            }
            let begun = quiet.as_ref().is_some_and(|quiet| quiet.begun);
            sleep(if begun { PAUSES.1 } else { PAUSES.0 }).await;
        }
    }

    /// Whether a layer is being unpacked. All bytes of an image may be there from an attempt that failed afterwards: nothing comes
    /// then, and a slow disk takes its time. Who cannot be asked is believed to be at work.
    async fn unpacks(&self) -> bool {
        match self.snapshots().await {
            Ok(names) => names.iter().any(|name| name.starts_with(UNPACKING)),
            Err(error) => {
                tracing::debug!("whether an image is being unpacked is not known: {error}");
                true
            }
        }
    }

    /// The names of the snapshots in which images are kept.
    async fn snapshots(&self) -> Result<Vec<String>, RuntimeError> {
        let places = self.image_usage().await?;
        let place = places.first().and_then(|(place, _)| place.rsplit_once(SNAPSHOTTER));
        let Some((_, snapshotter)) = place else { return Ok(Vec::new()) };
        let list = Snapshots { snapshotter: snapshotter.to_owned() };
        let listed = self.ask_all("/containerd.services.snapshots.v1.Snapshots/List", list).await?;
        let snapshots = listed.into_iter().flat_map(|listed: ListedSnapshots| listed.info);
        Ok(snapshots.map(|snapshot| snapshot.name).collect())
    }
}

impl Quiet {
    fn new(before: Coming, now: Instant) -> Self {
        Self { before, last: Coming::new(), begun: false, since: now }
    }

    /// For how long nothing has come.
    fn look(&mut self, mut coming: Coming, now: Instant) -> Duration {
        coming.retain(|reference, offset| self.before.get(reference) != Some(offset));
        self.begun |= !coming.is_empty();
        // When nothing is on its way any more, layers are being unpacked.
        if coming != self.last || (self.begun && coming.is_empty()) {
            self.since = now;
        }
        self.last = coming;
        now.duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_quiet_when_nothing_begins_or_nothing_moves_but_not_while_layers_are_unpacked() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let coming = |list: &[(&str, i64)]| -> Coming {
            list.iter().map(|(reference, offset)| ((*reference).to_owned(), *offset)).collect()
        };
        let old = ("layer-old", 7);
        let mut quiet = Quiet::new(coming(&[old]), start);
        assert_eq!(quiet.look(coming(&[old]), at(9)), Duration::from_secs(9), "what was left is not coming");
        assert_eq!(quiet.look(coming(&[old, ("layer-a", 0)]), at(10)), Duration::ZERO);
        assert_eq!(quiet.look(coming(&[old, ("layer-a", 0)]), at(13)), Duration::from_secs(3));
        assert_eq!(quiet.look(coming(&[old, ("layer-a", 5)]), at(14)), Duration::ZERO);
        assert_eq!(quiet.look(coming(&[old]), at(90)), Duration::ZERO, "it is being unpacked");
        assert_eq!(quiet.look(coming(&[("layer-old", 8)]), at(91)), Duration::ZERO, "it goes on");
        assert_eq!(quiet.look(coming(&[("layer-old", 8)]), at(95)), Duration::from_secs(4));
    }
}
