//! A container of a pod in the engine's words.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HealthConfig, HostConfig, HostConfigLogConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountType,
};
use k8s_cri::v1::{ContainerConfig, Device, LinuxContainerResources, MountPropagation, PodSandboxConfig};

use super::super::SandboxId;
use super::names;
use super::oom::Floor;
use super::security::{self, Namespaces, Options};

/// How logs are kept: size in bytes and number of files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logs {
    pub(super) max_size: u64,
    pub(super) max_files: u32,
}

/// What the engine is told.
pub(super) fn body(
    sandbox: &SandboxId,
    config: ContainerConfig,
    pod: &PodSandboxConfig,
    options: Options,
    oom: Floor,
    logs: Logs,
) -> ContainerCreateBody {
    let image = config.image.unwrap_or_default();
    let mut labels = names::join(config.labels, config.annotations);
    labels.insert(names::TYPE.to_owned(), names::CONTAINER.to_owned());
    labels.insert(names::SANDBOX_ID.to_owned(), sandbox.0.clone());
    if !config.log_path.is_empty() {
        let path = Path::new(&pod.log_directory).join(&config.log_path);
        labels.insert(names::LOG_PATH.to_owned(), path.to_string_lossy().into_owned());
    }
    if !image.user_specified_image.is_empty() {
        labels.insert(names::IMAGE.to_owned(), image.user_specified_image);
    }
    let linux = config.linux.unwrap_or_default();
    let context = linux.security_context.unwrap_or_default();
    let shares = Namespaces::of(context.namespace_options.as_ref());
    let number = |value: &Option<k8s_cri::v1::Int64Value>| value.as_ref().map(|value| value.value);
    let joined = format!("container:{sandbox}");
    let capabilities = context.capabilities.unwrap_or_default();
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let host = HostConfig {
        // The pause container is on the host's network when the pod is.
        network_mode: Some(joined.clone()),
        ipc_mode: Some(joined.clone()),
        pid_mode: match (shares.host_pid, shares.shared_pid) {
            (true, _) => Some("host".to_owned()),
            (false, true) => Some(joined),
            (false, false) => shares.target.map(|target| format!("container:{target}")),
        },
        uts_mode: shares.host_network.then(|| "host".to_owned()),
        cgroup_parent: pod
            .linux
            .as_ref()
            .map(|linux| linux.cgroup_parent.clone())
            .filter(|parent| !parent.is_empty()),
        mounts: Some(config.mounts.iter().map(mount).collect()),
        devices: Some(config.devices.into_iter().map(device).collect()),
        privileged: Some(context.privileged),
        readonly_rootfs: Some(context.readonly_rootfs),
        cap_add: some(capabilities.add_capabilities),
        cap_drop: some(capabilities.drop_capabilities),
        group_add: security::groups(&context.supplemental_groups),
        security_opt: options.into_vec(),
        masked_paths: Some(context.masked_paths),
        readonly_paths: Some(context.readonly_paths),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), logs.max_size.to_string()),
                ("max-file".to_owned(), logs.max_files.max(1).to_string()),
            ])),
        }),
        ..limits(linux.resources.unwrap_or_default(), oom)
    };
    ContainerCreateBody {
        image: Some(image.image),
        entrypoint: some(config.command),
        cmd: some(config.args),
        working_dir: (!config.working_dir.is_empty()).then_some(config.working_dir),
        env: Some(config.envs.into_iter().map(|env| format!("{}={}", env.key, env.value)).collect()),
        user: security::user(
            number(&context.run_as_user),
            &context.run_as_username,
            number(&context.run_as_group),
        ),
        labels: Some(labels),
        open_stdin: Some(config.stdin),
        stdin_once: Some(config.stdin_once),
        tty: Some(config.tty),
        // Kubernetes has probes of its own.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

fn limits(from: LinuxContainerResources, oom: Floor) -> HostConfig {
    let positive = |value: i64| (value > 0).then_some(value);
    let text = |value: String| (!value.is_empty()).then_some(value);
    HostConfig {
        cpu_shares: positive(from.cpu_shares),
        cpu_quota: positive(from.cpu_quota),
        cpu_period: positive(from.cpu_period),
        cpuset_cpus: text(from.cpuset_cpus),
        cpuset_mems: text(from.cpuset_mems),
        memory: positive(from.memory_limit_in_bytes),
        // The engine counts memory and swap together: the same number means no swap.
        memory_swap: positive(from.memory_swap_limit_in_bytes),
        oom_score_adj: Some(oom.raise(from.oom_score_adj)),
        ..HostConfig::default()
    }
}

fn mount(from: &k8s_cri::v1::Mount) -> Mount {
    let propagation = match MountPropagation::try_from(from.propagation) {
        Ok(MountPropagation::PropagationHostToContainer) => MountBindOptionsPropagationEnum::RSLAVE,
        Ok(MountPropagation::PropagationBidirectional) => MountBindOptionsPropagationEnum::RSHARED,
        _ => MountBindOptionsPropagationEnum::RPRIVATE,
    };
    Mount {
        typ: Some(MountType::BIND),
        source: Some(from.host_path.clone()),
        target: Some(from.container_path.clone()),
        read_only: Some(from.readonly),
        bind_options: Some(MountBindOptions {
            propagation: Some(propagation),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    }
}

fn device(from: Device) -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(from.host_path),
        path_in_container: Some(from.container_path),
        cgroup_permissions: Some(from.permissions),
    }
}

#[cfg(test)]
mod tests {
    use k8s_cri::v1::{
        ImageSpec, LinuxContainerConfig, LinuxContainerSecurityContext, LinuxPodSandboxConfig, NamespaceMode,
        NamespaceOption,
    };

    use super::*;

    fn made(options: NamespaceOption, resources: LinuxContainerResources) -> ContainerCreateBody {
        let context = LinuxContainerSecurityContext {
            namespace_options: Some(options),
            masked_paths: vec!["/proc/kcore".into()],
            ..Default::default()
        };
        let config = ContainerConfig {
            image: Some(ImageSpec {
                image: "sha256:1".into(),
                user_specified_image: "a:1".into(),
                ..Default::default()
            }),
            args: vec!["x".into()],
            log_path: "c/0.log".into(),
            mounts: vec![k8s_cri::v1::Mount {
                host_path: "/h".into(),
                container_path: "/c".into(),
                propagation: MountPropagation::PropagationBidirectional as i32,
                ..Default::default()
            }],
            linux: Some(LinuxContainerConfig { resources: Some(resources), security_context: Some(context) }),
            ..Default::default()
        };
        let linux = LinuxPodSandboxConfig { cgroup_parent: "/kubepods/podu".into(), ..Default::default() };
        let pod =
            PodSandboxConfig { log_directory: "/logs/p".into(), linux: Some(linux), ..Default::default() };
        let logs = Logs { max_size: 10, max_files: 5 };
        body(&SandboxId("s".into()), config, &pod, Options::default(), Floor::default(), logs)
    }

    #[test]
    fn a_container_joins_its_sandbox_and_is_found_again_by_its_labels() {
        let pid = NamespaceMode::Container as i32;
        let body = made(NamespaceOption { pid, ..Default::default() }, LinuxContainerResources::default());
        let host = body.host_config.expect("a host config");
        assert_eq!(host.network_mode.as_deref(), Some("container:s"));
        assert_eq!((host.pid_mode, host.uts_mode), (None, None));
        assert_eq!(host.cgroup_parent.as_deref(), Some("/kubepods/podu"));
        let labels = body.labels.expect("labels");
        assert_eq!(labels[names::LOG_PATH], "/logs/p/c/0.log");
        assert_eq!((labels[names::SANDBOX_ID].as_str(), labels[names::IMAGE].as_str()), ("s", "a:1"));
        assert_eq!(body.entrypoint, None, "the image's own");
        let propagation = host.mounts.expect("mounts")[0].bind_options.clone().expect("options").propagation;
        assert_eq!(propagation, Some(MountBindOptionsPropagationEnum::RSHARED));
        assert_eq!(host.masked_paths.expect("paths"), ["/proc/kcore"]);
    }

    #[test]
    fn a_shared_process_namespace_is_the_pause_containers() {
        let pid = NamespaceMode::Pod as i32;
        let body = made(NamespaceOption { pid, ..Default::default() }, LinuxContainerResources::default());
        assert_eq!(body.host_config.and_then(|host| host.pid_mode).as_deref(), Some("container:s"));
    }

    #[test]
    fn limits_leave_no_swap_and_what_is_not_limited_is_not_said() {
        let resources = LinuxContainerResources {
            memory_limit_in_bytes: 64 << 20,
            memory_swap_limit_in_bytes: 64 << 20,
            cpu_quota: 0,
            ..Default::default()
        };
        let host = made(NamespaceOption::default(), resources).host_config.expect("a host config");
        assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!(host.cpu_quota, None);
    }
}
