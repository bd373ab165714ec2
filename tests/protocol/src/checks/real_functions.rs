//! Takes random walks through the model, and performs each step with the real create-user function
//! and the embedded engine.
//!
//! The test intercepts each write of the function. A later step of the walk decides what happens to
//! the write. After each step, the function's answer and the list of users must match the model.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::{
    Client,
    config::{
        Builder, Credentials, HttpClient, Region, RuntimeComponents, SharedHttpClient,
        http::HttpResponse,
        retry::{RetryConfig, RetryPartition},
        timeout::TimeoutConfig,
    },
    error::ProvideErrorMetadata,
    types::AttributeValue,
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::HttpRequest,
    result::ConnectorError,
};
use fastrand::Rng;
use harness::{Answer, Event, Service, service};
use protocol::{
    Action, Attempt, CLIENTS, Cell, Decision, Erasure, KEYS, Progress, Protocol, Run, State,
    USERNAMES,
};
use rustls::RootCertStore;
use shared::{
    connection,
    table::{self, Table},
};
use stateright::Model;

use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    task::JoinHandle,
};

const WALKS: usize = 150;
const STEPS: usize = 60;

#[tokio::test]
async fn the_real_function_answers_as_the_model_predicts_despite_lost_and_late_writes() {
    let mut erasing = Protocol::new(2);
    erasing.erasure = Some(Erasure::WaitThenDelete);
    let mut seen = BTreeSet::new();
    for model in [Protocol::new(CLIENTS), erasing] {
        let starts = model.init_states();
        let mut seed = tests::histories::seed();
        for _ in 0..WALKS {
            let mut rng = Rng::with_seed(seed);
            let start = rng.choice(&starts).expect("there are some");
            println!("HISTORY_SEED={seed}, {:?}", start.requests);
            World::new(&model, start).walk(&mut rng, &mut seen).await;
            seed = rng.u32(..).into();
        }
    }
    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    let all = [
        "Arrive: 201",
        "Arrive: 201, by an earlier write",
        "Arrive: 201, replayed",
        "Arrive: 409",
        "ArriveLate",
        "Crash",
        "DeleteLate",
        "Erase",
        "Forge: 503",
        "LoseAnswer: 503",
        "LoseAnswer: sent again",
        "Repeat",
        "Send",
        "TimeOut: 503",
        "TimeOut: sent again",
    ];
    assert_eq!(seen, all);
}

struct World<'a> {
    model: &'a Protocol,
    state: State,
    service: Service,
    config: Builder,
    functions: [[Function; 2]; CLIENTS],
}

#[derive(Default)]
struct Function {
    answer: Option<JoinHandle<Answer>>,
    writes: Option<UnboundedReceiver<Write>>,
    newest: Option<Write>,
    late: Vec<Write>,
    /// The id of the user that the function writes to the table.
    id: String,
}

