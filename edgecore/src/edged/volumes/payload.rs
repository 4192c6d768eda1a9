//! What is in a config map, secret, downward API or projected volume. Pure.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume, VolumeProjection};

use super::Ingredients;
use super::atomic::{File, Files, is_legal};
use crate::edged::downward::{self, DownwardError};
use crate::edged::objects::{Missing, TokenRequest};
use crate::edged::pod::policy;

/// Why a volume has no content (yet).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// An object could not be had.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The object lacks a key.
    #[error("{kind} {key}")]
    NoKey {
        /// What kind of key is missing, as a clause that ends with a colon.
        kind: &'static str,
        /// The key.
        key: String,
    },
    /// A file name that would leave the volume.
    #[error("path {0:?} leaves the volume or starts with ..: choose another")]
    Path(String),
    /// The downward API has no such thing.
    #[error(transparent)]
    Downward(#[from] DownwardError),
}

const DEFAULT_MODE: i32 = 0o644;

/// The files of a volume; `None` for kinds that have no content of their own.
pub(super) fn of(from: Ingredients<'_>, volume: &Volume) -> Result<Option<Files>, PayloadError> {
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        config_map(from, &mut files, &source.name, source.items.as_deref(), mode, source.optional)?;
    } else if let Some(source) = &volume.secret {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let name = source.secret_name.as_deref().unwrap_or_default();
        secret(from, &mut files, name, source.items.as_deref(), mode, source.optional)?;
    } else if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        downward_api(from, &mut files, source.items.as_deref().unwrap_or_default(), mode)?;
    } else if let Some(source) = &volume.projected {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        for projection in source.sources.iter().flatten() {
            projected(from, &mut files, projection, mode)?;
        }
    } else {
        return Ok(None);
    }
    match files.keys().find(|path| !is_legal(path)) {
        Some(path) => Err(PayloadError::Path(path.display().to_string())),
        None => Ok(Some(files)),
    }
}

fn projected(
    from: Ingredients<'_>,
    files: &mut Files,
    source: &VolumeProjection,
    mode: i32,
) -> Result<(), PayloadError> {
    if let Some(source) = &source.config_map {
        config_map(from, files, &source.name, source.items.as_deref(), mode, source.optional)?;
    }
    if let Some(source) = &source.secret {
        secret(from, files, &source.name, source.items.as_deref(), mode, source.optional)?;
    }
    if let Some(source) = &source.downward_api {
        downward_api(from, files, source.items.as_deref().unwrap_or_default(), mode)?;
    }
    if let Some(source) = &source.service_account_token {
        let account = policy::spec(from.pod).service_account_name.as_deref().unwrap_or("default");
        let token = from
            .objects
            .token(&TokenRequest::of(source))
            .map_err(|absent| absent.missing("service account token", account))?;
        let owner = common_user(from.pod);
        let private = owner.is_some() || from.fs_group().is_some();
        let mode = if private { 0o600 } else { mode };
        add(files, &source.path, token.text.clone().into_bytes(), mode, owner);
    }
    Ok(())
}

/// The user that all containers run as, if they agree on one.
fn common_user(pod: &Pod) -> Option<u32> {
    let spec = policy::spec(pod);
    let shared = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = policy::inits(pod).iter().chain(&spec.containers).map(|container| {
        container.security_context.as_ref().and_then(|context| context.run_as_user).or(shared)
    });
    let first = users.next()??;
    users.all(|user| user == Some(first)).then_some(first).and_then(|user| u32::try_from(user).ok())
}

fn config_map(
    from: Ingredients<'_>,
    files: &mut Files,
    name: &str,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: Option<bool>,
) -> Result<(), PayloadError> {
    let Some(map) = from.objects.needed_config_map(name, optional)? else { return Ok(()) };
    let text = map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    let missing = "configmap references non-existent config key:";
    keys(files, missing, text.chain(binary), items, mode, optional == Some(true))
}

fn secret(
    from: Ingredients<'_>,
    files: &mut Files,
    name: &str,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: Option<bool>,
) -> Result<(), PayloadError> {
    let Some(secret) = from.objects.needed_secret(name, optional)? else { return Ok(()) };
    let data = secret.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    keys(files, "references non-existent secret key:", data, items, mode, optional == Some(true))
}

fn keys<'a>(
    files: &mut Files,
    missing: &'static str,
    data: impl Iterator<Item = (&'a str, &'a [u8])>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
) -> Result<(), PayloadError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        for (key, value) in data {
            add(files, key, value.to_vec(), mode, None);
        }
        return Ok(());
    };
    let data: std::collections::BTreeMap<&str, &[u8]> = data.collect();
    for item in items {
        match data.get(item.key.as_str()) {
            Some(value) => add(files, &item.path, value.to_vec(), item.mode.unwrap_or(mode), None),
            None if optional => {}
            None => return Err(PayloadError::NoKey { kind: missing, key: item.key.clone() }),
        }
    }
    Ok(())
}

fn downward_api(
    from: Ingredients<'_>,
    files: &mut Files,
    items: &[DownwardAPIVolumeFile],
    mode: i32,
) -> Result<(), PayloadError> {
    for item in items {
        let value = if let Some(reference) = &item.field_ref {
            downward::field(from.pod, &reference.field_path, from.facts)?
        } else if let Some(selector) = &item.resource_field_ref {
            downward::resource(from.pod, None, selector, from.facts)?
        } else {
            continue;
        };
        add(files, &item.path, value.into_bytes(), item.mode.unwrap_or(mode), None);
    }
    Ok(())
}

fn add(files: &mut Files, path: &str, data: Vec<u8>, mode: i32, owner: Option<u32>) {
    let mode = u32::try_from(mode).unwrap_or(0o644) & 0o777;
    // Joined from its parts, so that `./a//b` and `a/b` are one file; `..` stays visible and is refused by the caller.
    let path: PathBuf =
        Path::new(path).components().filter(|part| *part != std::path::Component::CurDir).collect();
    files.insert(path, File { data, mode, owner });
}
