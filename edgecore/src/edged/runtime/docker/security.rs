//! Security options in the engine's words.

use k8s_cri::v1::security_profile::ProfileType;
use k8s_cri::v1::{NamespaceMode, NamespaceOption, SeLinuxOption, SecurityProfile};

use super::RuntimeError;

/// What a container's `SecurityOpt` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options(Vec<String>);

impl Options {
    /// Translates profiles; a seccomp profile is read from its file, since the engine wants its text.
    ///
    /// # Errors
    /// When that file cannot be read.
    pub(super) async fn of(
        seccomp: Option<&SecurityProfile>,
        apparmor: Option<&SecurityProfile>,
        selinux: Option<&SeLinuxOption>,
        no_new_privileges: bool,
    ) -> Result<Self, RuntimeError> {
        let mut all = Vec::new();
        if no_new_privileges {
            all.push("no-new-privileges".to_owned());
        }
        if let Some(profile) = seccomp {
            match ProfileType::try_from(profile.profile_type) {
                Ok(ProfileType::Unconfined) => all.push("seccomp=unconfined".to_owned()),
                Ok(ProfileType::Localhost) => {
                    let path = &profile.localhost_ref;
                    let text = tokio::fs::read_to_string(path).await.map_err(|error| {
                        let message = format!("cannot read the seccomp profile {path}: {error}");
                        RuntimeError::failed("CreateContainer", message)
                    })?;
                    all.push(format!("seccomp={text}"));
                }
                // The engine's default is its default.
                _ => {}
            }
        }
        if let Some(profile) = apparmor {
            match ProfileType::try_from(profile.profile_type) {
                Ok(ProfileType::Unconfined) => all.push("apparmor=unconfined".to_owned()),
                Ok(ProfileType::Localhost) => all.push(format!("apparmor={}", profile.localhost_ref)),
                _ => {}
            }
        }
        let labels = selinux.map(|options| {
            [
                ("user", &options.user),
                ("role", &options.role),
                ("type", &options.r#type),
                ("level", &options.level),
            ]
        });
        for (key, value) in labels.into_iter().flatten().filter(|(_, value)| !value.is_empty()) {
            all.push(format!("label={key}:{value}"));
        }
        Ok(Self(all))
    }

    pub(super) fn into_vec(self) -> Option<Vec<String>> {
        (!self.0.is_empty()).then_some(self.0)
    }
}

/// Which namespaces are shared with whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Namespaces {
    pub(super) host_network: bool,
    pub(super) host_ipc: bool,
    pub(super) host_pid: bool,
    pub(super) shared_pid: bool,
    /// The container whose processes are seen.
    pub(super) target: Option<String>,
}

impl Namespaces {
    pub(super) fn of(options: Option<&NamespaceOption>) -> Self {
        let Some(options) = options else { return Self::default() };
        let is = |mode: i32, wanted: NamespaceMode| mode == wanted as i32;
        Self {
            host_network: is(options.network, NamespaceMode::Node),
            host_ipc: is(options.ipc, NamespaceMode::Node),
            host_pid: is(options.pid, NamespaceMode::Node),
            shared_pid: is(options.pid, NamespaceMode::Pod),
            target: is(options.pid, NamespaceMode::Target).then(|| options.target_id.clone()),
        }
    }
}

/// `uid[:gid]` or `name[:gid]`; `None` leaves it to the image.
pub(super) fn user(uid: Option<i64>, name: &str, gid: Option<i64>) -> Option<String> {
    let user = uid.map(|uid| uid.to_string()).or_else(|| (!name.is_empty()).then(|| name.to_owned()))?;
    Some(match gid {
        Some(gid) => format!("{user}:{gid}"),
        None => user,
    })
}

/// Supplemental groups.
pub(super) fn groups(list: &[i64]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(kind: ProfileType, path: &str) -> SecurityProfile {
        SecurityProfile { profile_type: kind as i32, localhost_ref: path.into() }
    }

    #[tokio::test]
    async fn profiles_become_options_and_a_profile_in_a_file_is_sent_as_text() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("p.json").to_string_lossy().into_owned();
        std::fs::write(&path, "{}").expect("written");
        let (local, none) = (profile(ProfileType::Localhost, &path), profile(ProfileType::Unconfined, ""));
        let made = Options::of(Some(&local), Some(&none), None, true).await.expect("options");
        assert_eq!(
            made.into_vec().expect("some"),
            ["no-new-privileges", "seccomp={}", "apparmor=unconfined"]
        );
        let default = profile(ProfileType::RuntimeDefault, "");
        assert_eq!(Options::of(Some(&default), None, None, false).await.expect("none").into_vec(), None);
        let gone = profile(ProfileType::Localhost, "/no/such/file");
        let error = Options::of(Some(&gone), None, None, false).await.expect_err("no file");
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }

    #[test]
    fn users_are_numbers_or_names_with_an_optional_group() {
        assert_eq!(user(Some(5), "", Some(6)).as_deref(), Some("5:6"));
        assert_eq!(user(None, "app", None).as_deref(), Some("app"));
        assert_eq!(user(None, "", Some(6)), None);
    }
}
