//! Every two seconds: what each device is, and which of it the API does not show yet.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use futures::StreamExt;
use proto::pki::NodeName;
use proto::session::Dialect;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::judge::{Facts, Verdict, judge};
use super::links::{Link, PATIENCE};
use super::{Shown, tell};
use crate::cloudhub::Sessions;
use crate::desired::Plane;
use crate::devicecontroller::DeviceController;
use crate::devicecontroller::index::DeviceId;
use crate::kubeapi::Failure;

/// How often devices are looked at.
const TICK: Duration = Duration::from_secs(2);
/// How often at most a device's last report is written down.
const REFRESH: Duration = Duration::from_secs(60);
/// Devices written in one round because their health changed; the others come in the next.
const NEWS: usize = 500;
/// Devices written in one round only because they reported.
const REFRESHED: usize = 50;
/// Devices written at once.
const PARALLEL: usize = 8;

/// One write that is due.
struct Due {
    device: DeviceId,
    uid: String,
    verdict: Verdict,
    before: Option<Verdict>,
    reported: Option<i64>,
}

impl DeviceController {
    /// The API does not let us write the device's DeviceStatus: says so on the Device, from time to time.
    pub(in crate::devicecontroller) async fn tell_status_refused(
        &self,
        device: &DeviceId,
        uid: &str,
        failure: &Failure,
    ) {
        if !self.health.complains(device) {
            return;
        }
        warn!(%device, "its DeviceStatus cannot be written: {}", failure.message);
        let message = format!(
            "its values cannot be shown: {}. Install the definitions in deploy/crds, and let cloudcore's account get, list, watch, create, update, patch and delete devicestatuses.devices.kubeedge.io",
            failure.message
        );
        tell::warn_of(&self.client, device, uid, "StatusNotWritten", message).await;
    }

