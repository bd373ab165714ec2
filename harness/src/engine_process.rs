//! The embedded DynamoDB in its own process, so that a test can kill and restart it.

use std::{path::PathBuf, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::workspace::{built, target_profile};

/// The longest wait for the engine to start: generous, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// An engine process that keeps its table in a file. It ends when this value is dropped, or when
/// the test's process dies.
#[derive(Debug)]
pub struct EngineProcess {
    file: PathBuf,
    process: Child,
    url: String,
}

impl EngineProcess {
    /// Starts an engine that stores the table of `template.yaml` in this file.
    ///
    /// # Panics
    /// Panics if the engine does not start.
    pub async fn start(file: PathBuf) -> Self {
        let mut process = Command::new(built(&target_profile().join("engine")))
            .arg(&file)
            // The engine ends when this pipe closes.
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

    /// The engine's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills the engine with SIGKILL.
    ///
    /// # Panics
    /// Panics if the engine has already ended.
    pub async fn kill(&mut self) {
        let ended = self.process.try_wait().expect("the process has a state");
        assert_eq!(ended, None, "the engine ended by itself");
        self.process
            .kill()
            .await
            .expect("the process can be killed");
    }

    /// Starts a killed engine again, on the same file but at another URL.
    ///
    /// # Panics
    /// Panics if the engine does not start.
    pub async fn start_again(&mut self) {
        *self = Self::start(self.file.clone()).await;
    }
}
