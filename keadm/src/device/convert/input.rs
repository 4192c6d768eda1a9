//! Files, folders and standard input, as documents that still have their text.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::problem::{Exit, Failure, Problem, file_problem};

/// Bytes of one input at most.
const MOST: u64 = 64 << 20;

/// A document of the input.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    /// Where it stands, for whoever has to look for it.
    pub(super) origin: String,
    /// As it is written, comments and all.
    pub(super) text: String,
    pub(super) value: Value,
}

/// Reads everything, and names everything that cannot be read.
pub(super) fn read(files: &[PathBuf]) -> Result<Vec<Document>, Failure> {
    let (mut documents, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        match one(file) {
            Ok(texts) => {
                for (origin, text) in texts {
                    match parse(&origin, &text) {
                        Ok(found) => documents.extend(found),
                        Err(problem) => problems.push(problem),
                    }
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() && documents.is_empty() {
        problems.push(
            Problem::new("there is nothing to convert")
                .cause("the input has no objects")
                .next("keadm device convert -f FILE, or pipe manifests into -f -"),
        );
    }
    if problems.is_empty() {
        return Ok(documents);
    }
    Err(Failure::new("nothing was written", problems, Exit::Failed))
}

/// The texts behind an argument.
fn one(file: &Path) -> Result<Vec<(String, String)>, Problem> {
    let shown = file.display().to_string();
    let failed = |error: &std::io::Error| file_problem("read", file, error);
    if shown == "-" {
        let text = capped(std::io::stdin().lock()).map_err(|error| {
            Problem::new("cannot read standard input").cause(error).next("give a file: -f FILE")
        })?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    let file_of = |path: &Path| -> Result<(String, String), Problem> {
        let text = std::fs::File::open(path).and_then(capped);
        let text = text.map_err(|error| file_problem("read", path, &error))?;
        Ok((path.display().to_string(), text))
    };
    if !file.is_dir() {
        return Ok(vec![file_of(file)?]);
    }
    let entries = std::fs::read_dir(file).map_err(|error| failed(&error))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(&error))?.path();
        let is_manifest =
            path.extension().is_some_and(|ext| ["yaml", "yml", "json"].iter().any(|e| ext == *e));
        if is_manifest && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(Problem::new(format!("{shown} has no manifests"))
            .cause("no file in it ends with .yaml, .yml or .json; folders in it are not looked into")
            .next("name another folder, or its files"));
    }
    paths.iter().map(|path| file_of(path)).collect()
}

fn capped(reader: impl std::io::Read) -> std::io::Result<String> {
    let text = std::io::read_to_string(reader.take(MOST + 1))?;
    if text.len() as u64 > MOST {
        return Err(std::io::Error::other(format!("it is larger than {} MiB", MOST >> 20)));
    }
    Ok(text)
}

/// The documents of a text: JSON one after the other, or YAML.
fn parse(origin: &str, text: &str) -> Result<Vec<Document>, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{')
        && let Ok(values) =
            serde_json::Deserializer::from_str(text).into_iter().collect::<Result<Vec<Value>, _>>()
    {
        return Ok(values
            .into_iter()
            .map(|value| Document { origin: origin.to_owned(), text: format!("{value:#}\n"), value })
            .collect());
    }
    let mut documents = Vec::new();
    for (line, text) in split(text) {
        if is_empty(text) {
            continue;
        }
        let origin = format!("{origin}, document from line {line}");
        let value: Value = serde_saphyr::from_str(text).map_err(|error| {
            Problem::new(format!("{origin}, is not valid YAML"))
                .cause(error)
                .next("correct it; a template must be rendered first")
        })?;
        if !value.is_null() {
            let text = text.trim_start_matches(['\r', '\n']);
            let end = if text.ends_with('\n') { "" } else { "\n" };
            documents.push(Document { origin, text: format!("{text}{end}"), value });
        }
    }
    Ok(documents)
}

/// Documents of a YAML stream with the numbers of their first lines. A marker stands at the beginning of a line, where nothing else may.
fn split(text: &str) -> Vec<(usize, &str)> {
    let marks = |line: &str, marker: &str| {
        line.strip_prefix(marker)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
    };
    let mut parts = Vec::new();
    let (mut begin, mut first, mut at) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let next = at + line.len();
        if marks(line, "---") {
            parts.push((first, begin..at));
            // What follows on the marker's line belongs to the document.
            (begin, first) = (at + 3, number + 1);
        } else if marks(line, "...") {
            parts.push((first, begin..at));
            (begin, first) = (next, number + 2);
        }
        at = next;
    }
    parts.push((first, begin..text.len()));
    parts.into_iter().filter_map(|(line, range)| Some((line, text.get(range)?))).collect()
}

/// Comments, directives and nothing else.
fn is_empty(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with(['#', '%']))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(text: &str) -> Vec<String> {
        parse("x", text).unwrap().into_iter().map(|document| document.text).collect()
    }

    #[test]
    fn documents_keep_their_text() {
        let text = "# licence\n---\na: 1 # one\n--- # two\nb: |\n  ---\n  text\n...\n%YAML 1.2\n---\r\nc: yes\r\n---\n--- \n~\n---\n{\"d\": 0644}";
        assert_eq!(
            texts(text),
            ["a: 1 # one\n", " # two\nb: |\n  ---\n  text\n", "c: yes\r\n", "{\"d\": 0644}\n"]
        );
        let json = parse("x", "{\"a\": 1}\n{\"b\": 2}").unwrap();
        assert_eq!(
            json.iter().map(|one| &one.value).collect::<Vec<_>>(),
            [&json!({"a": 1}), &json!({"b": 2})]
        );
        assert_eq!(texts("{a: 1}\n---\n{b: 2}\n"), ["{a: 1}\n", "{b: 2}\n"]);
        assert_eq!(texts(""), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_yaml_is_named_with_its_line() {
        let problem = parse("old.yaml", "a: 1\n---\nb: [\n").unwrap_err().to_string();
        assert!(problem.contains("old.yaml, document from line 2, is not valid YAML"), "{problem}");
    }

    #[test]
    fn a_folder_is_its_manifests_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in
            [("b.yaml", "b: 1"), ("a.yml", "a: 1"), ("c.json", "{\"c\": 1}"), ("notes.txt", "d: [")]
        {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let found = read(&[dir.path().to_owned()]).unwrap();
        let values: Vec<_> = found.into_iter().map(|document| document.value).collect();
        assert_eq!(values, [json!({"a": 1}), json!({"b": 1}), json!({"c": 1})]);
        let empty = tempfile::tempdir().unwrap();
        let failure = read(&[empty.path().to_owned(), dir.path().join("x")]).unwrap_err();
        assert_eq!(failure.exit(), Exit::Failed);
        let text = failure.to_string();
        assert!(text.contains("has no manifests") && text.contains("/x"), "{text}");
    }
}
