use std::path::Path;

use serde_json::Value;

use crate::problem::{Problem, file_problem};

/// Reads a YAML file as a plain document; `None` when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Value>, Problem> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_problem("read", path, &error)),
    };
    let document = serde_saphyr::from_str(&text).map_err(|error| {
        Problem::new(format!("{} is not valid YAML", path.display()))
            .cause(error)
            .next("correct it, or remove it to begin with the defaults")
    })?;
    Ok(Some(document))
}

/// What stands at `path` (names joined by dots), whatever the keys' letter case.
pub(crate) fn lookup<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(document, |place, name| {
        let map = place.as_object()?;
        map.get(name).or_else(|| Some(map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1))
    })
}

/// A non-empty text at `path`.
pub(crate) fn text<'a>(document: &'a Value, path: &str) -> Option<&'a str> {
    lookup(document, path)?.as_str().filter(|text| !text.is_empty())
}

/// Lays `patch` over `base`: maps key by key, anything else replaces.
pub(crate) fn overlay(base: &mut Value, patch: Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (key, value) in patch {
                let spelled = base.keys().find(|own| own.eq_ignore_ascii_case(&key)).cloned().unwrap_or(key);
                overlay(base.entry(spelled).or_insert(Value::Null), value);
            }
        }
        (base, patch) => *base = patch,
    }
}

/// `document` as YAML below comment lines.
pub(crate) fn render(comment: &str, document: &Value) -> Result<String, Problem> {
    let yaml = serde_saphyr::to_string(document).map_err(|error| {
        Problem::new("the configuration cannot be written as YAML")
            .cause(error)
            .next("look at the values given with --set")
    })?;
    let comment: String = comment.lines().map(|line| format!("# {line}\n")).collect();
    Ok(format!("{comment}{yaml}"))
}

/// Writes `path` at once, readable for `mode` only, with the folders above it.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), Problem> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let write = || -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        // A left-over would keep its old mode.
        std::fs::remove_file(&temporary).ok();
        let mut file = std::fs::File::options().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|error| file_problem("write", path, &error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_found_in_any_letter_case() {
        let document = json!({"Modules": {"edged": {"rootDirectory": "/x", "empty": ""}}});
        assert_eq!(text(&document, "modules.edged.rootdirectory"), Some("/x"));
        assert_eq!(text(&document, "modules.edged.empty"), None);
        assert_eq!(text(&document, "modules.nothing.x"), None);
    }

    #[test]
    fn a_file_that_is_not_yaml_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edgecore.yaml");
        assert_eq!(read(&path), Ok(None));
        std::fs::write(&path, "a: [1").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("edgecore.yaml is not valid YAML"));
    }
}
