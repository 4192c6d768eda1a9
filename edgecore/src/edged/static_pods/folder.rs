//! The folder of manifests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{StaticPods, manifest};

/// A manifest is text by people; more is a mistake.
const LARGEST: u64 = 1 << 20;

/// Reads the folder; says once what is wrong with a file, until that changes.
pub(super) struct Folder {
    dir: PathBuf,
    node: String,
    said: BTreeMap<PathBuf, String>,
}

impl Folder {
    pub(super) fn new(dir: PathBuf, node: String) -> Self {
        Self { dir, node, said: BTreeMap::new() }
    }

    /// The pods that the folder describes now. Of two files for the same pod the first by name counts.
    pub(super) fn read(&mut self) -> StaticPods {
        let mut wrong = BTreeMap::new();
        let mut pods = BTreeMap::new();
        let mut names: BTreeMap<(String, String), PathBuf> = BTreeMap::new();
        for path in self.files(&mut wrong) {
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let read = text(&path).map_err(|error| error.to_string());
            let read = read
                .and_then(|text| manifest::pod(&file, &text, &self.node).map_err(|error| error.to_string()));
            match read {
                Ok(pod) => {
                    let meta = &pod.metadata;
                    let name =
                        (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
                    if let Some(first) = names.get(&name) {
                        wrong.insert(path, format!("{} describes a pod of the same name", first.display()));
                        continue;
                    }
                    names.insert(name, path);
                    pods.insert(meta.uid.clone().unwrap_or_default(), Arc::new(pod));
                }
                Err(reason) => {
                    wrong.insert(path, reason);
                }
            }
        }
        for (path, reason) in &wrong {
            if self.said.get(path) != Some(reason) {
                tracing::error!(file = %path.display(), "a static pod is not run: {reason}");
            }
        }
        self.said = wrong;
        Arc::new(pods)
    }

    fn files(&self, wrong: &mut BTreeMap<PathBuf, String>) -> Vec<PathBuf> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                wrong.insert(self.dir.clone(), format!("cannot read the folder: {error}"));
                return Vec::new();
            }
        };
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
            // Editors keep half-written files under such names.
            .filter(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')))
            .collect();
        files.sort();
        files
    }
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    #[allow(clippy::disallowed_methods, reason = "the reader is limited")]
    let read = File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if read as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_and_go_and_a_bad_one_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::new(dir.path().join("later"), "edge1".into());
        assert!(folder.read().is_empty(), "a folder that is not there is empty");
        let mut folder = Folder::new(dir.path().into(), "edge1".into());
        let web = |name: &str| {
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c, image: i}}]}}\n"
            )
        };
        let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).unwrap();
        write("a.yaml", &web("a"));
        write("b.yaml", "kind: [");
        write(".c.yaml.swp", &web("c"));
        write("d.yaml", &web("a"));
        std::fs::create_dir(dir.path().join("e")).unwrap();
        let names =
            |pods: StaticPods| pods.values().filter_map(|pod| pod.metadata.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(folder.read()), ["a-edge1"]);
        assert_eq!(folder.said.len(), 2, "{:?}", folder.said);
        assert!(folder.said[&dir.path().join("d.yaml")].contains("a.yaml describes a pod of the same name"));
        write("b.yaml", &web("b"));
        std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
        assert_eq!(names(folder.read()).len(), 2, "the second file for a counts now");
    }
}
