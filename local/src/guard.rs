//! Processes that never outlive this one, however it ends.

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

/// The shell script that stands between this process and the guarded one.
const SCRIPT: &str = include_str!("guard.sh");

/// How long a guarded process is waited for after it was told to end: a little longer than the script
/// gives it.
const STOP_TIMEOUT: Duration = Duration::from_millis(1200);

/// A process that ends when this value is dropped, or when this process ends in any way.
#[derive(Debug)]
pub struct Guarded {
    shell: Child,
    /// The script ends its command when this is closed; the operating system closes it at the
    /// latest.
    lifeline: Option<ChildStdin>,
}

impl Guarded {
    /// A command that [`Self::start`] starts; add arguments and environment as to any other.
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
        // A Ctrl-C at the terminal must reach this process alone, which then ends the others in
        // their order.
        let mut shell = command.stdin(Stdio::piped()).process_group(0).spawn()?;
        let lifeline = shell.stdin.take();
        Ok(Self { shell, lifeline })
    }

    /// Waits for the process to end by itself. What it leaves behind in its process group is told to
    /// end then.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.shell.wait().await
    }

    /// Ends the process and its process group, and waits until they are gone. What has not ended
    /// after a second is killed.
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
        // The output ends with the last process that could write to it.
        let end = timeout(Duration::from_secs(60), lines.next_line()).await;
        assert_eq!(end.expect("nothing is left").unwrap(), None);
    }
}
