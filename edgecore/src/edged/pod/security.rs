//! A container's security context in the runtime's words.

use k8s_cri::v1::security_profile::ProfileType;
use k8s_cri::v1::{
    Capability, Int64Value, LinuxContainerSecurityContext, NamespaceMode, NamespaceOption, SeLinuxOption,
    SecurityProfile,
};
use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile, SecurityContext};

use super::env::ConfigError;
use super::{policy, sandbox};
use crate::edged::runtime::{ContainerId, Image};

/// Parts of `/proc` and `/sys` that containers must not see, the same as in every kubelet.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Parts that they must not write.
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The security context of a container of the pod, started from `image`; it sees the processes of `target`.
pub fn of(
    pod: &Pod,
    container: &Container,
    image: &Image,
    target: Option<&ContainerId>,
) -> Result<LinuxContainerSecurityContext, ConfigError> {
    let own = container.security_context.clone().unwrap_or_default();
    let shared = policy::spec(pod).security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(shared.run_as_user);
    let group = own.run_as_group.or(shared.run_as_group);
    if own.run_as_non_root.or(shared.run_as_non_root) == Some(true) {
        verify_not_root(user, image)?;
    }
    let privileged = own.privileged.unwrap_or(false);
    let mut context = LinuxContainerSecurityContext {
        capabilities: own.capabilities.as_ref().map(|wanted| Capability {
            add_capabilities: plain(wanted.add.as_deref()),
            drop_capabilities: plain(wanted.drop.as_deref()),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged,
        namespace_options: Some(namespaces(pod, target)),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: sandbox::groups(&shared),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        selinux_options: own.se_linux_options.or(shared.se_linux_options).map(|options| SeLinuxOption {
            user: options.user.unwrap_or_default(),
            role: options.role.unwrap_or_default(),
            r#type: options.type_.unwrap_or_default(),
            level: options.level.unwrap_or_default(),
        }),
        seccomp: Some(match privileged {
            true => profile(ProfileType::Unconfined),
            false => seccomp(own.seccomp_profile.as_ref().or(shared.seccomp_profile.as_ref()))
                .unwrap_or_else(|| profile(ProfileType::Unconfined)),
        }),
        ..LinuxContainerSecurityContext::default()
    };
    context.run_as_user = user.map(|value| Int64Value { value });
    if user.is_none() && group.is_some() {
        // The runtime takes a group only together with a user: the image's.
        match image.uid {
            Some(uid) => context.run_as_user = Some(Int64Value { value: uid }),
            None if !image.username.is_empty() => context.run_as_username.clone_from(&image.username),
            None => context.run_as_user = Some(Int64Value { value: 0 }),
        }
    }
    context.run_as_group = group.map(|value| Int64Value { value });
    if !privileged && !unmasked(container.security_context.as_ref()) {
        context.masked_paths = MASKED.iter().map(|&path| path.to_owned()).collect();
        context.readonly_paths = READ_ONLY.iter().map(|&path| path.to_owned()).collect();
    }
    Ok(context)
}

/// The pod's namespaces. Where every container has processes of its own, a target's can be joined.
fn namespaces(pod: &Pod, target: Option<&ContainerId>) -> NamespaceOption {
    let of_pod = sandbox::namespaces(pod);
    match target {
        Some(target) if of_pod.pid == NamespaceMode::Container as i32 => {
            NamespaceOption { pid: NamespaceMode::Target as i32, target_id: target.0.clone(), ..of_pod }
        }
        _ => of_pod,
    }
}

fn unmasked(context: Option<&SecurityContext>) -> bool {
    context.and_then(|context| context.proc_mount.as_deref()) == Some("Unmasked")
}

fn plain(names: Option<&[String]>) -> Vec<String> {
    names.unwrap_or_default().iter().map(|name| name.trim_start_matches("CAP_").to_owned()).collect()
}

fn verify_not_root(user: Option<i64>, image: &Image) -> Result<(), ConfigError> {
    let refuse = |words: String| Err(ConfigError::Refused(words));
    match (user, image.uid) {
        (Some(0), _) => {
            refuse("container's runAsUser breaks non-root policy: set runAsUser to another user".into())
        }
        (Some(_), _) => Ok(()),
        (None, Some(0)) => refuse("container has runAsNonRoot and image will run as root".into()),
        (None, Some(_)) => Ok(()),
        (None, None) if image.username.is_empty() => {
            refuse("container has runAsNonRoot and image will run as root".into())
        }
        (None, None) => refuse(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root: set runAsUser",
            image.username
        )),
    }
}

/// A profile that needs no file.
pub fn profile(kind: ProfileType) -> SecurityProfile {
    SecurityProfile { profile_type: kind as i32, localhost_ref: String::new() }
}

/// The profile asked for, if any.
pub fn seccomp(wanted: Option<&SeccompProfile>) -> Option<SecurityProfile> {
    let wanted = wanted?;
    Some(match wanted.type_.as_str() {
        "RuntimeDefault" => profile(ProfileType::RuntimeDefault),
        "Localhost" => SecurityProfile {
            profile_type: ProfileType::Localhost as i32,
            localhost_ref: format!(
                "/var/lib/kubelet/seccomp/{}",
                wanted.localhost_profile.as_deref().unwrap_or_default()
            ),
        },
        _ => profile(ProfileType::Unconfined),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn context(
        container: serde_json::Value,
        image: &Image,
    ) -> Result<LinuxContainerSecurityContext, ConfigError> {
        let container: Container =
            serde_json::from_value(json!({ "name": "c", "securityContext": container }))
                .expect("a container");
        of(&Pod::default(), &container, image, None)
    }

    #[test]
    fn an_image_that_runs_as_root_is_refused_when_root_is_forbidden() {
        let root = Image { uid: Some(0), ..Image::default() };
        let named = Image { username: "app".into(), ..Image::default() };
        let other = Image { uid: Some(7), ..Image::default() };
        let wanted = json!({ "runAsNonRoot": true });
        assert!(context(wanted.clone(), &root).is_err());
        assert!(context(wanted.clone(), &Image::default()).is_err());
        assert!(context(wanted.clone(), &named).unwrap_err().to_string().contains("non-numeric user (app)"));
        assert!(context(wanted, &other).is_ok());
        assert!(context(json!({ "runAsNonRoot": true, "runAsUser": 5 }), &root).is_ok());
        assert!(context(json!({ "runAsNonRoot": true, "runAsUser": 0 }), &other).is_err());
    }

    #[test]
    fn a_privileged_container_sees_all_of_proc_and_others_do_not() {
        let image = Image::default();
        assert!(context(json!({ "privileged": true }), &image).expect("ok").masked_paths.is_empty());
        assert!(!context(json!({}), &image).expect("ok").masked_paths.is_empty());
    }

    #[test]
    fn capabilities_are_named_without_their_prefix() {
        let wanted = json!({ "capabilities": { "add": ["CAP_NET_ADMIN"], "drop": ["ALL"] } });
        let made = context(wanted, &Image::default()).expect("ok").capabilities.expect("capabilities");
        assert_eq!(
            (made.add_capabilities, made.drop_capabilities),
            (vec!["NET_ADMIN".into()], vec!["ALL".into()])
        );
    }
}
