//! The embedded DynamoDB: the engine dynoxide, which stores data in SQLite, served over HTTP on a
//! loopback address.

use std::{
    convert::Infallible,
    fmt,
    future::IntoFuture,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE, HOST},
    },
    response::{IntoResponse, Response},
};
use dynoxide::{Database, DynoxideError};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{
    runtime,
    sync::{Notify, oneshot},
};

use crate::{loopback, template};

/// The largest request that DynamoDB accepts, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

const TARGET_PREFIX: &str = "DynamoDB_20120810.";

/// The header by which the functions recognize that a response comes from DynamoDB.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// When the engine stops, it waits at most this long for unfinished requests, and after that at
/// most this long for its threads. A request that takes longer gets no response. Stopping loses no
/// acknowledged write, because the engine stores a write before it responds.
const STOP_TIMEOUT: Duration = Duration::from_millis(250);

/// A running engine, which stops when this value is dropped.
///
/// A request that waits for the database's lock blocks a thread. So the engine has its own thread
/// and runtime, and the request does not block other tasks of the program.
pub struct Engine {
    address: SocketAddr,
    database: Database,
    failed: Arc<Notify>,
    stop: Option<oneshot::Sender<()>>,
    /// The engine's thread holds the sender, so this channel closes when the thread ends.
    running: oneshot::Receiver<Infallible>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts an engine that keeps its data only in memory. It rejects requests without this access
    /// key ID.
    ///
    /// # Errors
    /// Fails if there is no free port.
    pub fn in_memory(access_key_id: &str) -> Result<Self, EngineError> {
        let database = Database::memory().map_err(EngineError::Database)?;
        Self::start(database, access_key_id)
    }

    /// Starts an engine that keeps its data in a file. Acknowledged writes survive a crash. Only
    /// one process may have the file open. The engine rejects requests without this access key ID.
    ///
    /// # Errors
    /// Fails if the file can't be opened, or there is no free port.
    pub fn on_file(path: &Path, access_key_id: &str) -> Result<Self, EngineError> {
        let path = path.to_str().ok_or_else(|| {
            let error = format!("the path {} is not UTF-8", path.display());
            EngineError::Machine(io::Error::new(io::ErrorKind::InvalidInput, error))
        })?;
        let database = Database::new(path).map_err(EngineError::Database)?;
        Self::start(database, access_key_id)
    }

    fn start(database: Database, access_key_id: &str) -> Result<Self, EngineError> {
        let listener = loopback::listen().map_err(EngineError::Machine)?;
        listener
            .set_nonblocking(true)
            .map_err(EngineError::Machine)?;
        let address = listener.local_addr().map_err(EngineError::Machine)?;
        let (stop, stopping) = oneshot::channel();
        let (alive, running) = oneshot::channel();
        let failed = Arc::new(Notify::new());
        let api = Api {
            database: database.clone(),
            access_key_id: access_key_id.to_owned(),
            failed: Arc::clone(&failed),
            answers: AtomicU64::new(0),
        };
        let thread = thread::Builder::new()
            .name("dynamodb".to_owned())
            .spawn(move || {
                let _alive = alive;
                serve(listener, api, stopping);
            })
            .map_err(EngineError::Machine)?;
        Ok(Self {
            address,
            database,
            failed,
            stop: Some(stop),
            running,
            thread: Some(thread),
        })
    }

    /// The engine's URL, to set as the SDK's endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The signal that a request has failed for an internal reason, such as a full disk.
    #[must_use]
    pub fn failed(&self) -> Arc<Notify> {
        Arc::clone(&self.failed)
    }

    /// Waits until the engine ends by itself. The engine prints the cause to standard error before
    /// it ends.
    pub async fn ended(&mut self) {
        let Err(_) = (&mut self.running).await;
    }

    /// The database itself, for work that would be slow over HTTP, such as inserting a million
    /// items.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Creates the template's table unless a table with this name exists. Returns whether the table
    /// was created.
    ///
    /// # Errors
    /// Fails if the template does not declare exactly one table, the engine does not support that table, or the
    /// database fails.
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
        let request = template::create_table_request(template, table_name)
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
            // Ignores a panic of the thread, because the panic's message is already on standard error.
            let _ = thread.join();
        }
    }
}

/// The state of the engine's HTTP API. The engine does not use the HTTP server of dynoxide, because
/// that server accepts any credentials.
struct Api {
    database: Database,
    access_key_id: String,
    failed: Arc<Notify>,
    answers: AtomicU64,
}