    /// Looks after devices' health until cancelled.
    pub(in crate::devicecontroller) async fn look_after(
        &self,
        sessions: Sessions,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = self.follow_nodes() => Ok(()),
            never = self.rounds(&sessions) => match never {},
        }
    }

    async fn rounds(&self, sessions: &Sessions) -> Infallible {
        let started = Instant::now();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !self.desired.is_synced(Plane::Devices) {
                continue;
            }
            let due = self.due(sessions, started);
            let writes = futures::stream::iter(due).map(|due| self.show(due));
            writes.buffer_unordered(PARALLEL).collect::<()>().await;
        }
    }

    /// Everything that the API should be told.
    fn due(&self, sessions: &Sessions, started: Instant) -> Vec<Due> {
        let now = Instant::now();
        let subjects = self.index().subjects();
        let mut inner = self.health.inner();
        let there: HashSet<&DeviceId> = subjects.iter().map(|subject| &subject.id).collect();
        inner.devices.retain(|id, _| there.contains(id));
        inner.follow_links(sessions, now);
        // What they say about mappers and devices is on its way after our start, and after theirs.
        let unsaid = |(node, link): (&NodeName, &Link)| {
            let mappers = now - started < 2 * PATIENCE && !inner.mappers.contains_key(node);
            let devices = now - link.since < PATIENCE && link.listens.is_none();
            (link.dialect == Dialect::SkerryV1 && (mappers || devices)).then(|| node.clone())
        };
        let unsaid: HashSet<NodeName> = inner.links.iter().filter_map(unsaid).collect();
        let mut due = Vec::new();
        // Whose last report is to be written down, the longest waiting first.
        let mut stale: Vec<(Instant, Due)> = Vec::new();
        for subject in &subjects {
            let Some(liveness) = inner.liveness(subject, started, now) else { continue };
            if subject.node.as_ref().is_some_and(|node| unsaid.contains(node)) {
                continue;
            }
            let mapper = subject.node.as_ref().and_then(|node| inner.mapper(node, subject));
            let link = subject.node.as_ref().and_then(|node| inner.links.get(node)).copied();
            let known = inner.devices.entry(subject.id.clone()).or_default();
            known.follow(subject);
            let facts = Facts {
                node: subject.node.as_ref().map(NodeName::as_str),
                liveness,
                protocol: &subject.protocol,
                mapper,
                model: subject.model_name.as_deref(),
                has_model: subject.model.is_some(),
                finding: known.finding.as_ref(),
                state: known.state.as_deref(),
                expects_reports: known.expects_reports,
                last_reported: known.reported,
                silent_for: known.patience.filter(|_| link.is_some_and(|link| known.is_silent(link, now))),
            };
            let verdict = judge(&subject.id.to_string(), &facts);
            let news = known.shown.as_ref().is_none_or(|shown| shown.verdict != verdict);
            let old = known
                .shown
                .as_ref()
                .is_some_and(|shown| shown.reported < known.reported && now - shown.at >= REFRESH);
            if !news && !old {
                continue;
            }
            let write = Due {
                device: subject.id.clone(),
                uid: known.uid.clone(),
                verdict,
                before: known.shown.as_ref().map(|shown| shown.verdict.clone()),
                reported: known.reported,
            };
            match known.shown.as_ref().filter(|_| !news) {
                Some(shown) => stale.push((shown.at, write)),
                None => due.push(write),
            }
        }
        due.truncate(NEWS);
        stale.sort_by_key(|(at, _)| *at);
        due.extend(stale.into_iter().take(REFRESHED).map(|(_, write)| write));
        due
    }

    async fn show(&self, due: Due) {
        let shown = Shown { verdict: due.verdict.clone(), reported: due.reported, at: Instant::now() };
        match tell::write(&self.client, &due.device, &due.verdict, due.reported).await {
            Ok(()) => {
                if let Some(known) = self.health.inner().devices.get_mut(&due.device)
                    && known.uid == due.uid
                {
                    known.shown = Some(shown);
                }
                tell::event(&self.client, &due.device, &due.uid, due.before.as_ref(), &due.verdict).await;
            }
            Err(failure) if failure.is_not_found() => debug!(device = %due.device, "it is gone"),
            Err(failure) => warn!(device = %due.device, "its health cannot be written: {}", failure.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::devices::MapperReport;
    use proto::resource::ResourceKind;
    use serde_json::json;

    use super::*;
    use crate::desired::{Desired, Object};
    use crate::metrics::Metrics;

    fn controller(sessions: &Sessions) -> DeviceController {
        let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("there is no API"))
        });
        let client = kube::Client::new(nobody, "default");
        DeviceController::new(client, Desired::default(), sessions.clone(), Metrics::new())
    }

    fn add(controller: &DeviceController, name: &str, node: &str) -> DeviceId {
        let spec = json!({"nodeName": node, "deviceModelRef": {"name": "m"}, "protocol": {"protocolName": "modbus"},
            "properties": [{"name": "t", "reportToCloud": true, "collectCycle": 10_000}]});
        let metadata = json!({"name": name, "namespace": "d", "uid": name, "resourceVersion": "1"});
        let value = json!({"metadata": metadata, "spec": spec});
        let of = |kind, value| {
            Object::from_api(kind, "devices.kubeedge.io/v1beta1", "Any", value).expect("well-formed")
        };
        let model = json!({"metadata": {"name": "m", "namespace": "d", "uid": "m", "resourceVersion": "1"},
            "spec": {"properties": [{"name": "t", "type": "INT", "accessMode": "ReadOnly"}]}});
        controller.index().applied_model(of(ResourceKind::DeviceModel, model));
        controller.index().applied_device(of(ResourceKind::Device, value), &spec);
        DeviceId { namespace: "d".into(), name: name.into() }
    }

    /// One round, as if everything could be written: what is, and of what device it was news.
    fn round(controller: &DeviceController, sessions: &Sessions, started: Instant) -> Vec<String> {
        let due = controller.due(sessions, started);
        let mut told: Vec<String> = due
            .into_iter()
            .map(|due| {
                let shown =
                    Shown { verdict: due.verdict.clone(), reported: due.reported, at: Instant::now() };
                let mut inner = controller.health.inner();
                inner.devices.get_mut(&due.device).expect("it is known").shown = Some(shown);
                format!("{} {}", due.device.name, due.verdict.health)
            })
            .collect();
        told.sort();
        told
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_says_the_same_is_well_and_one_that_says_nothing_is_silent_until_it_speaks() {
        let sessions = Sessions::new(10);
        let controller = controller(&sessions);
        let started = Instant::now();
        let node: NodeName = "edge1".parse().expect("a name");
        let same = add(&controller, "same", "edge1");
        let mute = add(&controller, "mute", "edge1");
        let peer = "127.0.0.1:1".parse().expect("an address");
        let _seat = sessions.enter(&node, peer, Dialect::SkerryV1).expect("room");
        assert!(round(&controller, &sessions, started).is_empty(), "what the node says is on its way");
        let session = sessions.id(&node).expect("a session");
        let seen = |devices: &[&DeviceId]| {
            let devices = devices.iter().map(|id| ((*id).clone(), Duration::ZERO)).collect();
            controller.health.seen(&node, session, started.elapsed(), devices);
        };
        seen(&[]);
        let mapper = proto::devices::MapperStatus {
            protocol: "modbus".into(),
            state: proto::devices::MapperState::Up,
            ..Default::default()
        };
        controller.health.mappers(&node, MapperReport { timestamp: 0, mappers: vec![mapper] });
        for id in [&same, &mute] {
            controller.health.saw(id, Some(1_000), None);
        }
        assert_eq!(round(&controller, &sessions, started), ["mute Healthy", "same Healthy"]);

        // Ten minutes: one says the same all the time, the other nothing.
        let mut told = Vec::new();
        for minute in 1..=10 {
            tokio::time::advance(Duration::from_secs(60)).await;
            seen(&[&same]);
            for said in round(&controller, &sessions, started) {
                told.push(format!("{minute} {said}"));
            }
        }
        let silent: Vec<_> = told.iter().filter(|said| said.contains("mute")).collect();
        assert_eq!(silent, ["3 mute Silent"], "once, after two minutes");
        // The wall clock, which LAST-SEEN is of, hardly moves in this test.
        assert!(told.iter().all(|said| said.contains("mute") || said.contains("same Healthy")), "{told:?}");
        // It speaks again, if only what it said before.
        seen(&[&mute]);
        assert_eq!(round(&controller, &sessions, started), ["mute Healthy"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_node_said_of_its_mappers_is_forgotten_with_the_node() {
        let sessions = Sessions::new(10);
        let controller = controller(&sessions);
        let started = Instant::now();
        let (gone, kept): (NodeName, NodeName) =
            ("gone".parse().expect("a name"), "kept".parse().expect("a name"));
        let peer = "127.0.0.1:1".parse().expect("an address");
        let seats = [&gone, &kept].map(|node| sessions.enter(node, peer, Dialect::SkerryV1).expect("room"));
        for node in [&gone, &kept] {
            controller.health.mappers(node, MapperReport::default());
            controller.health.seen(node, 0, Duration::ZERO, Vec::new());
        }
        controller.health.inner().nodes_listed = true;
        let known = || {
            controller.due(&sessions, started);
            let inner = controller.health.inner();
            (inner.mappers.len(), inner.listeners.len())
        };
        assert_eq!(known(), (2, 2));
        drop(seats);
        // A moment without a session, and a node that is known but off, forget nothing.
        controller.health.inner().nodes.insert("kept".into(), super::super::nodes::NodeSeen::default());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(known(), (2, 2));
        tokio::time::advance(PATIENCE).await;
        assert_eq!(known(), (1, 1));
        controller.health.inner().nodes.clear();
        assert_eq!(known(), (0, 0));
    }
}
