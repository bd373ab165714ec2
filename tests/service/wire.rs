//! Tests of faults on the TLS connection between the real binaries and the table. Here, every TLS
//! handshake succeeds. `tls.rs` tests failed handshakes, and `faults.rs` tests the handlers,
//! without binaries and TLS.

use std::{cmp::min, fmt, iter, sync::Arc, time::Duration};

use harness::{
    Answer, Event, Service, contract,
    runtime_api::Sandbox,
    tls::Authority,
    wire::{Break, Proxy, TableRequest, WireFault},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::tls::{Front, trusted};

/// The SDK's maximum number of attempts for one request.
const ATTEMPTS: usize = 3;
/// The functions' timeout in `template.yaml`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How a function reacts to a fault.
#[derive(Clone, Copy, Debug)]
enum Policy {
    /// Succeeds without a retry.
    Ignore,
    /// Waits for the delayed answer.
    Wait,
    Retry,
    /// Answers 503 after one attempt. The function does not retry, but the client may.
    GiveUp,
}

use Policy::{GiveUp, Ignore, Retry, Wait};

struct Case {
    fault: WireFault,
    policy: Policy,
    /// The fault hits this many requests of the call, beginning with the first.
    times: usize,
}

impl Case {
    /// The number of requests that the function sends in this call.
    fn requests(&self) -> usize {
        match self.policy {
            Ignore | Wait | GiveUp => 1,
            Retry => min(self.times + 1, ATTEMPTS),
        }
    }

    fn succeeds(&self) -> bool {
        match self.policy {
            Ignore | Wait => true,
            Retry => self.times < ATTEMPTS,
            GiveUp => false,
        }
    }

    /// Whether the table executes the request in spite of the fault, possibly after a delay.
    fn takes_effect(&self) -> bool {
        match self.fault {
            WireFault::Delay(_)
            | WireFault::LoseAnswer
            | WireFault::ResetAfter
            | WireFault::TruncateAnswer(_)
            | WireFault::StallAnswer
            | WireFault::StallWithinAnswer(_)
            | WireFault::ContentType(_) => true,
            WireFault::LoseRequest
            | WireFault::ResetBefore
            | WireFault::Stall
            | WireFault::Answer(..)
            | WireFault::Bytes(_) => false,
        }
    }

    #[track_caller]
    fn assert_unavailable(&self, answer: &Answer) {
        assert_eq!(answer.status, 503, "{self:?}: {answer:?}");
        assert_eq!(answer.header("retry-after"), Some("1"), "{self:?}");
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            WireFault::Bytes(bytes) => write!(f, "{} times {}", self.times, bytes.escape_ascii()),
            fault => write!(f, "{} times {fault:?}", self.times),
        }
    }
}

/// The cases for these faults. A fault with the policy [`Retry`] occurs one, two or three times,
/// and any other fault once.
fn cases(faults: Vec<(WireFault, Policy)>) -> impl Iterator<Item = Case> {
    faults.into_iter().flat_map(|(fault, policy)| {
        let most = match policy {
            Ignore | Wait | GiveUp => 1,
            Retry => ATTEMPTS,
        };
        (1..=most).map(move |times| Case {
            fault: fault.clone(),
            policy,
            times,
        })
    })
}

/// The faults for both functions.
fn faults() -> Vec<(WireFault, Policy)> {
    vec![
        // The SDK waits 1.2 s for an answer. If the delay is 0.3 s, the SDK gets the answer. If the
        // delay is 1.5 s, the SDK retries, although the proxy still forwards the first request.
        (WireFault::Delay(Duration::from_millis(300)), Wait),
        (WireFault::Delay(Duration::from_millis(1500)), Retry),
        (WireFault::LoseRequest, Retry),
        (WireFault::ResetBefore, Retry),
        (WireFault::LoseAnswer, Retry),
        (WireFault::ResetAfter, Retry),
        (WireFault::TruncateAnswer(Break::Head), Retry),
        (WireFault::TruncateAnswer(Break::Body), Retry),
        (WireFault::TruncateAnswer(Break::LastByte), Retry),
        (WireFault::Stall, Retry),
        (WireFault::StallAnswer, Retry),
        (WireFault::StallWithinAnswer(Break::Head), Retry),
        (WireFault::StallWithinAnswer(Break::Body), Retry),
        (WireFault::ContentType("text/html"), Ignore),
        // Errors that the table itself reports.
        (error(BAD_REQUEST, "ThrottlingException"), Retry),
        (error(BAD_REQUEST, "RequestLimitExceeded"), Retry),
        (
            error(BAD_REQUEST, "ProvisionedThroughputExceededException"),
            Retry,
        ),
        (error(SERVER_ERROR, "InternalServerError"), Retry),
        (error(UNAVAILABLE, "ServiceUnavailable"), Retry),
        // Answers that come from a network proxy instead of the table.
        (answer(SERVER_ERROR, ""), Retry),
        (answer("502 Bad Gateway", PAGE), Retry),
        (answer(UNAVAILABLE, PAGE), Retry),
        (answer("504 Gateway Timeout", ""), Retry),
        (answer("302 Found", PAGE), GiveUp),
        (answer(BAD_REQUEST, PAGE), GiveUp),
        (answer("403 Forbidden", PAGE), GiveUp),
        (answer("429 Too Many Requests", PAGE), GiveUp),
        (answer("200 OK", PAGE), GiveUp),
        // Successful answers without the request id that DynamoDB puts in every answer.
        (WireFault::Bytes(FOREIGN_PAGE), GiveUp),
        (WireFault::Bytes(FOREIGN_NOTHING), GiveUp),
        (WireFault::Bytes(FOREIGN_OBJECT), GiveUp),
        // Bytes that are not HTTP, and an incomplete HTTP answer.
        (WireFault::Bytes(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), GiveUp),
        (WireFault::Bytes(b"HTTP/1.1 two hundred\r\n\r\n"), GiveUp),
        (WireFault::Bytes(&[0; 64]), GiveUp),
        (WireFault::Bytes(b"HTTP/1.1 20"), Retry),
    ]
}

