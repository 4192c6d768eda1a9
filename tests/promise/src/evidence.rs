//! Finds the tests that a document names: `file::test`, `file::how it begins…`, or `file::…` for a file that has some.

use std::path::Path;

/// Where files are: what a name begins with, and the folder of what is left of it.
pub type Places = [(&'static str, &'static str)];

/// The files and tests that a row of a table names, between backticks.
pub fn named(row: &str) -> impl Iterator<Item = (&str, &str)> {
    row.split('`').skip(1).step_by(2).filter_map(|name| name.split_once("::"))
}

/// What the one file of that name says.
///
/// # Errors
/// There is none, or more than one, or it cannot be read.
pub fn text(places: &Places, file: &str) -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let paths = places.iter().filter_map(|(start, folder)| {
        let path = root.join(folder).join(file.strip_prefix(start)?).with_extension("rs");
        path.is_file().then_some(path)
    });
    match &paths.collect::<Vec<_>>()[..] {
        [path] => std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display())),
        paths => Err(format!("{} files are named {file}.rs in {places:?}", paths.len())),
    }
}

/// The one test of that name in a file's text, with what stands from there to the next test.
///
/// # Errors
/// There is none, or more than one.
pub fn test<'a>(text: &'a str, name: &str) -> Result<&'a str, String> {
    let tests = tests(text);
    let matching: Vec<&str> = match name.strip_suffix('…') {
        Some("") => tests.into_iter().map(|(_, body)| body).take(1).collect(),
        Some(start) => {
            tests.into_iter().filter(|(name, _)| name.starts_with(start)).map(|(_, body)| body).collect()
        }
        None => tests.into_iter().filter(|(known, _)| *known == name).map(|(_, body)| body).collect(),
    };
    match matching[..] {
        [body] => Ok(body),
        _ => Err(format!("{} tests are named {name}", matching.len())),
    }
}

/// Names and bodies of the functions that are run: by their attribute, or from a list of a macro that makes tests of them.
fn tests(text: &str) -> Vec<(&str, &str)> {
    let mut starts = Vec::new();
    let (mut at, mut attributed) = (0, false);
    for line in text.split_inclusive('\n') {
        let code = line.trim();
        if let Some(rest) = code.trim_start_matches("async ").strip_prefix("fn ") {
            let name = rest.split('(').next().unwrap_or(rest);
            if std::mem::take(&mut attributed) || text.contains(&format!("\n    {name},\n")) {
                starts.push((name, at));
            }
        }
        attributed |= code == "#[test]" || code.starts_with("#[tokio::test");
        at += line.len();
    }
    let ends = starts.iter().skip(1).map(|(_, start)| *start).chain([text.len()]);
    starts.iter().zip(ends).map(|((name, start), end)| (*name, text.get(*start..end).unwrap_or(""))).collect()
}

#[cfg(test)]
mod tests {
    const TEXT: &str = "\
on_every_runtime!(
    listed,
);
fn helper() {}
async fn listed(kind: Kind) {
    one
}
#[tokio::test]
async fn attributed_one() {
    two
}
#[tokio::test(start_paused = true)]
async fn attributed_two() {}
";

    #[test]
    fn a_test_is_what_is_run_and_has_one_name() {
        let test = |name| super::test(TEXT, name);
        assert!(test("listed").unwrap().contains("one") && !test("listed").unwrap().contains("two"));
        assert!(test("attributed_o…").unwrap().contains("two"));
        assert!(test("…").is_ok());
        for name in ["helper", "help…", "attributed_…", "attributed_", "absent"] {
            assert!(test(name).is_err(), "{name}");
        }
    }
}
