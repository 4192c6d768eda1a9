use std::path::Path;

use tokio::process::Command;

use crate::problem::Problem;

/// Runs a program that the user named with `flag`, with our own input and output.
pub(crate) async fn run(program: &Path, flag: &str) -> Result<(), Problem> {
    let what = format!("the program given with {flag} failed: {}", program.display());
    match Command::new(program).status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Problem::new(what).cause(status).next("run it by hand to see why")),
        Err(error) => Err(Problem::new(what)
            .cause(error)
            .next(format!("it must be an executable file with a #! line: chmod +x {}", program.display()))),
    }
}
