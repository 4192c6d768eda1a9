use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm completion bash > /etc/bash_completion.d/keadm
  keadm completion zsh > \"${fpath[1]}/_keadm\"
  keadm completion fish > ~/.config/fish/completions/keadm.fish")]
pub(crate) struct CompletionArgs {
    /// The shell.
    shell: Shell,
}

impl CompletionArgs {
    pub(crate) fn run(&self) {
        clap_complete::generate(self.shell, &mut crate::Cli::command(), "keadm", &mut std::io::stdout());
    }
}
