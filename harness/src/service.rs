//! The service under test: the handlers of both functions, with a table of their own.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    config::{Credentials, Region, retry::RetryPartition},
};
use list_users::Lister;
use local::engine::Engine;
use shared::table::{self, Table};
use tokio::net::TcpSocket;

use crate::{Answer, Event, contract, wire::Proxy, workspace};

/// The name of the table in the tests.
pub const TABLE_NAME: &str = "users";
/// The access key ID that the tests' engines accept.
pub const ACCESS_KEY_ID: &str = "test";

/// The service under test. It calls the handlers as `shared::runtime` does, with an in-memory
/// engine.
#[derive(Debug)]
pub struct Service {
    engine: Engine,
    table: Table,
    lister: Lister,
}

impl Service {
    /// Starts a service whose pages are always current.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with_max_age(Duration::ZERO)
    }

    /// Starts a service that may return cached pages with an age of up to `max_age`.
    #[must_use]
    pub fn start_with_max_age(max_age: Duration) -> Self {
        let engine = engine();
        let table = connect(&engine.url());
        let lister = Lister::new(table.clone(), max_age);
        Self {
            engine,
            table,
            lister,
        }
    }

    /// The engine that holds the table.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The table, as [`connect`] returns it.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Starts a proxy that injects faults. The table and the lister reach the engine through it.
    pub async fn behind_faults(&self) -> (Proxy, Table, Lister) {
        let proxy = Proxy::start(&self.engine.url()).await;
        let table = connect(&proxy.url());
        let lister = Lister::new(table.clone(), Duration::ZERO);
        (proxy, table, lister)
    }

    /// Sends an event to `create-user`.
    pub async fn post(&self, event: Event) -> Answer {
        post(&self.table, event).await
    }

    /// Creates a user through `create-user`.
    pub async fn create(&self, username: &str) -> Answer {
        self.post(Event::create_user(username)).await
    }

    /// Sends an event to `list-users`.
    pub async fn get(&self, event: Event) -> Answer {
        get(&self.lister, event).await
    }

    /// Sends `list-users` an event with this query string.
    pub async fn list(&self, query: &str) -> Answer {
        self.get(Event::list(query)).await
    }
}

/// Calls the handler of `create-user` and checks the answer against the contract.
pub async fn post(table: &Table, event: Event) -> Answer {
    let answer = create_user::handle(table, event.into_request())
        .await
        .into();
    contract::check("post", &answer);
    answer
}

/// Calls the handler of `list-users` and checks the answer against the contract.
pub async fn get(lister: &Lister, event: Event) -> Answer {
    let answer = list_users::handle(lister, event.into_request())
        .await
        .into();
    contract::check("get", &answer);
    answer
}

/// Starts an in-memory engine with the table from `template.yaml`.
///
/// # Panics
/// Panics if the engine does not start.
#[must_use]
pub fn engine() -> Engine {
    let engine = Engine::in_memory(ACCESS_KEY_ID).expect("the engine starts");
    let template = workspace::read("template.yaml");
    engine
        .create_table_if_missing(&template, TABLE_NAME)
        .expect("the engine makes the table");
    engine
}

/// A socket that reserves a port but does not listen, and the port's URL. While the socket is open,
/// every connection to the URL is refused.
///
/// # Panics
/// Panics if there is no free port.
#[must_use]
pub fn unreachable() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    let any_port = (Ipv4Addr::LOCALHOST, 0).into();
    socket.bind(any_port).expect("a free port");
    let address = socket.local_addr().expect("a bound socket has an address");
    (socket, format!("http://{address}"))
}

/// The table at this URL. The table's client has the timeouts, retries and trusted certificates of
/// the functions' clients.
///
/// # Panics
/// Panics if `AWS_CA_BUNDLE` names a file that can't be read, has no certificate or has an invalid
/// certificate.
pub fn connect(url: &str) -> Table {
    // Each client gets its own retry budget. By default, all SDK clients of a process share one
    // budget, so the faults of one test would use up the budget of the other tests.
    static CLIENTS: AtomicUsize = AtomicUsize::new(0);

    let credentials = Credentials::new(ACCESS_KEY_ID, "test", None, None, "tests");
    let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
    let config = table::sdk_config()
        .expect("the configuration is valid")
        .endpoint_url(url)
        .region(Region::from_static("eu-central-1"))
        .credentials_provider(credentials)
        .retry_partition(RetryPartition::new(number.to_string()))
        .build();
    Table::new(Client::from_conf(config), TABLE_NAME.to_owned())
}
