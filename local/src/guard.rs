//! Child processes that end when the current process ends, even if the current process is killed.

use std::{
    ffi::OsStr,
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    process::{Child, ChildStdin, Command},
    time::timeout,
};

const SCRIPT: &str = include_str!("guard.sh");

/// How long to wait for a guarded process to stop. The script kills the process after 1 s, so this
/// time is slightly longer.
const STOP_TIMEOUT: Duration = Duration::from_millis(1200);

/// A child process that ends when this value is dropped, or when the current process ends in any way.
#[derive(Debug)]
pub struct Guarded {
    shell: Child,
    /// The script's standard input. When this input closes, even because the current process dies,
    /// the script ends the guarded process.
    lifeline: Option<ChildStdin>,
}

impl Guarded {
    /// A command for [`Self::start`]. The caller can add arguments and environment variables.
    pub fn command(program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "guard.sh"]).arg(program);
        command
    }

    /// Starts a command made by [`Self::command`].
    ///
    /// # Errors
    /// Fails if the shell `sh` can't be started.
    pub fn start(mut command: Command) -> io::Result<Self> {
        // The command has its own process group. So Ctrl-C in the terminal reaches only the current
        // process, which then stops its child processes itself.
        let mut shell = command.stdin(Stdio::piped()).process_group(0).spawn()?;
        let lifeline = shell.stdin.take();
        Ok(Self { shell, lifeline })
    }

    /// Waits for the process to end by itself. The script then sends SIGTERM to the other processes
    /// of the process group.
    ///
    /// # Errors
    /// Fails if the operating system does not report the process's status.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.shell.wait().await
    }

    /// Makes the script send SIGTERM to all processes of the process group and, a second later,
    /// SIGKILL to those that still run. Waits at most 1.2 seconds for the script to end.
    pub async fn stop(mut self) {
        self.lifeline.take();
        let _ = timeout(STOP_TIMEOUT, self.shell.wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    #[tokio::test]
    async fn child_processes_end_when_the_guarded_process_exits() {
        let mut command = Guarded::command("sh");
        command.args(["-c", "sleep 600 & exit 3"]);
        command.stdout(Stdio::piped());
        let mut guarded = Guarded::start(command).unwrap();
        let stdout = guarded.shell.stdout.take().unwrap();
        let mut lines = BufReader::new(stdout).lines();
        assert_eq!(guarded.ended().await.unwrap().code(), Some(3));
        // The output reaches its end only when every process that can write to it has ended.
        let end = timeout(Duration::from_secs(60), lines.next_line()).await;
        assert_eq!(end.expect("nothing is left").unwrap(), None);
    }
}
