//! What the engine tells, in our types. What lacks the pod labels was not made for a pod and is not ours.

use std::net::IpAddr;
use std::path::PathBuf;

use bollard::models::{
    ContainerInspectResponse, ContainerState as Told, ContainerStateStatusEnum as Status, ContainerSummary,
    ContainerSummaryStateEnum as Listed, ImageInspect, ImageSummary, NetworkSettings,
};
use jiff::Timestamp;

use super::super::{Container, ContainerId, ContainerState, Exit, Image, PodUid, Sandbox, SandboxId, labels};
use super::names;

/// The engine writes the year 1 for what has not happened.
fn time(text: Option<&str>) -> Timestamp {
    text.and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH).max(Timestamp::UNIX_EPOCH)
}

fn seconds(created: Option<i64>) -> Timestamp {
    created.and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn first_name(names: Option<Vec<String>>) -> String {
    names.and_then(|names| names.into_iter().next()).unwrap_or_default()
}

pub(super) fn sandbox(item: ContainerSummary) -> Option<Sandbox> {
    let labels = item.labels?;
    let label = |key: &str| labels.get(key).cloned();
    Some(Sandbox {
        id: SandboxId(item.id?),
        uid: PodUid(label(labels::POD_UID)?),
        name: label(labels::POD_NAME).unwrap_or_default(),
        namespace: label(labels::POD_NAMESPACE).unwrap_or_default(),
        attempt: names::attempt(&first_name(item.names)),
        created: seconds(item.created),
        ready: item.state == Some(Listed::RUNNING),
    })
}

pub(super) fn container(item: ContainerSummary) -> Option<Container> {
    let all = item.labels?;
    let sandbox = SandboxId(all.get(names::SANDBOX_ID).cloned().unwrap_or_default());
    let image = all.get(names::IMAGE).cloned().or(item.image).unwrap_or_default();
    let (labels, annotations) = names::split(all);
    let created = seconds(item.created);
    let state = match item.state {
        Some(Listed::CREATED) => ContainerState::Created,
        Some(Listed::RUNNING | Listed::PAUSED | Listed::RESTARTING | Listed::STOPPING) => {
            ContainerState::Running { started: created }
        }
        Some(Listed::EXITED | Listed::DEAD | Listed::REMOVING) => ContainerState::Exited(Exit {
            code: 0,
            reason: String::new(),
            message: String::new(),
            started: created,
            finished: created,
        }),
        _ => ContainerState::Unknown,
    };
    Some(Container {
        id: ContainerId(item.id?),
        sandbox,
        uid: PodUid(labels.get(labels::POD_UID)?.clone()),
        name: labels.get(labels::CONTAINER_NAME)?.clone(),
        attempt: names::attempt(&first_name(item.names)),
        created,
        state,
        image,
        image_ref: item.image_id.unwrap_or_default(),
        labels,
        annotations,
        last_words: None,
    })
}

pub(super) fn inspected(item: ContainerInspectResponse) -> Option<Container> {
    let config = item.config?;
    let all = config.labels?;
    let sandbox = SandboxId(all.get(names::SANDBOX_ID).cloned().unwrap_or_default());
    let image = all.get(names::IMAGE).cloned().or(config.image).unwrap_or_default();
    let (labels, annotations) = names::split(all);
    let created = time(item.created.as_deref());
    let last_words = annotations.get(labels::TERMINATION_PATH).and_then(|path| {
        let mut mounts = item.mounts.iter().flatten();
        let mount = mounts.find(|mount| mount.destination.as_deref() == Some(path))?;
        mount.source.as_ref().map(PathBuf::from)
    });
    Some(Container {
        id: ContainerId(item.id?),
        sandbox,
        uid: PodUid(labels.get(labels::POD_UID)?.clone()),
        name: labels.get(labels::CONTAINER_NAME)?.clone(),
        attempt: names::attempt(item.name.as_deref().unwrap_or_default()),
        created,
        state: item.state.map_or(ContainerState::Unknown, |told| state(told, created)),
        image,
        image_ref: item.image.unwrap_or_default(),
        labels,
        annotations,
        last_words,
    })
}

fn state(told: Told, created: Timestamp) -> ContainerState {
    let code = told.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
    let error = told.error.unwrap_or_default();
    let started = time(told.started_at.as_deref());
    let finished = time(told.finished_at.as_deref());
    match told.status {
        // It was started and could not be: 126, 127 or 128, and it stays "created".
        Some(Status::CREATED) if code != 0 || !error.is_empty() => ContainerState::Exited(Exit {
            code: if code == 0 { 128 } else { code },
            reason: "ContainerCannotRun".to_owned(),
            message: error,
            started: created,
            finished: created,
        }),
        Some(Status::CREATED) => ContainerState::Created,
        Some(Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING) => {
            ContainerState::Running { started }
        }
        Some(Status::EXITED | Status::DEAD | Status::REMOVING) => {
            let reason = match (told.oom_killed == Some(true), code) {
                (true, _) => "OOMKilled",
                (false, 0) => "Completed",
                (false, _) if started == Timestamp::UNIX_EPOCH => "ContainerCannotRun",
                (false, _) => "Error",
            };
            ContainerState::Exited(Exit {
                code,
                reason: reason.to_owned(),
                message: error,
                started: if started == Timestamp::UNIX_EPOCH { created } else { started },
                finished: if finished == Timestamp::UNIX_EPOCH { created } else { finished },
            })
        }
        _ => ContainerState::Unknown,
    }
}

/// Addresses in all networks, those of version 4 first.
pub(super) fn addresses(settings: NetworkSettings) -> Vec<IpAddr> {
    let networks = settings.networks.unwrap_or_default();
    let mut all: Vec<IpAddr> = networks
        .into_values()
        .flat_map(|network| [network.ip_address, network.global_ipv6_address])
        .flatten()
        .filter_map(|ip| ip.parse().ok())
        .collect();
    all.sort_by_key(IpAddr::is_ipv6);
    all
}

pub(super) fn image(item: ImageInspect) -> Image {
    let user = item.config.and_then(|config| config.user).unwrap_or_default();
    let name = user.split(':').next().unwrap_or_default();
    let uid = name.parse().ok();
    Image {
        id: item.id.unwrap_or_default(),
        digests: item.repo_digests.unwrap_or_default(),
        tags: item.repo_tags.unwrap_or_default(),
        pinned: false,
        size: item.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        uid,
        username: if uid.is_some() { String::new() } else { name.to_owned() },
    }
}

/// An image of the list; who it runs as is not told there.
pub(super) fn listed_image(item: ImageSummary, pause: &str) -> Image {
    let known = |list: Vec<String>| list.into_iter().filter(|name| !name.starts_with("<none>")).collect();
    let tags: Vec<String> = known(item.repo_tags);
    Image {
        pinned: tags.iter().any(|tag| tag == pause),
        id: item.id,
        digests: known(item.repo_digests),
        tags,
        size: u64::try_from(item.size).unwrap_or(0),
        ..Image::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: Status, code: i64, error: &str) -> Told {
        Told {
            status: Some(status),
            exit_code: Some(code),
            error: Some(error.into()),
            started_at: Some("0001-01-01T00:00:00Z".into()),
            finished_at: Some("0001-01-01T00:00:00Z".into()),
            ..Told::default()
        }
    }

    #[test]
    fn a_start_that_failed_is_an_end_with_the_engines_words() {
        let made = Timestamp::from_second(1000).expect("a time");
        let words = "exec: \"/no/such\": stat /no/such: no such file or directory";
        let ContainerState::Exited(exit) = state(told(Status::CREATED, 127, words), made) else {
            panic!("not ended")
        };
        assert_eq!((exit.code, exit.reason.as_str()), (127, "ContainerCannotRun"));
        assert_eq!((exit.message.as_str(), exit.finished), (words, made));
        assert_eq!(state(told(Status::CREATED, 0, ""), made), ContainerState::Created);
    }

    #[test]
    fn ends_are_told_apart() {
        let made = Timestamp::UNIX_EPOCH;
        let reason = |mut told: Told, oom: bool| {
            told.started_at = Some("2026-01-01T00:00:00.5Z".into());
            told.oom_killed = Some(oom);
            match state(told, made) {
                ContainerState::Exited(exit) => exit.reason,
                other => format!("{other:?}"),
            }
        };
        assert_eq!(reason(told(Status::EXITED, 0, ""), false), "Completed");
        assert_eq!(reason(told(Status::EXITED, 3, ""), false), "Error");
        assert_eq!(reason(told(Status::EXITED, 137, ""), true), "OOMKilled");
        assert_eq!(reason(told(Status::DEAD, 137, ""), false), "Error");
    }

    #[test]
    fn the_user_of_an_image_is_a_number_or_a_name() {
        let of = |user: &str| {
            let config = bollard::models::ImageConfig { user: Some(user.into()), ..Default::default() };
            let image = image(ImageInspect { config: Some(config), ..Default::default() });
            (image.uid, image.username)
        };
        assert_eq!(of("1000:1000"), (Some(1000), String::new()));
        assert_eq!(of("app:app"), (None, "app".into()));
        assert_eq!(of(""), (None, String::new()));
    }
}
