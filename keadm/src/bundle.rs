use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    layout::Layout,
    problem::{Problem, file_problem},
};

/// Puts `program` at its place below `/usr/local/bin` and says where. It is taken from beside keadm, else from the
/// `PATH`; one that is in place already is kept when there is no other.
pub(crate) fn install(program: &str, layout: &Layout) -> Result<PathBuf, Problem> {
    let target = layout.binary(program);
    let Some(source) = find(program, &target) else {
        return Err(missing(program));
    };
    if source != target && !same(&source, &target) {
        copy(&source, &target).map_err(|error| file_problem("install", &target, &error))?;
    }
    Ok(target)
}

/// Whether [`install`] would find something, for the preflight.
pub(crate) fn check(program: &str, layout: &Layout) -> Option<Problem> {
    find(program, &layout.binary(program)).is_none().then(|| missing(program))
}

fn missing(program: &str) -> Problem {
    Problem::new(format!("the program {program} is not here"))
        .cause("it is neither beside keadm nor in the PATH")
        .next(format!("build it with `cargo build --release --locked`, or copy {program} beside keadm"))
}

fn find(program: &str, target: &Path) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|keadm| Some(keadm.parent()?.join(program)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join(program));
    beside.into_iter().chain(on_path).chain([target.to_owned()]).find(|candidate| candidate.is_file())
}

fn same(one: &Path, other: &Path) -> bool {
    let facts = |path: &Path| path.metadata().and_then(|facts| Ok((facts.len(), facts.modified()?)));
    matches!((facts(one), facts(other)), (Ok(one), Ok(other)) if one == other)
}

/// Replaces `target` at once, so that a program that runs from it is not disturbed.
fn copy(source: &Path, target: &Path) -> io::Result<()> {
    if let Some(dir) = target.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut temporary = target.as_os_str().to_owned();
    temporary.push(".new");
    std::fs::copy(source, &temporary)?;
    let modified = source.metadata()?.modified()?;
    std::fs::File::options().write(true).open(&temporary)?.set_modified(modified)?;
    std::fs::rename(&temporary, target)
}
