//! `hostPath`: what must be there before a container may see it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::VolumeError;

/// Checks the type asked for, makes what may be made.
pub(super) fn check(volume: &str, source: &HostPathVolumeSource) -> Result<(), VolumeError> {
    let path = Path::new(&source.path);
    if !path.is_absolute() || path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(VolumeError::refused(
            volume,
            format!("hostPath {:?} must be absolute and without ..", source.path),
        ));
    }
    let kind = source.type_.as_deref().unwrap_or_default();
    if !path.exists() {
        match kind {
            "DirectoryOrCreate" => {
                fs::create_dir_all(path).map_err(VolumeError::io(volume, "make the directory", path))?;
                let open = fs::Permissions::from_mode(0o755);
                fs::set_permissions(path, open).map_err(VolumeError::io(volume, "set the mode of", path))?;
            }
            "FileOrCreate" => {
                let file = fs::File::options().create(true).append(true).open(path);
                file.map_err(VolumeError::io(volume, "make the file", path))?;
            }
            _ => {}
        }
    }
    let Ok(meta) = fs::metadata(path) else {
        // Without a type, the runtime makes a directory of what is missing.
        return if kind.is_empty() { Ok(()) } else { Err(wrong(volume, path, kind)) };
    };
    let file = meta.file_type();
    let right = match kind {
        "" => true,
        "DirectoryOrCreate" | "Directory" => file.is_dir(),
        "FileOrCreate" | "File" => file.is_file(),
        "Socket" => file.is_socket(),
        "CharDevice" => file.is_char_device(),
        "BlockDevice" => file.is_block_device(),
        _ => return Err(VolumeError::refused(volume, format!("hostPath type {kind:?} is unknown"))),
    };
    if right { Ok(()) } else { Err(wrong(volume, path, kind)) }
}

fn wrong(volume: &str, path: &Path, kind: &str) -> VolumeError {
    let wanted = match kind {
        "File" | "FileOrCreate" => "a file",
        "Socket" => "a socket file",
        "CharDevice" => "a character device",
        "BlockDevice" => "a block device",
        _ => "a directory",
    };
    VolumeError::refused(volume, format!("hostPath type check failed: {} is not {wanted}", path.display()))
}