async fn answer(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if !api.admits(&parts.headers) {
        return api.refuse(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        );
    }
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return api.refuse("SerializationException", "The request can't be read.");
    };
    let target = parts.headers.get("x-amz-target");
    let target = target.and_then(|target| target.to_str().ok());
    let operation = target.and_then(|target| target.strip_prefix(TARGET_PREFIX));
    let Some(result) = api.run(operation.unwrap_or_default(), &body) else {
        return api.refuse(
            "UnknownOperationException",
            "The local run does not support this operation; local/src/engine.rs lists the supported ones.",
        );
    };
    match result {
        Ok(output) => api.response(StatusCode::OK, output),
        Err(error) => {
            let status = StatusCode::from_u16(error.status_code());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            if status.is_server_error() {
                api.failed.notify_one();
            }
            api.response(status, error.to_json())
        }
    }
}

impl Api {
    /// Whether a request carries the engine's access key ID and has an IP address in its `Host`
    /// header. If a web page reaches the engine by DNS rebinding, this header has the page's host
    /// name instead.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let text = |name| {
            headers
                .get(name)
                .and_then(|it: &HeaderValue| it.to_str().ok())
        };
        let host = text(HOST).unwrap_or_default();
        let is_address = host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok();
        let credential = text(AUTHORIZATION)
            .and_then(|it| it.strip_prefix("AWS4-HMAC-SHA256 Credential="))
            .and_then(|it| it.split('/').next());
        is_address && credential == Some(&self.access_key_id)
    }

    fn run(&self, operation: &str, input: &[u8]) -> Option<Result<String, DynoxideError>> {
        let database = &self.database;
        Some(match operation {
            "BatchGetItem" => run(input, |it| database.batch_get_item(it)),
            "BatchWriteItem" => run(input, |it| database.batch_write_item(it)),
            "DeleteItem" => run(input, |it| database.delete_item(it)),
            "DescribeTable" => run(input, |it| database.describe_table(it)),
            "GetItem" => run(input, |it| database.get_item(it)),
            "PutItem" => run(input, |it| database.put_item(it)),
            "Query" => run(input, |it| database.query(it)),
            "Scan" => run(input, |it| database.scan(it)),
            "TransactGetItems" => run(input, |it| database.transact_get_items(it)),
            "TransactWriteItems" => run(input, |it| database.transact_write_items(it)),
            "UpdateItem" => run(input, |it| database.update_item(it)),
            _ => return None,
        })
    }

    /// Builds an error response in DynamoDB's format.
    fn refuse(&self, error: &str, message: &str) -> Response {
        let error = format!("com.amazon.coral.service#{error}");
        let body = json!({ "__type": error, "message": message });
        self.response(StatusCode::BAD_REQUEST, body.to_string())
    }

    fn response(&self, status: StatusCode, body: String) -> Response {
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let headers = [
            (CONTENT_TYPE, "application/x-amz-json-1.0".to_owned()),
            (REQUEST_ID, format!("{number:052}")),
        ];
        (status, headers, body).into_response()
    }
}

fn run<I: DeserializeOwned, O: Serialize>(
    input: &[u8],
    operation: impl FnOnce(I) -> Result<O, DynoxideError>,
) -> Result<String, DynoxideError> {
    let input = serde_json::from_slice(input);
    let input = input.map_err(|error| DynoxideError::ValidationException(error.to_string()))?;
    let output = serde_json::to_string(&operation(input)?);
    output.map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}