impl<'a> World<'a> {
    fn new(model: &'a Protocol, state: &State) -> Self {
        let service = Service::start();
        let credentials = Credentials::new(service::ACCESS_KEY_ID, "test", None, None, "tests");
        let config = table::sdk_config()
            .expect("the configuration is valid")
            .endpoint_url(service.engine().url())
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(credentials)
            // The model decides when a write times out.
            .timeout_config(TimeoutConfig::disabled())
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(2)
                    .with_initial_backoff(std::time::Duration::from_millis(1)),
            );
        Self {
            model,
            state: *state,
            service,
            config,
            functions: Default::default(),
        }
    }

    async fn walk(mut self, rng: &mut Rng, seen: &mut BTreeSet<String>) {
        for _ in 0..STEPS {
            let mut actions = Vec::new();
            self.model.actions(&self.state, &mut actions);
            let steps = actions.into_iter().filter_map(|action| {
                let next = self.model.next_state(&self.state, action)?;
                Some((action, next))
            });
            let Some((action, next)) = rng.choice(steps.collect::<Vec<_>>()) else {
                break;
            };
            println!("{action:?}");
            seen.insert(self.step(action, &next).await);
            self.state = next;
            self.assert_listed().await;
        }
        for function in self.functions.iter().flatten() {
            if let Some(answer) = &function.answer {
                answer.abort();
            }
        }
    }

    /// Performs an action with the real function, and describes what happened.
    async fn step(&mut self, action: Action, next: &State) -> String {
        match action {
            Action::Send(client) => self.send(Attempt { client, number: 0 }, next).await,
            Action::Repeat { client, .. } => self.send(Attempt { client, number: 1 }, next).await,
            Action::Arrive(attempt) => {
                let (decision, user) = self.model.answer(&self.state, attempt).expect("one");
                let write = self.function(attempt).newest.take().expect("a write");
                let response = write.arrive().await;
                write.answer(Ok(response));
                let answer = self.answer(attempt).await;
                let (status, replayed) = match decision {
                    Decision::Created => (201, None),
                    Decision::Replayed => (201, Some("true")),
                    Decision::Taken => (409, None),
                };
                assert_eq!(answer.status, status, "{answer:?}");
                assert_eq!(answer.header("idempotent-replayed"), replayed);
                if status == 201 {
                    assert_eq!(answer.json()["id"], self.function(user.attempt).id);
                }
                let was_there = self.state.table.as_flattened().contains(&Cell::User(user));
                match decision {
                    Decision::Created if was_there => "Arrive: 201, by an earlier write",
                    Decision::Created => "Arrive: 201",
                    Decision::Replayed => "Arrive: 201, replayed",
                    Decision::Taken => "Arrive: 409",
                }
                .to_owned()
            }
            Action::LoseAnswer(attempt) => {
                let write = self.function(attempt).newest.take().expect("a write");
                write.arrive().await;
                write.answer(Err(ConnectorError::io("the connection ended".into())));
                format!("LoseAnswer: {}", self.goes_on(attempt, next).await)
            }
            Action::TimeOut(attempt) => {
                let write = self.function(attempt).newest.take().expect("a write");
                let late = write.copy();
                write.answer(Err(ConnectorError::timeout("no answer in time".into())));
                self.function(attempt).late.push(late);
                format!("TimeOut: {}", self.goes_on(attempt, next).await)
            }
            Action::Forge(attempt) => {
                let write = self.function(attempt).newest.take().expect("a write");
                let status = 200.try_into().expect("a status");
                write.answer(Ok(HttpResponse::new(status, "".into())));
                format!("Forge: {}", self.goes_on(attempt, next).await)
            }
            Action::ArriveLate(attempt) => {
                let late = self.function(attempt).late.remove(0);
                late.arrive().await;
                "ArriveLate".to_owned()
            }
            Action::Crash(attempt) => {
                let function = self.function(attempt);
                function.answer.take().expect("the function runs").abort();
                let newest = function.newest.take();
                function.late.extend(newest);
                "Crash".to_owned()
            }
            Action::Erase => {
                match self.state.progress {
                    Progress::Found(_) => self.end_earlier_calls(),
                    Progress::Waited(_) => self.delete().await,
                    _ => {}
                }
                "Erase".to_owned()
            }
            Action::DeleteLate => {
                self.delete().await;
                "DeleteLate".to_owned()
            }
            Action::Replicate(_) => panic!("a single table is not replicated"),
        }
    }

    fn function(&mut self, attempt: Attempt) -> &mut Function {
        &mut self.functions[attempt.client][attempt.number]
    }

    /// Sends a request, and waits for the function's first write.
    async fn send(&mut self, attempt: Attempt, next: &State) -> String {
        let (send, writes) = unbounded_channel();
        let client = SharedHttpClient::new(connection::Connection::new(RootCertStore::empty()));
        let number = 2 * attempt.client + attempt.number;
        let config = self
            .config
            .clone()
            .http_client(Wire { client, send })
            .retry_partition(RetryPartition::new(format!("{number}")))
            .build();
        let table = Table::new(Client::from_conf(config), service::TABLE_NAME.to_owned());
        let request = next.requests[attempt.client];
        let mut event = Event::create_user(USERNAMES[request.username]);
        if let Some(key) = next.key(attempt) {
            let (caller, key) = KEYS[key];
            event = event.by(caller).with_header("idempotency-key", key);
        }
        let function = self.function(attempt);
        function.answer = Some(tokio::spawn(
            async move { service::post(&table, event).await },
        ));
        function.writes = Some(writes);
        function.next_write().await;
        let body = function.newest.as_ref().expect("a write").request.body();
        let body = str::from_utf8(body.bytes().expect("bytes")).expect("UTF-8");
        let (_, id) = body.split_once(r#""id":{"S":""#).expect("an id");
        let (id, _) = id.split_once('"').expect("its end");
        id.clone_into(&mut function.id);
        match attempt.number {
            0 => "Send".to_owned(),
            _ => "Repeat".to_owned(),
        }
    }

    /// Waits for the function's next write, or for its 503 if the model expects no further write.
    async fn goes_on(&mut self, attempt: Attempt, next: &State) -> &'static str {
        if matches!(
            next.runs[attempt.client][attempt.number],
            Run::Waiting { .. }
        ) {
            self.function(attempt).next_write().await;
            return "sent again";
        }
        let answer = self.answer(attempt).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        "503"
    }

    async fn answer(&mut self, attempt: Attempt) -> Answer {
        let answer = self
            .function(attempt)
            .answer
            .take()
            .expect("the function runs");
        answer.await.expect("the function does not panic")
    }

    /// Ends every call that began before the erasure, and discards the writes of these calls.
    fn end_earlier_calls(&mut self) {
        for (number, function) in self.functions.as_flattened_mut().iter_mut().enumerate() {
            if self.state.begun >> number & 1 == 1 {
                if let Some(answer) = function.answer.take() {
                    answer.abort();
                }
                function.newest = None;
                function.late.clear();
            }
        }
    }

    async fn delete(&self) {
        let user = self.state.progress.user().expect("the user was looked up");
        let Attempt { client, number } = user.attempt;
        let stored = self.model.stored(&self.state, user);
        let table = self.service.table();
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let deleted = table
            .client()
            .delete_item()
            .table_name(table.name())
            .key("kind", text("user"))
            .key("username_key", text(stored.user.username.key()))
            .condition_expression("id = :id")
            .expression_attribute_values(":id", text(&self.functions[client][number].id))
            .send()
            .await;
        if let Err(error) = deleted {
            let code = error.as_service_error().and_then(|it| it.code());
            assert_eq!(code, Some("ConditionalCheckFailedException"));
        }
    }

    async fn assert_listed(&self) {
        let mut expected = BTreeMap::new();
        for cell in self.state.table.as_flattened() {
            if let Cell::User(item) = cell {
                let username = self.model.stored(&self.state, *item).user.username;
                let Attempt { client, number } = item.attempt;
                let id = &self.functions[client][number].id;
                let user = (username.as_str().to_owned(), id.clone());
                expected.insert(username.key().to_owned(), user);
            }
        }
        let listed = self.service.list("").await.json();
        let listed = listed.as_array().expect("a list").iter();
        let listed = listed.map(|user| {
            let text = |name: &str| user[name].as_str().expect("a text").to_owned();
            (text("username"), text("id"))
        });
        assert!(
            expected.values().cloned().eq(listed.clone()),
            "the model has {expected:?}, but the list shows {:?}",
            listed.collect::<Vec<_>>()
        );
    }
}

