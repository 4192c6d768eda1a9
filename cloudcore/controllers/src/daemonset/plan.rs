//! One look at a daemon set: first a pod where one should be and none elsewhere, then, if that is so, the next step of an update.
//!
//! Source: Kubernetes v1.36 `pkg/controller/daemon/daemon_controller.go` (`podsShouldBeOnNode`), `update.go` (`rollingUpdate`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::eligible::{Place, Rules};
use super::patience::Patience;
use super::pod::{hash_of, node_of};
use crate::cache::{is_going, uid_of};
use crate::pods::{is_available, is_finished, is_ready, phase, ready_since};

/// How many pods one look makes or deletes (Kubernetes: `BurstReplicas` of daemon sets).
const BURST: usize = 250;

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: DaemonSetStatus,
    /// Nodes that get a pod.
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Of those, pods that ended, with their nodes.
    pub(super) ended: Vec<(Arc<Pod>, String)>,
    /// When to look again though nothing changes.
    pub(super) again: Option<Duration>,
}

/// What is known of one node.
#[derive(Debug, Default)]
struct Site<'p> {
    place: Place,
    pods: Vec<&'p Arc<Pod>>,
}

/// The new and the old pod of a node during an update.
type Pair<'p> = (Option<&'p Arc<Pod>>, Option<&'p Arc<Pod>>);

struct View<'s> {
    set: &'s DaemonSet,
    spec: &'s DaemonSetSpec,
    /// The newest template's.
    hash: &'s str,
    now: Timestamp,
    sites: BTreeMap<String, Site<'s>>,
}

/// Decides about a set with all nodes and all pods that it controls.
pub(super) fn plan(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    pods: &[Arc<Pod>],
    hash: &str,
    patience: &mut Patience,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    let (Some(spec), Some(rules)) = (&set.spec, Rules::of(set)) else { return plan };
    let place = |node: &Arc<Node>| (node.name_any(), Site { place: rules.place(node), pods: Vec::new() });
    let mut view = View { set, spec, hash, now, sites: nodes.iter().map(place).collect() };
    for pod in pods {
        match node_of(pod).and_then(|node| view.sites.get_mut(node)) {
            Some(site) => site.pods.push(pod),
            // It waits for a node that is not there; on one that was, it is the garbage collector's.
            None if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none()) && !is_going(&**pod) => {
                plan.delete.push(Arc::clone(pod));
            }
            None => {}
        }
    }
    view.sites.values_mut().for_each(|site| site.pods.sort_by_key(|pod| seniority(pod)));
    plan.status = view.status(hash);
    plan.again = view.next_available();
    if is_going(set) {
        return plan;
    }
    for (node, site) in &view.sites {
        view.manage(node, site, patience, &mut plan);
    }
    let is_rolling =
        spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete");
    if plan.create.is_empty() && plan.delete.is_empty() && is_rolling {
        view.update(&mut plan);
    }
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    plan.ended.retain(|(pod, _)| plan.delete.iter().any(|deleted| Arc::ptr_eq(deleted, pod)));
    plan
}

/// The pod that has its node longest comes first.
fn seniority(pod: &Pod) -> (bool, Option<Timestamp>, String) {
    let unbound = pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none());
    (unbound, pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.name_any())
}

/// A number, or a part of `of` rounded up.
fn scaled(value: Option<&IntOrString>, default: i32, of: usize) -> usize {
    let number = match value {
        None => default,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let percent = text.trim_end_matches('%').parse::<usize>().unwrap_or(0).min(100);
            return (of * percent).div_ceil(100);
        }
    };
    usize::try_from(number).unwrap_or(0)
}

