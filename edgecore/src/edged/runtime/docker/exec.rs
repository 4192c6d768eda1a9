//! Commands inside running containers. The engine cannot end one, so it is ended by the kernel: runc gives each a session
//! of its own.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecResults};
use futures::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::shared::EXEC_OUTPUT;
use super::super::{ContainerId, RuntimeError};
use super::Docker;

const CALL: &str = "Exec";
/// The output ends a moment before the engine knows the exit code.
const SETTLE: Duration = Duration::from_millis(10);

impl Docker {
    pub(super) async fn run(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        limit: Duration,
    ) -> Result<(i32, String), RuntimeError> {
        let options = CreateExecOptions {
            cmd: Some(command),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let container = id.0.clone();
        let made = self
            .call(CALL, self.options.limit, |api| async move { api.create_exec(&container, options).await })
            .await?;
        let api = self.engine().await?.api;
        let mut output = Vec::new();
        let finished = async {
            if let StartExecResults::Attached { output: mut stream, input } =
                api.start_exec(&made.id, None).await?
            {
                while let Some(chunk) = stream.next().await {
                    keep(&mut output, &chunk?);
                }
                drop(input);
            }
            loop {
                let told = api.inspect_exec(&made.id).await?;
                if told.running != Some(true) {
                    return Ok::<i64, Error>(told.exit_code.unwrap_or(-1));
                }
                tokio::time::sleep(SETTLE).await;
            }
        };
        match tokio::time::timeout(limit, finished).await {
            Ok(Ok(code)) => {
                let text = String::from_utf8_lossy(&output).into_owned();
                Ok((i32::try_from(code).unwrap_or(-1), text))
            }
            Ok(Err(error)) => Err(self.fail(CALL, limit, error)),
            Err(_) => {
                let told = tokio::time::timeout(self.options.limit, api.inspect_exec(&made.id)).await;
                if let Ok(Ok(told)) = told
                    && told.running == Some(true)
                    && let Some(pid) = told.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1)
                {
                    end_session(pid);
                }
                let message = format!("the command timed out after {} s and was killed", limit.as_secs());
                Err(RuntimeError::failed(CALL, message))
            }
        }
    }
}

fn keep(output: &mut Vec<u8>, chunk: &LogOutput) {
    let bytes = chunk.as_ref();
    let room = EXEC_OUTPUT.saturating_sub(output.len());
    output.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// Kills a session's leader and everything in its session.
fn end_session(leader: i32) {
    let all = procfs::process::all_processes().into_iter().flatten().flatten();
    let members = all.filter_map(|process| process.stat().ok()).filter(|stat| stat.session == leader);
    let mut pids: Vec<i32> = members.map(|stat| stat.pid).collect();
    pids.push(leader);
    for pid in pids {
        // Gone by itself is as good.
        kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
    }
}
