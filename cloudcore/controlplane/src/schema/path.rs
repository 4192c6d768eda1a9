//! Where in an object we are, built on the stack and written out only when there is something to complain about.

use std::fmt;

/// One step from the root of an object.
#[derive(Clone, Copy, Debug)]
pub enum Path<'a> {
    /// The object itself.
    Root,
    /// `.name`
    Field(&'a Path<'a>, &'a str),
    /// `[3]`
    Index(&'a Path<'a>, usize),
    /// `[key]` of a map
    Key(&'a Path<'a>, &'a str),
}

impl<'a> Path<'a> {
    /// `self.name`
    #[must_use]
    pub fn field(&'a self, name: &'a str) -> Path<'a> {
        Path::Field(self, name)
    }

    /// `self[index]`
    #[must_use]
    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path::Index(self, index)
    }

    /// `self[key]`
    #[must_use]
    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }

    /// Whether this is the object itself.
    pub fn is_root(&self) -> bool {
        matches!(self, Path::Root)
    }

    /// The dotted names alone, without indexes and keys: how Go's JSON decoder names a field.
    pub fn names(&self) -> String {
        match self {
            Path::Root => String::new(),
            Path::Field(parent, name) => {
                let mut path = parent.names();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                path
            }
            Path::Index(parent, _) | Path::Key(parent, _) => parent.names(),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(parent, name) if parent.is_root() => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
            Path::Key(parent, key) => write!(f, "{parent}[{key}]"),
        }
    }
}

impl From<Path<'_>> for String {
    fn from(path: Path<'_>) -> Self {
        path.to_string()
    }
}

impl From<&Path<'_>> for String {
    fn from(path: &Path<'_>) -> Self {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_kubernetes_writes_it() {
        let root = Path::Root;
        let spec = root.field("spec");
        let containers = spec.field("containers");
        let first = containers.index(0);
        let image = first.field("image");
        assert_eq!(image.to_string(), "spec.containers[0].image");
        assert_eq!(image.names(), "spec.containers.image");
        assert_eq!(root.field("data").key("a.b").to_string(), "data[a.b]");
    }
}
