//! What the server serves, as clients ask for it: the legacy lists (one request per group) and the aggregated document.
//!
//! Pure: a snapshot of the registry in, JSON out. Called by the API server.

mod aggregated;
mod legacy;
mod order;

pub use aggregated::aggregated;
pub use legacy::{api_group, api_groups, api_versions, resource_list};
pub(crate) use order::compare_versions;

use crate::registry::Snapshot;

/// The served groups in order of preference, without the core group; each with its versions, best first.
pub(crate) fn groups(snapshot: &Snapshot) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for resource in &snapshot.resources {
        if resource.group.is_empty() {
            continue;
        }
        let at = groups.iter().position(|(group, _)| *group == resource.group);
        let versions = match at.and_then(|at| groups.get_mut(at)) {
            Some((_, versions)) => versions,
            None => {
                groups.push((&resource.group, Vec::new()));
                let Some((_, versions)) = groups.last_mut() else { continue };
                versions
            }
        };
        if !versions.contains(&resource.version.as_str()) {
            versions.push(&resource.version);
        }
    }
    for (_, versions) in &mut groups {
        versions.sort_by(|a, b| compare_versions(a, b));
    }
    groups
}

#[cfg(test)]
mod tests;
