use std::{fmt::Write as _, path::Path};

use serde::Serialize;
use serde_json::{Value, json};

use super::Exported;
use crate::{
    document,
    output::{self, Output},
    problem::{Exit, Failure, Problem, file_problem},
};

/// What `-o json` prints about a folder.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    file: String,
    kind: String,
    objects: usize,
}

/// Files of another export would be taken for a part of this one.
pub(super) fn check(dir: &Path) -> Result<(), Problem> {
    let holds_something = match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(file_problem("read", dir, &error)),
    };
    if !holds_something {
        return Ok(());
    }
    Err(Problem::new(format!("{} is not empty", dir.display()))
        .cause("what lies there would be applied together with this export")
        .next("name another folder, or remove this one"))
}

fn documents(objects: &[Value]) -> Result<String, Failure> {
    let mut text = String::new();
    for object in objects {
        // Writing to a text cannot fail.
        let _ = write!(text, "---\n{}", output::yaml(object)?);
    }
    Ok(text)
}

/// Everything to standard output.
pub(super) fn stream(all: &[Exported], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        let items: Vec<&Value> = all.iter().flat_map(|exported| &exported.objects).collect();
        return output::json(&json!({"apiVersion": "v1", "kind": "List", "items": items}));
    }
    for exported in all {
        print!("{}", documents(&exported.objects)?);
    }
    Ok(())
}

/// One file for each kind, named so that they are applied in order.
pub(super) fn files(dir: &Path, all: &[Exported], output: Output) -> Result<(), Failure> {
    let failed = |problem: Problem| problem.fail("the export is not complete", Exit::Failed);
    let mut written = Vec::new();
    for (number, exported) in all.iter().enumerate() {
        let file = format!("{:03}-{}.yaml", (number + 1) * 10, exported.kind.name());
        let mode = if exported.kind.is_secret() { 0o600 } else { 0o644 };
        document::write(&dir.join(&file), documents(&exported.objects)?.as_bytes(), mode).map_err(failed)?;
        written.push(Written {
            file,
            kind: exported.kind.resource.kind.clone(),
            objects: exported.objects.len(),
        });
    }
    if output == Output::Json {
        return output::json(&json!({ "folder": dir, "files": written }));
    }
    for one in &written {
        println!("{:>6}  {}", one.objects, one.file);
    }
    println!("\nApply them to another cluster with:");
    if let Some(crds) = written.iter().find(|one| one.kind == "CustomResourceDefinition") {
        println!("  kubectl apply -f {}", dir.join(&crds.file).display());
        println!("  kubectl wait --for=condition=Established crd --all");
    }
    println!("  kubectl apply -f {}", dir.display());
    Ok(())
}
