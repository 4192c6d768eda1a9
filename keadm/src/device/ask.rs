//! Questions on the terminal. They go to standard error, so that the answer's product can be piped on.

use std::io::{self, BufRead, IsTerminal as _, Write as _};
use std::str::FromStr;

use crate::problem::{Exit, Failure, Problem};

/// Whether somebody is there to answer.
pub(super) fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks until the answer makes sense. An empty one is `default`, if there is one.
pub(super) fn ask<T>(question: &str, default: Option<&str>) -> Result<T, Failure>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    loop {
        let text = line(question, default)?;
        match text.parse() {
            Ok(answer) => return Ok(answer),
            Err(error) => eprintln!("  {error}"),
        }
    }
}

/// One line of an answer, trimmed.
pub(super) fn line(question: &str, default: Option<&str>) -> Result<String, Failure> {
    match default {
        Some(default) => eprint!("{question} [{default}]: "),
        None => eprint!("{question}: "),
    }
    let _ = io::stderr().flush();
    let mut text = String::new();
    match io::stdin().lock().read_line(&mut text) {
        Ok(0) => Err(Problem::new("the questions were not answered")
            .cause("standard input ended")
            .next("run it again, or give everything by flags: keadm device new --help")
            .fail("no device was written", Exit::Aborted)),
        Ok(_) => Ok(match (text.trim(), default) {
            ("", Some(default)) => default.to_owned(),
            (text, _) => text.to_owned(),
        }),
        Err(error) => Err(Problem::new("the answer cannot be read")
            .cause(error)
            .next("give everything by flags: keadm device new --help")
            .fail("no device was written", Exit::Failed)),
    }
}