impl View<'_> {
    fn is_new(&self, pod: &Pod) -> bool {
        hash_of(pod) == Some(self.hash)
    }

    fn min_ready(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    fn is_well(&self, pod: &Pod) -> bool {
        is_available(pod, self.min_ready(), self.now)
    }

    fn wanted(&self) -> usize {
        self.sites.values().filter(|site| site.place.run).count()
    }

    /// How many pods may be missing during an update, and how many may be too much. One of both is not 0.
    fn limits(&self) -> (usize, usize) {
        let rolling =
            self.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let wanted = self.wanted();
        let unavailable = scaled(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), 1, wanted);
        let surge = scaled(rolling.and_then(|rolling| rolling.max_surge.as_ref()), 0, wanted);
        if surge == 0 && unavailable == 0 { (1, 0) } else { (unavailable, surge) }
    }

    fn may_surge(&self) -> bool {
        let is_rolling = self.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref())
            != Some("OnDelete");
        is_rolling && self.limits().1 > 0
    }

    fn manage(&self, node: &str, site: &Site<'_>, patience: &mut Patience, plan: &mut Plan) {
        let staying = || site.pods.iter().copied().filter(|pod| !is_going(&***pod));
        if !site.place.stay {
            plan.delete.extend(staying().cloned());
            return;
        }
        if site.place.run && site.pods.is_empty() {
            plan.create.push(node.to_owned());
            return;
        }
        let mut alive = Vec::new();
        for pod in staying() {
            match phase(pod) {
                "Failed" => match patience.ask(&uid_of(self.set), node, self.now) {
                    Ok(()) => {
                        plan.delete.push(Arc::clone(pod));
                        plan.ended.push((Arc::clone(pod), node.to_owned()));
                    }
                    Err(left) => plan.again = Some(plan.again.map_or(left, |other| other.min(left))),
                },
                "Succeeded" => {
                    plan.delete.push(Arc::clone(pod));
                    plan.ended.push((Arc::clone(pod), node.to_owned()));
                }
                _ => alive.push(pod),
            }
        }
        if !self.may_surge() {
            plan.delete.extend(alive.into_iter().skip(1).cloned());
            return;
        }
        let ended_or_none = site.pods.iter().all(|pod| is_going(&***pod));
        if alive.is_empty() && site.place.run && ended_or_none {
            plan.create.push(node.to_owned());
        }
        plan.delete.extend(self.surplus(alive));
    }

    /// While a successor starts beside its predecessor, those two may be there and no others.
    fn surplus(&self, alive: Vec<&Arc<Pod>>) -> Vec<Arc<Pod>> {
        if alive.len() < 2 {
            return Vec::new();
        }
        let (mut new, mut old, mut surplus) = (None, None, Vec::new());
        for pod in alive {
            let slot = if self.is_new(pod) { &mut new } else { &mut old };
            match slot {
                None => *slot = Some(pod),
                Some(_) => surplus.push(Arc::clone(pod)),
            }
        }
        if let (Some(new), Some(old)) = (new, old)
            && (!is_ready(old) || self.is_well(new))
        {
            surplus.push(Arc::clone(old));
        }
        surplus
    }

    fn update(&self, plan: &mut Plan) {
        let (max_unavailable, max_surge) = self.limits();
        if max_surge == 0 { self.replace(max_unavailable, plan) } else { self.surge(max_surge, plan) }
    }

    /// A node's new and old pod; nothing where there are more than one of a sort.
    fn pair<'p>(&self, site: &Site<'p>) -> Option<Pair<'p>> {
        let staying = || site.pods.iter().copied().filter(|pod| !is_going(&***pod));
        let new: Vec<_> = staying().filter(|pod| self.is_new(pod)).collect();
        let old: Vec<_> = staying().filter(|pod| !self.is_new(pod)).collect();
        (new.len() < 2 && old.len() < 2).then(|| (new.first().copied(), old.first().copied()))
    }

    /// The nodes that count in an update.
    fn in_update(&self) -> impl Iterator<Item = (&String, &Site<'_>)> {
        self.sites.iter().filter(|(_, site)| {
            site.place.run || site.pods.iter().any(|pod| !(is_going(&***pod) && is_finished(pod)))
        })
    }

    /// Deletes old pods as far as the others are well; the next look makes their successors.
    fn replace(&self, max_unavailable: usize, plan: &mut Plan) {
        let (mut unavailable, mut ill, mut well) = (0, Vec::new(), Vec::new());
        for (_, site) in self.in_update() {
            match self.pair(site) {
                Some((Some(new), None)) => unavailable += usize::from(!self.is_well(new)),
                Some((None, Some(old))) if self.is_well(old) => well.push(Arc::clone(old)),
                Some((None, Some(old))) => ill.push(Arc::clone(old)),
                _ => unavailable += 1,
            }
        }
        plan.delete.extend(ill);
        plan.delete.extend(well.into_iter().take(max_unavailable.saturating_sub(unavailable)));
    }

    /// Makes successors beside old pods, and deletes the old one when its successor is well.
    fn surge(&self, max_surge: usize, plan: &mut Plan) {
        let (mut surging, mut ill, mut well) = (0, Vec::new(), Vec::new());
        for (node, site) in self.in_update() {
            match self.pair(site) {
                None => surging += 1,
                Some((_, None)) => {}
                Some((None, Some(old))) if self.is_well(old) => well.push(node.clone()),
                Some((None, Some(_))) => ill.push(node.clone()),
                Some((Some(new), Some(old))) if self.is_well(new) => plan.delete.push(Arc::clone(old)),
                Some((Some(_), Some(_))) => surging += 1,
            }
        }
        let is_wanted = |node: &String| self.sites.get(node).is_some_and(|site| site.place.run);
        plan.create.extend(ill.into_iter().filter(is_wanted));
        plan.create.extend(well.into_iter().filter(is_wanted).take(max_surge.saturating_sub(surging)));
    }

    fn next_available(&self) -> Option<Duration> {
        let left = self.sites.values().flat_map(|site| &site.pods).filter_map(|pod| {
            let left = ready_since(pod)?.as_second() + i64::from(self.min_ready()) - self.now.as_second();
            u64::try_from(left).ok().filter(|left| *left > 0)
        });
        left.min().map(Duration::from_secs)
    }

    fn status(&self, hash: &str) -> DaemonSetStatus {
        let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let some = |count: i32| Some(count).filter(|count| *count > 0);
        let wanted = || self.sites.values().filter(|site| site.place.run);
        let first = |wanted: &dyn Fn(&Pod) -> bool| {
            number(
                self.sites
                    .values()
                    .filter(|site| site.place.run && site.pods.first().is_some_and(|pod| wanted(pod)))
                    .count(),
            )
        };
        let available = first(&|pod| self.is_well(pod));
        let elsewhere = self.sites.values().filter(|site| !site.place.run && !site.pods.is_empty());
        let before = self.set.status.clone().unwrap_or_default();
        DaemonSetStatus {
            desired_number_scheduled: number(wanted().count()),
            current_number_scheduled: first(&|_| true),
            number_misscheduled: number(elsewhere.count()),
            number_ready: first(&is_ready),
            number_available: some(available),
            number_unavailable: some(number(wanted().count()) - available),
            updated_number_scheduled: some(first(&|pod| hash_of(pod) == Some(hash))),
            observed_generation: self.set.metadata.generation,
            collision_count: before.collision_count,
            conditions: before.conditions,
        }
    }
}
