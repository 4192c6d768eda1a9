use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    host::mounts,
    problem::{Problem, file_problem},
};

/// Files to remove. What does not exist is no problem, and one that cannot be removed does not keep the others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Removal {
    files: Vec<PathBuf>,
    trees: Vec<PathBuf>,
    /// Shared with others: removed only when nothing is left in them.
    shared: Vec<PathBuf>,
}

impl Removal {
    pub(crate) fn file(mut self, path: PathBuf) -> Self {
        self.files.push(path);
        self
    }

    pub(crate) fn tree(mut self, path: PathBuf) -> Self {
        self.trees.push(path);
        self
    }

    /// Directories that others may use too; inner ones first.
    pub(crate) fn shared(mut self, path: PathBuf) -> Self {
        self.shared.push(path);
        self
    }

    /// Files named `name`, or beginning with `name.`, in `dir`: logs with their rotated ones.
    pub(crate) fn files_like(mut self, dir: &Path, name: &str) -> Self {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        self.files.extend(entries.map(|entry| entry.path()).filter(|path| {
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            file == name || file.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
        }));
        self
    }

    /// What of it is there.
    pub(crate) fn present(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().chain(&self.trees).filter(|path| path.symlink_metadata().is_ok())
    }

    pub(crate) fn run(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for file in &self.files {
            problems.extend(ignore_missing(std::fs::remove_file(file), file));
        }
        for tree in &self.trees {
            problems.extend(remove_tree(tree));
        }
        for dir in &self.shared {
            match std::fs::remove_dir(dir) {
                Err(error)
                    if !matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                    ) =>
                {
                    problems.push(file_problem("remove", dir, &error));
                }
                _ => {}
            }
        }
        problems
    }
}

/// Removes a tree, but never what is mounted into it: that is somebody's data.
fn remove_tree(tree: &Path) -> Option<Problem> {
    for (point, done) in mounts::unmount_below(tree) {
        if let Err(error) = done {
            return Some(
                Problem::new(format!("{} is left alone", tree.display()))
                    .cause(format!("{} is mounted in it and cannot be unmounted: {error}", point.display()))
                    .next(format!("find its users with `fuser -vm {}`, then reset again", point.display())),
            );
        }
    }
    if let Some(point) = mounts::below(tree).first() {
        return Some(
            Problem::new(format!("{} is left alone", tree.display()))
                .cause(format!("{} is still mounted in it", point.display()))
                .next(format!("umount {}, then reset again", point.display())),
        );
    }
    ignore_missing(std::fs::remove_dir_all(tree), tree)
}

fn ignore_missing(done: io::Result<()>, path: &Path) -> Option<Problem> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Some(file_problem("remove", path, &error)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_does_not_exist_does_not_keep_the_next_ones() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("kubelet/pods")).unwrap();
        std::fs::create_dir_all(at("shared")).unwrap();
        std::fs::write(at("shared/theirs"), "").unwrap();
        std::fs::write(at("edgecore.log"), "").unwrap();
        std::fs::write(at("edgecore.log.1"), "").unwrap();
        std::fs::write(at("edgecored"), "").unwrap();
        let removal = Removal::default()
            .tree(at("edged"))
            .tree(at("kubelet"))
            .files_like(dir.path(), "edgecore.log")
            .shared(at("shared"));
        assert_eq!(removal.present().count(), 3);
        assert!(removal.run().is_empty());
        assert!(!at("kubelet").exists() && !at("edgecore.log.1").exists());
        assert!(at("shared/theirs").exists() && at("edgecored").exists());
    }
}
