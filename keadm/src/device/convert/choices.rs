//! What the user says where v1alpha2 leaves something open.

use std::str::FromStr;

use clap::ValueEnum;
use proto::pki::NodeName;

use super::Name;

/// What a cycle of v1alpha2 is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Unit {
    /// Nanoseconds, as Go's durations.
    Ns,
    /// Milliseconds, as v1beta1.
    Ms,
}

/// `[[NAMESPACE/]DEVICE=]NODE`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeChoice {
    /// Namespace, if it was given, and name; without them it is for every device whose node is not clear.
    device: Option<(Option<String>, String)>,
    node: NodeName,
}

/// The text is no choice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidChoice {
    #[error("write NODE, DEVICE=NODE or NAMESPACE/DEVICE=NODE, for example boiler-1=edge1")]
    Shape,
    #[error(transparent)]
    Node(#[from] proto::pki::InvalidNodeName),
}

impl FromStr for NodeChoice {
    type Err = InvalidChoice;

    fn from_str(text: &str) -> Result<Self, InvalidChoice> {
        let (device, node) = match text.split_once('=') {
            None => (None, text),
            Some((device, node)) => {
                let (namespace, name) = match device.split_once('/') {
                    None => (None, device),
                    Some((namespace, name)) => (Some(namespace), name),
                };
                if name.is_empty() || namespace.is_some_and(str::is_empty) {
                    return Err(InvalidChoice::Shape);
                }
                (Some((namespace.map(str::to_owned), name.to_owned())), node)
            }
        };
        Ok(Self { device, node: node.parse()? })
    }
}

impl NodeChoice {
    /// It names no device.
    pub(super) fn is_for_all(&self) -> bool {
        self.device.is_none()
    }

    fn is_of(&self, device: &Name) -> bool {
        self.device.as_ref().is_some_and(|(namespace, name)| {
            *name == device.name && namespace.as_ref().is_none_or(|namespace| *namespace == device.namespace)
        })
    }

    /// The device that it is for.
    fn device(&self) -> Option<String> {
        self.device.as_ref().map(|(namespace, name)| match namespace {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.clone(),
        })
    }
}

/// Everything that was said.
#[derive(Clone, Debug, Default)]
pub(super) struct Choices {
    pub(super) nodes: Vec<NodeChoice>,
    pub(super) cycles: Option<Unit>,
}

impl Choices {
    /// The node of just this device.
    pub(super) fn node_of(&self, device: &Name) -> Option<&NodeName> {
        self.nodes.iter().find(|choice| choice.is_of(device)).map(|choice| &choice.node)
    }

    /// The node of devices that say nothing clear.
    pub(super) fn node_of_others(&self) -> Option<&NodeName> {
        self.nodes.iter().find(|choice| choice.is_for_all()).map(|choice| &choice.node)
    }

    /// Devices that were named and are not among these.
    pub(super) fn unknown(&self, devices: &[Name]) -> Vec<String> {
        let unknown = self.nodes.iter().filter(|choice| !devices.iter().any(|device| choice.is_of(device)));
        unknown.filter_map(NodeChoice::device).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_chosen_for_one_device_or_for_all_others() {
        let parsed = |text: &str| text.parse::<NodeChoice>();
        let nodes = ["edge9", "a=edge1", "plant/b=edge2"].map(|text| parsed(text).unwrap()).to_vec();
        let choices = Choices { nodes, cycles: None };
        let name = |namespace: &str, name: &str| Name { namespace: namespace.into(), name: name.into() };
        let of = |device: &Name| choices.node_of(device).map(ToString::to_string);
        assert_eq!(of(&name("x", "a")).as_deref(), Some("edge1"));
        assert_eq!(of(&name("plant", "b")).as_deref(), Some("edge2"));
        assert_eq!(of(&name("x", "b")), None);
        assert_eq!(choices.node_of_others().map(ToString::to_string).as_deref(), Some("edge9"));
        assert_eq!(choices.unknown(&[name("x", "a"), name("x", "b")]), ["plant/b"]);
        for text in ["=edge1", "/a=edge1", "a/=edge1"] {
            assert_eq!(parsed(text), Err(InvalidChoice::Shape), "{text}");
        }
        assert!(matches!(parsed("a=Edge"), Err(InvalidChoice::Node(_))));
    }
}
