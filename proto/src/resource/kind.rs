use std::fmt;

/// The type segment of a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    missing_docs,
    reason = "each variant is the Kubernetes kind of its name; the *Status and *Patch ones are reports about it"
)]
pub enum ResourceKind {
    Node,
    NodeStatus,
    NodePatch,
    Pod,
    PodStatus,
    PodPatch,
    ConfigMap,
    Secret,
    ServiceAccountToken,
    ServiceAccountAccess,
    PersistentVolume,
    PersistentVolumeClaim,
    VolumeAttachment,
    Lease,
    Event,
    CertificateSigningRequest,
    Device,
    DeviceModel,
    Rule,
    RuleEndpoint,
    RuleStatus,
    /// A type that has no variant: lowercase letters and digits. Build it by parsing, so that a known
    /// type never hides here.
    Other(Box<str>),
}

/// Variants and their words, in one place.
const WORDS: &[(ResourceKind, &str)] = &[
    (ResourceKind::Node, "node"),
    (ResourceKind::NodeStatus, "nodestatus"),
    (ResourceKind::NodePatch, "nodepatch"),
    (ResourceKind::Pod, "pod"),
    (ResourceKind::PodStatus, "podstatus"),
    (ResourceKind::PodPatch, "podpatch"),
    (ResourceKind::ConfigMap, "configmap"),
    (ResourceKind::Secret, "secret"),
    (ResourceKind::ServiceAccountToken, "serviceaccounttoken"),
    (ResourceKind::ServiceAccountAccess, "serviceaccountaccess"),
    (ResourceKind::PersistentVolume, "persistentvolume"),
    (ResourceKind::PersistentVolumeClaim, "persistentvolumeclaim"),
    (ResourceKind::VolumeAttachment, "volumeattachment"),
    (ResourceKind::Lease, "lease"),
    (ResourceKind::Event, "event"),
    (ResourceKind::CertificateSigningRequest, "certificatesigningrequest"),
    (ResourceKind::Device, "device"),
    (ResourceKind::DeviceModel, "devicemodel"),
    (ResourceKind::Rule, "rule"),
    (ResourceKind::RuleEndpoint, "ruleendpoint"),
    (ResourceKind::RuleStatus, "rulestatus"),
];

impl ResourceKind {
    /// The type segment.
    pub fn as_str(&self) -> &str {
        if let Self::Other(word) = self {
            return word;
        }
        WORDS.iter().find(|(kind, _)| kind == self).map_or("", |(_, word)| word)
    }

    /// The kind with this type segment, if it has a variant.
    pub fn known(word: &str) -> Option<Self> {
        WORDS.iter().find(|(_, known)| *known == word).map(|(kind, _)| kind.clone())
    }

    /// All kinds that have a variant.
    pub fn all_known() -> impl Iterator<Item = Self> {
        WORDS.iter().map(|(kind, _)| kind.clone())
    }

    /// Any lowercase type segment.
    pub(super) fn parse(word: &str) -> Option<Self> {
        if let Some(kind) = Self::known(word) {
            return Some(kind);
        }
        let fits = !word.is_empty()
            && word.len() <= 63
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        fits.then(|| Self::Other(word.into()))
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_kind_has_a_word_of_its_own() {
        for kind in ResourceKind::all_known() {
            assert!(!kind.as_str().is_empty());
            assert_eq!(ResourceKind::parse(kind.as_str()), Some(kind));
        }
    }
}
