//! What the schemas leave out: `x-kubernetes-patch-strategy` and `x-kubernetes-patch-merge-key` of the built-in kinds.

/// What strategic merge does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Maps are merged, lists are replaced.
    Default,
    /// Replaced whole, even if it is a map.
    Replace,
    /// A list of plain values, merged as a set.
    Set,
    /// A list of maps, merged by this key.
    Key(&'static str),
}

/// Struct, field, key. The struct's Go name is enough: it is unique among the kinds that we serve.
const KEYS: &[(&str, &[(&str, &str)])] = &[
    (
        "PodSpec",
        &[
            ("containers", "name"),
            ("ephemeralContainers", "name"),
            ("hostAliases", "ip"),
            ("imagePullSecrets", "name"),
            ("initContainers", "name"),
            ("resourceClaims", "name"),
            ("schedulingGates", "name"),
            ("topologySpreadConstraints", "topologyKey"),
            ("volumes", "name"),
        ],
    ),
    ("PodStatus", &[("hostIPs", "ip"), ("podIPs", "ip"), ("resourceClaimStatuses", "name")]),
    ("Container", CONTAINER),
    ("EphemeralContainer", CONTAINER),
    ("ContainerStatus", &[("allocatedResourcesStatus", "name"), ("volumeMounts", "mountPath")]),
    ("NodeStatus", &[("addresses", "type")]),
    ("ServiceSpec", &[("ports", "port")]),
    ("ServiceAccount", &[("secrets", "name")]),
    ("ObjectMeta", &[("ownerReferences", "uid")]),
    ("CSINodeSpec", &[("drivers", "name")]),
    ("ComponentStatus", &[("conditions", "type")]),
    ("MutatingWebhookConfiguration", &[("webhooks", "name")]),
    ("ValidatingWebhookConfiguration", &[("webhooks", "name")]),
    ("MutatingWebhook", &[("matchConditions", "name")]),
    ("ValidatingWebhook", &[("matchConditions", "name")]),
];

const CONTAINER: &[(&str, &str)] = &[
    ("env", "name"),
    ("ports", "containerPort"),
    ("volumeDevices", "devicePath"),
    ("volumeMounts", "mountPath"),
];

/// How strategic merge treats `field` of the struct with this Go name.
pub(super) fn merge_of(go_struct: &str, field: &str) -> Merge {
    match (go_struct, field) {
        ("ObjectMeta", "finalizers") | ("NodeSpec", "podCIDRs") => return Merge::Set,
        ("PodDisruptionBudgetSpec", "selector") => return Merge::Replace,
        // Every status that has conditions merges them by type.
        (status, "conditions") if status.ends_with("Status") => return Merge::Key("type"),
        _ => {}
    }
    KEYS.iter()
        .filter(|(name, _)| *name == go_struct)
        .flat_map(|(_, fields)| fields.iter())
        .find(|(name, _)| *name == field)
        .map_or(Merge::Default, |(_, key)| Merge::Key(key))
}