impl Function {
    async fn next_write(&mut self) {
        let writes = self.writes.as_mut().expect("the function runs");
        self.newest = Some(writes.recv().await.expect("a write"));
    }
}

/// A write on its way to the table.
struct Write {
    request: HttpRequest,
    engine: SharedHttpConnector,
    answer: Option<oneshot::Sender<Result<HttpResponse, ConnectorError>>>,
}

impl Write {
    async fn arrive(&self) -> HttpResponse {
        let request = self.request.try_clone().expect("the body is in memory");
        self.engine.call(request).await.expect("the engine answers")
    }

    fn answer(self, answer: Result<HttpResponse, ConnectorError>) {
        let sender = self.answer.expect("the function waits for it");
        sender.send(answer).expect("the function runs");
    }

    /// Copies the write. The function does not wait for an answer to the copy.
    fn copy(&self) -> Self {
        Self {
            request: self.request.try_clone().expect("the body is in memory"),
            engine: self.engine.clone(),
            answer: None,
        }
    }
}

/// An HTTP client for the SDK. It passes each write to the test instead of sending it.
#[derive(Clone, Debug)]
struct Wire {
    client: SharedHttpClient,
    send: UnboundedSender<Write>,
}

impl HttpClient for Wire {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connection {
            engine: self.client.http_connector(settings, components),
            send: self.send.clone(),
        })
    }
}

#[derive(Clone, Debug)]
struct Connection {
    engine: SharedHttpConnector,
    send: UnboundedSender<Write>,
}

impl HttpConnector for Connection {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (answer, answered) = oneshot::channel();
        let write = Write {
            request,
            engine: self.engine.clone(),
            answer: Some(answer),
        };
        self.send.send(write).ok();
        HttpConnectorFuture::new(async move {
            let gone = |_| Err(ConnectorError::io("the test dropped the write".into()));
            answered.await.unwrap_or_else(gone)
        })
    }
}
