use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use super::{ObjectKey, Resource, ResourceKind};

const NULL_NAMESPACE: &str = "null";
const TASK_PREFIX: [&str; 2] = ["operations.kubeedge.io", "v1alpha2"];

/// Text that is no object key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} names no object: expected <namespace>/<type>/<name>, with null as namespace of cluster-scoped objects"
)]
pub struct InvalidKey {
    /// The text.
    pub text: String,
}

impl FromStr for Resource {
    type Err = Infallible;

    /// Never fails: what fits no form is [`Resource::Other`].
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text))
    }
}

impl From<&str> for Resource {
    fn from(text: &str) -> Self {
        match text {
            "" => return Self::None,
            "node" => return Self::Node,
            "membership" => return Self::Membership,
            "membership/detail" => return Self::MembershipDetail,
            "twin" => return Self::Twin,
            "mappers" => return Self::Mappers,
            "seen" => return Self::Seen,
            "k8s/ca.crt" => return Self::KubeCa,
            _ => {}
        }
        // The longest form has six segments; a seventh is enough to know that none fits.
        let mut segments = [""; 7];
        let mut count = 0;
        for (slot, segment) in segments.iter_mut().zip(text.split('/')) {
            *slot = segment;
            count += 1;
        }
        structured(&segments[..count]).unwrap_or_else(|| Self::Other(text.into()))
    }
}

fn structured(segments: &[&str]) -> Option<Resource> {
    match *segments {
        [namespace, kind] => {
            let kind = ResourceKind::known(kind)?;
            Some(Resource::Collection { namespace: parse_namespace(namespace)?, kind })
        }
        [namespace, kind, name] => object(namespace, kind, name).map(Resource::Object),
        ["device", namespace, name, topic, verb] => {
            let (namespace, name) = (checked(namespace, 63)?, checked(name, 253)?);
            match (topic, verb) {
                ("twin", "edge_updated") => Some(Resource::DeviceTwinUpdated { namespace, name }),
                ("twin", "cloud_updated") => Some(Resource::DeviceTwinCloudUpdated { namespace, name }),
                ("state", "update") => Some(Resource::DeviceStateUpdate { namespace, name }),
                _ => None,
            }
        }
        [group, version, job_type, job, "node", node] if [group, version] == TASK_PREFIX => {
            let (job_type, job, node) = (checked(job_type, 63)?, checked(job, 253)?, checked(node, 253)?);
            Some(Resource::Task { job_type, job, node })
        }
        _ => None,
    }
}

fn object(namespace: &str, kind: &str, name: &str) -> Option<ObjectKey> {
    let (namespace, kind) = (parse_namespace(namespace)?, ResourceKind::parse(kind)?);
    Some(ObjectKey { namespace, kind, name: checked(name, 253)? })
}

fn parse_namespace(segment: &str) -> Option<Option<String>> {
    if segment == NULL_NAMESPACE {
        return Some(None);
    }
    checked(segment, 63).map(Some)
}

/// A segment that Kubernetes would take as a path segment: it can be put into a URL or a file path without
/// changing the path's meaning.
fn checked(segment: &str, limit: usize) -> Option<String> {
    let fits = !segment.is_empty() && segment.len() <= limit && segment != "." && segment != "..";
    let plain =
        segment.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'%' | b'\\' | b'$' | b'#'));
    (fits && plain).then(|| segment.to_owned())
}

impl FromStr for ObjectKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        match Resource::from(text) {
            Resource::Object(key) => Ok(key),
            _ => Err(InvalidKey { text: text.chars().take(200).collect() }),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = self.namespace.as_deref().unwrap_or(NULL_NAMESPACE);
        write!(f, "{namespace}/{}/{}", self.kind, self.name)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(key) => key.fmt(f),
            Self::Collection { namespace, kind } => {
                write!(f, "{}/{kind}", namespace.as_deref().unwrap_or(NULL_NAMESPACE))
            }
            Self::Node => f.write_str("node"),
            Self::MembershipDetail => f.write_str("membership/detail"),
            Self::Membership => f.write_str("membership"),
            Self::Twin => f.write_str("twin"),
            Self::DeviceTwinUpdated { namespace, name } => {
                write!(f, "device/{namespace}/{name}/twin/edge_updated")
            }
            Self::DeviceTwinCloudUpdated { namespace, name } => {
                write!(f, "device/{namespace}/{name}/twin/cloud_updated")
            }
            Self::DeviceStateUpdate { namespace, name } => {
                write!(f, "device/{namespace}/{name}/state/update")
            }
            Self::Mappers => f.write_str("mappers"),
            Self::Seen => f.write_str("seen"),
            Self::KubeCa => f.write_str("k8s/ca.crt"),
            Self::Task { job_type, job, node } => {
                let [group, version] = TASK_PREFIX;
                write!(f, "{group}/{version}/{job_type}/{job}/node/{node}")
            }
            Self::Other(text) => f.write_str(text),
            Self::None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_the_wire_are_told_apart() {
        let pod = ObjectKey::namespaced("default", ResourceKind::Pod, "web");
        assert_eq!(Resource::from("default/pod/web"), Resource::Object(pod));
        assert_eq!(Resource::from("null/node/edge1"), Resource::Object(ObjectKey::node("edge1")));
        assert_eq!(
            Resource::from("default/pod"),
            Resource::Collection { namespace: Some("default".into()), kind: ResourceKind::Pod }
        );
        assert_eq!(Resource::from("default/sensor1").to_string(), "default/sensor1");
        assert!(matches!(Resource::from("default/sensor1"), Resource::Other(_)));
        assert_eq!(
            Resource::from("device/default/s1/twin/edge_updated"),
            Resource::DeviceTwinUpdated { namespace: "default".into(), name: "s1".into() }
        );
        let task = Resource::from("operations.kubeedge.io/v1alpha2/nodeupgradejob/up1/node/edge1");
        assert!(matches!(task, Resource::Task { .. }));
        assert_eq!(Resource::from("k8s/ca.crt"), Resource::KubeCa);
        assert!(matches!(Resource::from("ignore/Application/ignore"), Resource::Other(_)));
    }

    #[test]
    fn a_name_can_never_climb_out_of_its_directory() {
        for text in
            ["default/pod/..", "../pod/web", "default/pod/a%2fb", "default/pod/", "a//b", "default/pod/a b"]
        {
            assert!(matches!(Resource::from(text), Resource::Other(_)), "{text}");
            assert!(text.parse::<ObjectKey>().is_err());
        }
    }
}
