//! The embedded DynamoDB: a real engine on SQLite, served over HTTP on loopback.

use std::{
    convert::Infallible,
    fmt, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    pin::pin,
    thread::{self, JoinHandle},
    time::Duration,
};

use dynoxide::{Database, DynoxideError, server::serve_with_shutdown};
use tokio::{runtime, sync::oneshot};

use crate::table;

/// How long the engine may take to finish the requests that it has begun. After that it ends with
/// them unanswered; what it had acknowledged is on disk.
const STOP_TIMEOUT: Duration = Duration::from_millis(250);

/// A running engine. It stops when it is dropped.
///
/// It has a thread and a runtime of its own: the database sits behind one lock, and a request that
/// waits for it must not hold up anything else.
pub struct Engine {
    address: SocketAddr,
    database: Database,
    stop: Option<oneshot::Sender<()>>,
    /// Ends with the thread, which holds the other side.
    running: oneshot::Receiver<Infallible>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts an engine that forgets everything when it stops.
    ///
    /// # Errors
    /// There is no free port.
    pub fn in_memory() -> Result<Self, EngineError> {
        Self::start(Database::memory().map_err(EngineError::Database)?)
    }

    /// Starts an engine that keeps everything in a file: what it acknowledged is there after a
    /// crash. Only one process may have the file open.
    ///
    /// # Errors
    /// The file can't be opened, or there is no free port.
    pub fn on_file(path: &Path) -> Result<Self, EngineError> {
        let path = path.to_str().ok_or_else(|| {
            let error = format!("the path {} is not UTF-8", path.display());
            EngineError::Machine(io::Error::new(io::ErrorKind::InvalidInput, error))
        })?;
        Self::start(Database::new(path).map_err(EngineError::Database)?)
    }

    fn start(database: Database) -> Result<Self, EngineError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(EngineError::Machine)?;
        listener
            .set_nonblocking(true)
            .map_err(EngineError::Machine)?;
        let address = listener.local_addr().map_err(EngineError::Machine)?;
        let (stop, stopping) = oneshot::channel();
        let (alive, running) = oneshot::channel();
        let served = database.clone();
        let thread = thread::Builder::new()
            .name("dynamodb".to_owned())
            .spawn(move || {
                let _alive = alive;
                serve(listener, served, stopping);
            })
            .map_err(EngineError::Machine)?;
        Ok(Self {
            address,
            database,
            stop: Some(stop),
            running,
            thread: Some(thread),
        })
    }

    /// The URL of the engine, for the SDK's endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until the engine has ended, though nobody stopped it. What failed is on standard error.
    pub async fn ended(&mut self) {
        let Err(_) = (&mut self.running).await;
    }

    /// The database itself, for what is too much for requests, such as filling it with a million
    /// items.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Makes the template's table unless there is one of this name, and tells whether it made it.
    ///
    /// # Errors
    /// The template does not declare one table that the engine can make.
    pub fn create_table_if_missing(
        &self,
        template: &str,
        table_name: &str,
    ) -> Result<bool, EngineError> {
        let tables = self
            .database
            .list_tables(dynoxide::actions::list_tables::ListTablesRequest::default())
            .map_err(EngineError::Database)?;
        if tables.table_names.iter().any(|name| name == table_name) {
            return Ok(false);
        }
        let request = table::create_request(template, table_name)
            .map_err(|error| EngineError::Template(error.to_string()))?;
        self.database
            .create_table(request)
            .map_err(|error| match error {
                DynoxideError::SqliteError(_) | DynoxideError::InternalServerError(_) => {
                    EngineError::Database(error)
                }
                error => EngineError::Template(error.to_string()),
            })?;
        Ok(true)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.address)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the thread is on standard error already.
            let _ = thread.join();
        }
    }
}

fn serve(listener: TcpListener, database: Database, stopping: oneshot::Receiver<()>) {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the threads of a runtime can be started");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)
            .expect("a listener that does not block can be served");
        let (finish, finishing) = oneshot::channel();
        let finishing = async {
            // A dropped sender means the same as a message.
            let _ = finishing.await;
        };
        let mut serving = pin!(serve_with_shutdown(listener, database, finishing));
        let mut is_stopped = false;
        let result = tokio::select! {
            result = &mut serving => result,
            _ = stopping => {
                is_stopped = true;
                let _ = finish.send(());
                // A client that has sent half a request would hold the engine up for ever.
                tokio::time::timeout(STOP_TIMEOUT, serving).await.unwrap_or(Ok(()))
            }
        };
        match result {
            Ok(()) if is_stopped => {}
            Ok(()) => eprintln!("The embedded DynamoDB ended by itself."),
            Err(error) => eprintln!("The embedded DynamoDB failed: {error}"),
        }
    });
    runtime.shutdown_timeout(STOP_TIMEOUT);
}

/// Why the engine did not start or did not make its table.
#[derive(Debug)]
pub enum EngineError {
    /// The file can't be used as its database.
    Database(DynoxideError),
    /// The template does not declare a table that it can make.
    Template(String),
    /// The machine does not give what it needs.
    Machine(io::Error),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => error.fmt(f),
            Self::Template(error) => write!(f, "template.yaml: {error}"),
            Self::Machine(error) => write!(f, "the embedded DynamoDB can't be started: {error}"),
        }
    }
}

impl std::error::Error for EngineError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_has_ended_is_told_of() {
        let mut engine = Engine::in_memory().unwrap();
        engine.stop.take().unwrap().send(()).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(60), engine.ended());
        ended.await.expect("it has ended");
        assert!(std::net::TcpStream::connect(engine.address).is_err());
    }
}
