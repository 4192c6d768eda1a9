use std::fmt;

/// The exit codes of every command; part of the interface, see `keadm --help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command was understood and begun, but could not be completed.
    Failed = 1,
    /// The command line does not make sense.
    Usage = 2,
    /// A check found problems; nothing was changed.
    Preflight = 3,
    /// Everything was set up, but it did not become ready in time.
    NotReady = 4,
    /// The user answered no.
    Aborted = 5,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// One thing that is wrong: what, why, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    what: String,
    cause: String,
    next: String,
}

impl Problem {
    /// What is wrong. A problem is only complete with [`Problem::cause`] and [`Problem::next`].
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), cause: String::new(), next: String::new() }
    }

    /// Why it is so, in the words of whoever knows.
    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.cause = cause.to_string();
        self
    }

    /// What to do next; the exact command where there is one.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }

    /// A failure that consists of this problem.
    pub fn fail(self, headline: impl Into<String>, exit: Exit) -> Failure {
        Failure { headline: headline.into(), problems: vec![self], exit }
    }

    /// This problem below a word that says how bad it is.
    pub(crate) fn below(&self, word: &str) -> String {
        struct Below<'a>(&'a Problem, &'a str);
        impl fmt::Display for Below<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.write(f, self.1)
            }
        }
        Below(self, word).to_string()
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, lead: &str) -> fmt::Result {
        let indent = " ".repeat(lead.chars().count());
        writeln!(f, "{lead}{}", self.what)?;
        for (label, text) in [("cause: ", &self.cause), ("next:  ", &self.next)] {
            if !text.is_empty() {
                let hang = format!("\n{indent}       ");
                writeln!(f, "{indent}{label}{}", text.trim_end().replace('\n', &hang))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "")
    }
}

/// Why a command stopped: one headline and every problem that was found.
#[derive(Clone, Debug)]
pub struct Failure {
    headline: String,
    problems: Vec<Problem>,
    exit: Exit,
}

impl Failure {
    /// A failure for everything in `problems`.
    pub fn new(headline: impl Into<String>, problems: Vec<Problem>, exit: Exit) -> Self {
        Self { headline: headline.into(), problems, exit }
    }

    /// The code to exit with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// `Ok` when nothing was found.
    ///
    /// # Errors
    /// A failure of kind [`Exit::Preflight`] that lists all `problems`.
    pub(crate) fn preflight(headline: &str, problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        let count = match problems.len() {
            1 => "1 problem".to_owned(),
            n => format!("{n} problems"),
        };
        Err(Self::new(format!("{headline}: {count}, nothing was changed"), problems, Exit::Preflight))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.headline)?;
        let several = self.problems.len() > 1;
        for (number, problem) in self.problems.iter().enumerate() {
            let lead = if several { format!("  {}. ", number + 1) } else { "  ".to_owned() };
            problem.write(f, &lead)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// An I/O error on a path, as a problem with the next step that usually helps.
pub(crate) fn file_problem(action: &str, path: &std::path::Path, error: &std::io::Error) -> Problem {
    let next = match error.kind() {
        std::io::ErrorKind::PermissionDenied => "run the command as root".to_owned(),
        std::io::ErrorKind::StorageFull => "free some disk space, then run the command again".to_owned(),
        std::io::ErrorKind::ReadOnlyFilesystem => "remount the file system writable".to_owned(),
        _ => format!("look at it with: ls -ld {}", path.display()),
    };
    Problem::new(format!("cannot {action} {}", path.display())).cause(error).next(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_lists_every_problem_with_its_cause_and_the_next_step() {
        let problems = vec![
            Problem::new("port 1883 is in use").cause("mosquitto (pid 7) listens there").next("stop it"),
            Problem::new("the token has expired")
                .cause("it was valid until\nyesterday")
                .next("keadm gettoken"),
        ];
        let shown = Failure::preflight("this host cannot join yet", problems).unwrap_err().to_string();
        assert_eq!(
            shown,
            "error: this host cannot join yet: 2 problems, nothing was changed\n  \
             1. port 1883 is in use\n     cause: mosquitto (pid 7) listens there\n     next:  stop it\n  \
             2. the token has expired\n     cause: it was valid until\n            yesterday\n     next:  keadm gettoken\n"
        );
    }

    #[test]
    fn no_problem_is_no_failure() {
        assert!(Failure::preflight("x", Vec::new()).is_ok());
    }
}
