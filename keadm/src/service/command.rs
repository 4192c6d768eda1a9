use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{Service, Status, Supervised, supervisor};
use crate::problem::{Exit, Failure, Problem};

/// Keeps programs running where there is no systemd; for `keadm` itself and for scripts of this project.
#[derive(Debug, Args)]
pub(crate) struct SuperviseArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Be the supervisor, in this process.
    Run {
        /// Names the pid file and the lock.
        #[arg(long)]
        name: String,
        /// Where the pid file and the state lie.
        #[arg(long)]
        run_dir: PathBuf,
        /// Where the program's output goes.
        #[arg(long)]
        log: PathBuf,
        /// Seconds between SIGTERM and SIGKILL.
        #[arg(long, default_value_t = 20)]
        grace: u64,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Start a program in the background, unless it runs already.
    Start {
        #[command(flatten)]
        place: Place,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// End a program and its supervisor.
    Stop {
        #[command(flatten)]
        place: Place,
    },
    /// Say whether a program runs; exit 0 when it does, 1 when not.
    Status {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// Names the pid file, the lock and the log.
    #[arg(long)]
    name: String,
    /// Where the pid file and the state lie.
    #[arg(long)]
    run_dir: PathBuf,
    /// Where the program's output goes.
    #[arg(long)]
    log_dir: PathBuf,
}

impl Place {
    fn supervised(&self) -> Supervised {
        Supervised::new(self.run_dir.clone(), self.log_dir.clone())
    }
}

impl SuperviseArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Run { name, run_dir, log, grace, command } => {
                let service = service(name, command);
                let failed = |error: std::io::Error| {
                    Problem::new(format!("cannot supervise {}", service.name))
                        .cause(error)
                        .next(format!("check that {} is writable", run_dir.display()))
                        .fail("the supervisor ended", Exit::Failed)
                };
                let orders = supervisor::Orders {
                    service: service.clone(),
                    run_dir: run_dir.clone(),
                    log,
                    grace: Duration::from_secs(grace),
                };
                supervisor::supervise(&orders).await.map_err(failed)
            }
            Action::Start { place, command } => {
                let service = service(place.name.clone(), command);
                place
                    .supervised()
                    .start(&service)
                    .await
                    .map_err(|problem| problem.fail("not started", Exit::Failed))
            }
            Action::Stop { place } => {
                let stopped = place.supervised().stop(&place.name).await;
                stopped.map(drop).map_err(|problem| problem.fail("not stopped", Exit::Failed))
            }
            Action::Status { place } => match place.supervised().status(&place.name) {
                Status::Running { pid } => {
                    println!("{} runs (pid {pid})", place.name);
                    Ok(())
                }
                Status::Restarting { reason } => Err(down(&place.name, &reason)),
                Status::Stopped => Err(down(&place.name, "nobody started it, or it gave up")),
            },
        }
    }
}

fn down(name: &str, reason: &str) -> Failure {
    Problem::new(format!("{name} does not run"))
        .cause(reason)
        .next("keadm supervise start …")
        .fail("down", Exit::Failed)
}

fn service(name: String, command: Vec<String>) -> Service {
    let mut words = command.into_iter();
    let program = words.next().unwrap_or_default().into();
    Service { name, program, arguments: words.collect() }
}
