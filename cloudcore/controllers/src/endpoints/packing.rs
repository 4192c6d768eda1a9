//! How endpoints are spread over slices, with as few changes as can be. Pure.
//!
//! Source: Kubernetes v1.36 `k8s.io/endpointslice/reconciler.go`: what is there stays where it is; new endpoints go to slices that change
//! anyway, then to one with room for all of them, then to new ones. Slices are never merged just because they could be.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

/// Endpoints that may be in one slice: they have the same family and ports.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    /// `IPv4` or `IPv6`.
    pub(super) address_type: String,
    pub(super) ports: Vec<EndpointPort>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// What has to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<Group>,
    pub(super) update: Vec<(Arc<EndpointSlice>, Group)>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

/// What makes an endpoint the same one as another: addresses, host name, and the target's namespace and name.
type Identity = (Vec<String>, Option<String>, Option<String>, Option<String>);
/// What makes slices of one group; the ports in order.
type GroupKey = (String, Vec<PortKey>);
type PortKey = (Option<String>, Option<i32>, Option<String>, Option<String>);

/// A slice that will be written.
struct Page {
    slice: Option<Arc<EndpointSlice>>,
    endpoints: Vec<Endpoint>,
}

impl Plan {
    /// Makes `existing` into `groups`, with no more than `most` endpoints in a slice. A slice that is not `is_dressed`, which says whether its
    /// labels and annotations are right, is written even if its endpoints are.
    pub(super) fn new(
        existing: &[Arc<EndpointSlice>],
        groups: Vec<Group>,
        most: usize,
        is_dressed: impl Fn(&EndpointSlice) -> bool,
    ) -> Self {
        let mut there = BTreeMap::<GroupKey, Vec<Arc<EndpointSlice>>>::new();
        for slice in existing {
            let key = key(&slice.address_type, slice.ports.as_deref().unwrap_or_default());
            there.entry(key).or_default().push(Arc::clone(slice));
        }
        let mut plan = Self::default();
        for group in groups {
            let slices = there.remove(&key(&group.address_type, &group.ports)).unwrap_or_default();
            plan.fit(slices, group, most, &is_dressed);
        }
        plan.delete.extend(there.into_values().flatten());
        plan
    }

    fn fit(
        &mut self,
        mut slices: Vec<Arc<EndpointSlice>>,
        group: Group,
        most: usize,
        is_dressed: &impl Fn(&EndpointSlice) -> bool,
    ) {
        slices.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
        let Group { address_type, ports, endpoints } = group;
        let mut wanted: BTreeMap<Identity, Endpoint> =
            endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
        let (mut pages, mut unchanged) = (Vec::new(), Vec::new());
        for slice in slices {
            let before = slice.endpoints.as_deref().unwrap_or_default();
            let kept: Vec<Endpoint> =
                before.iter().filter_map(|endpoint| wanted.remove(&identity(endpoint))).collect();
            if kept.is_empty() {
                self.delete.push(slice);
            } else if same(before, &kept) && is_dressed(&slice) {
                unchanged.push(slice);
            } else {
                pages.push(Page { slice: Some(slice), endpoints: kept });
            }
        }
        let mut left: Vec<Endpoint> = wanted.into_values().rev().collect();
        // The fullest first.
        pages.sort_by_key(|page| std::cmp::Reverse(page.endpoints.len()));
        for page in &mut pages {
            fill(page, &mut left, most);
        }
        while !left.is_empty() {
            let mut page = match roomy(&unchanged, left.len(), most) {
                Some(index) => {
                    let slice = unchanged.swap_remove(index);
                    Page { endpoints: slice.endpoints.clone().unwrap_or_default(), slice: Some(slice) }
                }
                None => Page { slice: None, endpoints: Vec::new() },
            };
            fill(&mut page, &mut left, most);
            pages.push(page);
        }
        for Page { slice, endpoints } in pages {
            let group = Group { address_type: address_type.clone(), ports: ports.clone(), endpoints };
            match slice {
                Some(slice) => self.update.push((slice, group)),
                None => self.create.push(group),
            }
        }
    }

    /// Writes over slices that would be deleted, instead of making new ones.
    pub(super) fn recycle(&mut self) {
        let mut kept = Vec::new();
        for slice in std::mem::take(&mut self.delete) {
            let fits = |group: &Group| group.address_type == slice.address_type;
            match self.create.iter().rposition(fits) {
                Some(index) => {
                    let group = self.create.remove(index);
                    self.update.push((slice, group));
                }
                None => kept.push(slice),
            }
        }
        self.delete = kept;
    }
}

fn fill(page: &mut Page, left: &mut Vec<Endpoint>, most: usize) {
    while page.endpoints.len() < most
        && let Some(endpoint) = left.pop()
    {
        page.endpoints.push(endpoint);
    }
}

/// The slice that is fullest once `count` more are in it.
fn roomy(slices: &[Arc<EndpointSlice>], count: usize, most: usize) -> Option<usize> {
    let length = |slice: &EndpointSlice| slice.endpoints.as_ref().map_or(0, Vec::len);
    let fitting = slices.iter().enumerate().filter(|(_, slice)| length(slice) + count <= most);
    fitting.max_by_key(|(_, slice)| length(slice)).map(|(index, _)| index)
}

fn identity(endpoint: &Endpoint) -> Identity {
    let target = endpoint.target_ref.as_ref();
    let mut addresses = endpoint.addresses.clone();
    addresses.sort();
    (
        addresses,
        endpoint.hostname.clone(),
        target.and_then(|target| target.namespace.clone()),
        target.and_then(|target| target.name.clone()),
    )
}

/// Whether nothing changed but the version of the targets.
fn same(before: &[Endpoint], after: &[Endpoint]) -> bool {
    let versionless = |endpoint: &Endpoint| {
        let mut endpoint = endpoint.clone();
        if let Some(target) = &mut endpoint.target_ref {
            target.resource_version = None;
        }
        endpoint
    };
    before.len() == after.len()
        && before.iter().zip(after).all(|(before, after)| versionless(before) == versionless(after))
}

fn key(address_type: &str, ports: &[EndpointPort]) -> GroupKey {
    let port = |port: &EndpointPort| {
        (port.name.clone(), port.port, port.protocol.clone(), port.app_protocol.clone())
    };
    let mut ports: Vec<PortKey> = ports.iter().map(port).collect();
    ports.sort();
    (address_type.to_owned(), ports)
}

#[cfg(test)]
mod tests;