fn serve(listener: TcpListener, api: Api, stopping: oneshot::Receiver<()>) {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the threads of a runtime can be started");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)
            .expect("tokio accepts a listener that does not block");
        let (finish, finishing) = oneshot::channel();
        let finishing = async {
            // The server stops when `finish` sends a message or is dropped.
            let _ = finishing.await;
        };
        let routes = Router::new().fallback(answer).with_state(Arc::new(api));
        let serving = axum::serve(listener, routes).with_graceful_shutdown(finishing);
        let mut serving = pin!(serving.into_future());
        let mut is_stopped = false;
        let result = tokio::select! {
            result = &mut serving => result,
            _ = stopping => {
                is_stopped = true;
                let _ = finish.send(());
                // A client may have sent only half a request. Without the timeout, the server would
                // wait for the other half forever.
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

/// Why the engine did not start or did not create its table.
#[derive(Debug)]
pub enum EngineError {
    /// The engine's database can't be opened, read or changed.
    Database(DynoxideError),
    /// The template does not declare a table that the engine can create.
    Template(String),
    /// The file's path is not UTF-8, no port is free, or no thread can be started.
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
    use serde_json::Value;

    use super::*;
    use crate::http;

    const KEY: &str = "this-run";

    #[tokio::test]
    async fn a_stopped_engine_reports_its_end_and_closes_its_port() {
        let mut engine = Engine::in_memory(KEY).unwrap();
        engine.stop.take().unwrap().send(()).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(60), engine.ended());
        ended.await.expect("it has ended");
        assert!(std::net::TcpStream::connect(engine.address).is_err());
    }

    fn ask(
        engine: &Engine,
        operation: &str,
        input: &Value,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        let mut request = http::client(Duration::from_secs(60)).post(engine.url());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("x-amz-target", format!("DynamoDB_20120810.{operation}"));
        let mut response = request.send(input.to_string()).unwrap();
        assert!(response.headers().contains_key(REQUEST_ID));
        let media_type = &response.headers()[CONTENT_TYPE];
        assert_eq!(media_type, "application/x-amz-json-1.0");
        let body = response.body_mut().read_to_string().unwrap();
        let body = serde_json::from_str(&body).unwrap();
        (response.status().as_u16(), body)
    }

    fn signed(access_key_id: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential={access_key_id}/20261127/local/dynamodb/aws4_request, \
             SignedHeaders=host, Signature=00"
        )
    }

    #[test]
    fn a_request_with_wrong_credentials_or_a_wrong_host_cannot_reach_the_data() {
        let engine = Engine::in_memory(KEY).unwrap();
        let template = include_str!("../../template.yaml");
        engine.create_table_if_missing(template, "users").unwrap();
        let item = json!({ "kind": { "S": "user" }, "username_key": { "S": "ada" } });
        let put = json!({ "TableName": "users", "Item": item });
        let scan = json!({ "TableName": "users", "Select": "COUNT" });
        let refused = json!({
            "__type": "com.amazon.coral.service#UnrecognizedClientException",
            "message": "The security token included in the request is invalid.",
        });

        let own = signed(KEY);
        let own = ("authorization", &*own);
        let port = engine.address.port();
        let localhost = format!("localhost:{port}");
        let rebound = format!("rebound.example:{port}");
        let others = ["", "local", "test", &KEY[1..], &KEY.to_uppercase()].map(signed);
        let longer = signed(&format!("{KEY}0"));
        let mut cases = vec![
            vec![],
            vec![("authorization", "")],
            vec![("authorization", KEY)],
            vec![("authorization", "Bearer this-run")],
            vec![("authorization", &longer)],
            vec![own, ("host", &localhost)],
            vec![own, ("host", &rebound)],
            vec![own, ("host", "rebound.example")],
            vec![own, ("host", "127.0.0.1.rebound.example")],
        ];
        cases.extend(others.iter().map(|it| vec![("authorization", &**it)]));
        for headers in &cases {
            for (operation, input) in [("PutItem", &put), ("Scan", &scan), ("Nothing", &scan)] {
                let answer = ask(&engine, operation, input, headers);
                assert_eq!(answer, (400, refused.clone()), "{operation}: {headers:?}");
            }
        }

        let counted = |count| (200, json!({ "Count": count, "ScannedCount": count }));
        assert_eq!(ask(&engine, "Scan", &scan, &[own]), counted(0));
        assert_eq!(ask(&engine, "PutItem", &put, &[own]), (200, json!({})));
        assert_eq!(ask(&engine, "Scan", &scan, &[own]), counted(1));
    }

    #[test]
    fn an_invalid_request_gets_the_error_that_dynamodb_would_send() {
        let engine = Engine::in_memory(KEY).unwrap();
        let own = signed(KEY);
        let own = [("authorization", &*own)];
        let input = json!({ "TableName": "users" });
        for (operation, input, error) in [
            (
                "DeleteTable",
                &input,
                "com.amazon.coral.service#UnknownOperationException",
            ),
            (
                "",
                &input,
                "com.amazon.coral.service#UnknownOperationException",
            ),
            (
                "PutItem",
                &json!([]),
                "com.amazon.coral.validate#ValidationException",
            ),
            (
                "Scan",
                &input,
                "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException",
            ),
        ] {
            let (status, body) = ask(&engine, operation, input, &own);
            assert_eq!(status, 400, "{operation}: {body}");
            assert_eq!(body["__type"], error, "{operation}: {body}");
        }
    }
}