/// The faults for list-users only. The first two are answers without a list: list-users needs the
/// list, but create-user needs nothing from the body of a successful answer. The last two are
/// answers with a list, which only list-users gets. One of these lacks DynamoDB's request id, and
/// the other is not UTF-8.
fn faults_of_a_list() -> Vec<(WireFault, Policy)> {
    vec![
        (answer("200 OK", ""), GiveUp),
        (answer("200 OK", "{}"), GiveUp),
        (WireFault::Bytes(FOREIGN_LIST), GiveUp),
        (WireFault::Bytes(NOT_UTF8), GiveUp),
    ]
}

const BAD_REQUEST: &str = "400 Bad Request";
const SERVER_ERROR: &str = "500 Internal Server Error";
const UNAVAILABLE: &str = "503 Service Unavailable";
const PAGE: &str = "<!doctype html><title>Welcome to the network</title>";
const FOREIGN_PAGE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>";
const FOREIGN_NOTHING: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const FOREIGN_OBJECT: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
const FOREIGN_LIST: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"Items\":[]}";
/// An answer with a field whose name is not UTF-8.
const NOT_UTF8: &[u8] =
    b"HTTP/1.1 200 OK\r\nx-amzn-requestid: 1\r\ncontent-length: 21\r\n\r\n{\"Items\":[],\"\xff\":null}";

fn error(status: &'static str, exception: &str) -> WireFault {
    let exception = format!("com.amazonaws.dynamodb.v20120810#{exception}");
    answer(status, &json!({ "__type": exception }).to_string())
}

