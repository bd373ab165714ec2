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

/// The shell script that runs between this process and the guarded one.
const SCRIPT: &str = include_str!("guard.sh");

/// How long to wait for a guarded process to stop: slightly longer than the script waits before it
/// kills the process.
const STOP_TIMEOUT: Duration = Duration::from_millis(1200);

/// A child process that ends when this value is dropped, or when the current process ends in any way.
#[derive(Debug)]
pub struct Guarded {
    shell: Child,
    /// The script's standard input. When it closes, the script ends its command. The operating system
    /// closes it if the current process dies.
    lifeline: Option<ChildStdin>,
}

impl Guarded {
    /// A command for [`Self::start`]. Add arguments and environment as to any other command.
    pub fn command(program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "guard.sh"]).arg(program);
        command
    }

    /// Starts a command made by [`Self::command`].
    ///
    /// # Errors
    /// There is no shell.
    pub fn start(mut command: Command) -> io::Result<Self> {
        // The command has its own process group, so Ctrl-C in the terminal does not reach it. Only the
        // current process gets Ctrl-C, and then ends its children in order.
        let mut shell = command.stdin(Stdio::piped()).process_group(0).spawn()?;
        let lifeline = shell.stdin.take();
        Ok(Self { shell, lifeline })
    }

    /// Waits for the process to end by itself. The script then asks what is left in the process group
    /// to end.
    ///
    /// # Errors
    /// The operating system does not report the process's status.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.shell.wait().await
    }

    /// Ends the process and its process group, and waits until they are gone. After a second, the
    /// script kills what is left.
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
    async fn what_a_process_leaves_behind_ends_with_it() {
        let mut command = Guarded::command("sh");
        command.args(["-c", "sleep 600 & exit 3"]);
        command.stdout(Stdio::piped());
        let mut guarded = Guarded::start(command).unwrap();
        let stdout = guarded.shell.stdout.take().unwrap();
        let mut lines = BufReader::new(stdout).lines();
        assert_eq!(guarded.ended().await.unwrap().code(), Some(3));
        // The output ends when the last process that can write to it ends.
        let end = timeout(Duration::from_secs(60), lines.next_line()).await;
        assert_eq!(end.expect("nothing is left").unwrap(), None);
    }
}
