//! The embedded DynamoDB in a process of its own, to be killed and started again.

use std::{path::PathBuf, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::workspace::{built, target_profile};

/// How long the engine may take to start: generous, as a machine may be busy, but bounded.
const PATIENCE: Duration = Duration::from_secs(30);

/// An engine that keeps its table in a file. It ends when this is dropped, and when the test's own
/// process ends, however that ends.
#[derive(Debug)]
pub struct EngineProcess {
    file: PathBuf,
    process: Child,
    url: String,
}

impl EngineProcess {
    /// Starts an engine on a file, with the template's table.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(file: PathBuf) -> Self {
        let mut process = Command::new(built(&target_profile().join("engine")))
            .arg(&file)
            // The engine lives as long as this pipe.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the engine can be started");
        let stdout = process.stdout.as_mut().expect("the output is piped");
        let mut url = String::new();
        let mut lines = BufReader::new(stdout);
        let read = tokio::time::timeout(PATIENCE, lines.read_line(&mut url)).await;
        read.expect("the engine gets ready")
            .expect("the output is UTF-8");
        assert!(url.ends_with('\n'), "the engine ended: {url:?}");
        Self {
            file,
            process,
            url: url.trim_end().to_owned(),
        }
    }

    /// The URL at which the engine answers.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills the engine, whatever it is at, with SIGKILL.
    ///
    /// # Panics
    /// It has ended before.
    pub async fn kill(&mut self) {
        let ended = self.process.try_wait().expect("the process has a state");
        assert_eq!(ended, None, "the engine ended by itself");
        self.process
            .kill()
            .await
            .expect("the process can be killed");
    }

    /// Starts an engine on the same file, after it was killed, at another URL.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start_again(&mut self) {
        *self = Self::start(self.file.clone()).await;
    }
}