fn answer(status: &'static str, body: &str) -> WireFault {
    WireFault::Answer(status, body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_results_in_exactly_one_user_under_every_network_fault() {
    let service = Arc::new(Service::start());
    let authority = Authority::new();
    let mut running = JoinSet::new();
    for (number, case) in cases(faults()).enumerate() {
        let function = Function::start("create-user", &service, &authority).await;
        let name = format!("user{number:02}");
        let service = Arc::clone(&service);
        running.spawn(async move { create(&name, &case, function, &service).await });
    }
    running.join_all().await;
}

async fn create(name: &str, case: &Case, mut function: Function, service: &Service) {
    let user = if case.succeeds() {
        // Without an Idempotency-Key, only the user's id can show that an earlier attempt of this
        // call created the user.
        let (created, requests) = function.call(Event::create_user(name), case).await;
        assert_eq!(created.status, 201, "{case:?}: {created:?}");
        assert_eq!(created.header("idempotent-replayed"), None, "{case:?}");
        assert_eq!(requests, case.requests(), "{case:?}");
        created
    } else {
        let event = || Event::create_user(name).with_header("idempotency-key", name);
        let (failed, requests) = function.call(event(), case).await;
        case.assert_unavailable(&failed);
        assert_eq!(requests, case.requests(), "{case:?}");

        let (retried, requests) = function.call_undisturbed(event()).await;
        assert_eq!(retried.status, 201, "{case:?}: {retried:?}");
        let replayed = case.takes_effect().then_some("true");
        assert_eq!(retried.header("idempotent-replayed"), replayed, "{case:?}");
        assert_eq!(requests, 1, "{case:?}");
        retried
    };
    if let WireFault::Delay(time) = case.fault {
        // The proxy forwards a delayed request even if the SDK no longer waits for the answer. Such
        // late requests must not change the user, so this test waits until they have arrived.
        tokio::time::sleep(time).await;
    }
    let listed = service.list(&format!("prefix={name}")).await;
    assert_eq!(listed.json(), json!([user.json()]), "{case:?}");
    let (again, requests) = function.call_undisturbed(Event::create_user(name)).await;
    assert_eq!((again.status, requests), (409, 1), "{case:?}");
    function.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_returns_the_users_in_the_table_or_503_under_every_network_fault() {
    let service = Service::start();
    let authority = Authority::new();
    let user = service.create("ada").await.json();
    let mut running = JoinSet::new();
    for case in cases(faults()).chain(cases(faults_of_a_list())) {
        let function = Function::start("list-users", &service, &authority).await;
        let page = json!([user]);
        running.spawn(async move { list(&page, &case, function).await });
    }
    running.join_all().await;
}

async fn list(page: &Value, case: &Case, mut function: Function) {
    let (listed, requests) = function.call(Event::list(""), case).await;
    assert_eq!(requests, case.requests(), "{case:?}");
    if case.succeeds() {
        assert_eq!(listed.json(), *page, "{case:?}");
    } else {
        case.assert_unavailable(&listed);
    }
    let (listed, requests) = function.call_undisturbed(Event::list("")).await;
    assert_eq!(listed.json(), *page, "{case:?}");
    assert_eq!(requests, 1, "{case:?}");
    // Every page must come from a strongly consistent read. Otherwise, a page could lack a user who
    // was created before the call. The warm-up sent the first request, which reads no page, so the
    // check skips this request.
    let requests = function.proxy.requests();
    let is_current = |request: &TableRequest| request.parameters["ConsistentRead"] == true;
    assert!(requests[1..].iter().all(is_current), "{requests:?}");
    function.stop().await;
}

#[tokio::test]
async fn a_create_succeeds_if_the_timed_out_attempt_arrives_before_its_retry() {
    let service = Service::start();
    let mut function = Function::start("create-user", &service, &Authority::new()).await;
    // The first attempt times out after 1.2 s, but its request reaches the table after 1.4 s. The
    // second attempt starts at least 1.2 s after the call, and its request takes 0.6 s. So its
    // request reaches the table after at least 1.8 s, later than the request of the first attempt.
    let delays = [1400, 600].map(|time| WireFault::Delay(Duration::from_millis(time)));
    function.proxy.inject(delays);
    let event = Event::create_user("ada");
    let (created, requests) = function.call_undisturbed(event).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(requests, 2);
    assert_eq!(service.list("").await.json(), json!([created.json()]));
    function.stop().await;
}

#[tokio::test]
async fn the_content_type_of_the_tables_answer_is_ignored() {
    let service = Service::start();
    let event = || Event::create_user("ada").with_header("idempotency-key", "one");
    let user = service.post(event()).await;
    let mut function = Function::start("create-user", &service, &Authority::new()).await;
    let faults = iter::repeat_n(WireFault::ContentType("text/plain; charset=latin1"), 2);
    function.proxy.inject(faults);
    let (replayed, requests) = function.call_undisturbed(event()).await;
    assert_eq!(replayed.header("idempotent-replayed"), Some("true"));
    assert_eq!((replayed.json(), requests), (user.json(), 1));
    let (taken, requests) = function.call_undisturbed(Event::create_user("Ada")).await;
    assert_eq!((taken.status, requests), (409, 1));
    function.stop().await;
}

/// A running function that reaches its table through TLS and a proxy.
struct Function {
    method: &'static str,
    sandbox: Sandbox,
    _front: Front,
    proxy: Proxy,
}

impl Function {
    async fn start(name: &str, service: &Service, authority: &Authority) -> Self {
        let proxy = Proxy::start(&service.engine().url()).await;
        let front = Front::start(&proxy.url(), trusted(authority)).await;
        let sandbox = front.function(name, authority).await;
        let method = match name {
            "create-user" => "post",
            _ => "get",
        };
        Self {
            method,
            sandbox,
            _front: front,
            proxy,
        }
    }

    /// Calls the function with the fault of this case. Returns the answer and the number of
    /// requests that the function sent.
    async fn call(&mut self, event: Event, case: &Case) -> (Answer, usize) {
        let faults = iter::repeat_n(case.fault.clone(), case.times);
        self.proxy.inject(faults);
        self.call_undisturbed(event).await
    }

    async fn call_undisturbed(&mut self, event: Event) -> (Answer, usize) {
        let before = self.proxy.requests().len();
        let answer = self.sandbox.invoke(event, TIMEOUT).await.into_answer();
        contract::check(self.method, &answer);
        (answer, self.proxy.requests().len() - before)
    }

    /// Ends the process. Fails if it has already ended, or has logged an error.
    async fn stop(self) {
        let lines = self.sandbox.stop().await;
        let error = lines.iter().find(|line| line["level"] == "ERROR");
        assert_eq!(error, None);
    }
}
