//! A run: many clients call processes of the real functions. Meanwhile, the run injects faults, and
//! kills function processes and the engine, which emulates DynamoDB.

use std::{
    any::Any,
    fmt,
    ops::AddAssign,
    path::Path,
    sync::{
        Arc, Mutex as StdMutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::AttributeValue;
use fastrand::Rng;
use serde_json::json;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};

use super::{
    history::{Create, History, List, Operation, Outcome, Request, ShownUser, StoredItem, Walk},
    names::{Name, Prefix},
};
use harness::{
    Answer, Event, contract,
    engine_process::EngineProcess,
    runtime_api::{Reply, Sandbox, environment},
    service::connect,
    wire::{Break, Proxy, WireFault},
    workspace::binary_of,
};

/// The timeout of the functions in template.yaml.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How many processes each function has. A process handles one event at a time. There are more
/// clients than processes, so some clients wait.
const CREATORS: usize = 5;
const LISTERS: usize = 3;

/// The maximum number of requests in a walk. With this limit, a walk ends even if every page links
/// to a next page.
const MAX_PAGES: usize = 1000;

/// The maximum ages of a page, in seconds, from which a run chooses. With 0 (the
/// template's default), list-users caches no page.
const MAX_AGES: [u64; 3] = [0, 0, 2];

/// The callers and the Idempotency-Keys from which clients choose. Both lists are short, so that
/// one caller often repeats a key, and different callers often send the same key.
const CALLERS: [Option<&str>; 3] = [Some("ada"), Some("bea"), None];
const KEYS: [Option<&str>; 3] = [Some("one"), Some("two"), None];

/// The size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many clients run at the same time.
    pub clients: usize,
    /// How many tasks each client does, one after another. A task creates a user, requests one page,
    /// or reads a list page by page.
    pub tasks: usize,
}

/// Counts of the events in one run, or the sums of these counts for several runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// All requests, including those whose function process was killed.
    pub operations: usize,
    /// Users in the list at the end of the run.
    pub users: usize,
    /// Create requests that got a replay.
    pub replays: usize,
    /// Create requests that got a 409.
    pub conflicts: usize,
    /// List requests that got a page.
    pub pages: usize,
    /// Requests whose outcome is unknown, because the client got a 503 or no answer.
    pub unknown: usize,
    /// Faults that the proxy injected between a function and the table.
    pub faults: usize,
    /// Function processes that were killed before they replied.
    pub killed_functions: usize,
    /// How many times the engine was killed during the run.
    pub killed_engines: usize,
}

impl Totals {
    fn of(history: &History) -> Self {
        let count = |is_counted: fn(&Outcome) -> bool| {
            let outcomes = history.operations.iter().map(|it| &it.outcome);
            outcomes.filter(|it| is_counted(it)).count()
        };
        Self {
            operations: history.operations.len(),
            users: history.walks.first().map_or(0, |walk| walk.users.len()),
            replays: count(|it| matches!(it, Outcome::Created { replayed: true, .. })),
            conflicts: count(|it| matches!(it, Outcome::Taken)),
            pages: count(|it| matches!(it, Outcome::Page { .. })),
            unknown: count(Outcome::is_unknown),
            killed_functions: count(|it| matches!(it, Outcome::Killed)),
            faults: 0,
            killed_engines: 0,
        }
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.operations += other.operations;
        self.users += other.users;
        self.replays += other.replays;
        self.conflicts += other.conflicts;
        self.pages += other.pages;
        self.unknown += other.unknown;
        self.faults += other.faults;
        self.killed_functions += other.killed_functions;
        self.killed_engines += other.killed_engines;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} operations ({} users, {} replays, {} conflicts, {} pages, {} of unknown outcome) \
             under {} faults, with {} functions and {} engines killed",
            self.operations,
            self.users,
            self.replays,
            self.conflicts,
            self.pages,
            self.unknown,
            self.faults,
            self.killed_functions,
            self.killed_engines,
        )
    }
}

/// Runs clients against a service whose table is a file in `folder`.
///
/// # Panics
/// Panics if a process does not start or stop. An answer that violates the contract does not cause
/// a panic: it ends the run early, and the history's `failure` describes it.
pub async fn run(seed: u64, plan: Plan, folder: &Path) -> (History, Totals) {
    let engine = EngineProcess::start(folder.join("table.sqlite")).await;
    let proxy = Proxy::start(engine.url()).await;
    let mut rng = Rng::with_seed(seed);
    let max_age = rng.choice(MAX_AGES).expect("there are some");
    let world = Arc::new(World {
        creators: Pool::start("create-user", &proxy.url(), max_age, CREATORS).await,
        listers: Pool::start("list-users", &proxy.url(), max_age, LISTERS).await,
        proxy,
        engine: Mutex::new(engine),
        began: Instant::now(),
        operations: StdMutex::default(),
        walks: AtomicUsize::new(0),
        killed_engines: AtomicUsize::new(0),
    });

    let mut clients = JoinSet::new();
    for number in 0..plan.clients {
        let client = Client {
            number,
            world: Arc::clone(&world),
        };
        // Each task (see `Plan::tasks`) has its own random generator. The number of random numbers
        // that a task draws depends on the answers that the task gets. With one shared generator,
        // these answers would change the choices of the next task.
        let mut rng = rng.fork();
        let tasks: Vec<Rng> = (0..plan.tasks).map(|_| rng.fork()).collect();
        clients.spawn(client.work(tasks));
    }
    let mut failure = None;
    while let Some(ended) = clients.join_next().await {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            failure.get_or_insert_with(|| message(&*panic));
            clients.abort_all();
        }
    }
    let world = Arc::into_inner(world).expect("no client is left");
    world.end(seed, rng, failure).await
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}

struct World {
    creators: Pool,
    listers: Pool,
    proxy: Proxy,
    engine: Mutex<EngineProcess>,
    began: Instant,
    operations: StdMutex<Vec<Operation>>,
    walks: AtomicUsize,
    killed_engines: AtomicUsize,
}

impl World {
    fn now(&self) -> u64 {
        let elapsed = self.began.elapsed().as_micros();
        elapsed.try_into().expect("a run is short")
    }

    async fn kill_engine(&self, pause: Duration) {
        let mut engine = self.engine.lock().await;
        engine.kill().await;
        self.killed_engines.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(pause).await;
        engine.start_again().await;
        self.proxy.redirect(engine.url());
    }

    async fn end(self, seed: u64, rng: Rng, failure: Option<String>) -> (History, Totals) {
        let mut history = History {
            seed,
            max_age: self.listers.max_age,
            failure,
            operations: self.operations.into_inner().expect("no holder panics"),
            walks: Vec::new(),
            items: Vec::new(),
        };
        let faults = self.proxy.struck();
        let killed_engines = self.killed_engines.into_inner();
        if history.failure.is_none() {
            self.creators.stop().await;
            self.listers.stop().await;
            // Some writes of the stopped functions may still be on their way to the table. Killing
            // the engine discards these writes.
            let mut engine = self.engine.into_inner();
            engine.kill().await;
            engine.start_again().await;
            let url = engine.url().to_owned();
            let end = async move { (walks_at_the_end(&url, rng).await, items(&url).await) };
            match tokio::spawn(end).await {
                Ok((walks, items)) => {
                    history.walks = walks;
                    history.items = items;
                }
                Err(error) => history.failure = Some(message(&*error.into_panic())),
            }
        }
        let totals = Totals {
            faults,
            killed_engines,
            ..Totals::of(&history)
        };
        (history, totals)
    }
}

async fn walks_at_the_end(table_url: &str, mut rng: Rng) -> Vec<Walk> {
    let mut lister = Sandbox::of("list-users", table_url).await;
    let whole = Prefix::all().take(1).map(|prefix| (prefix, 1000));
    let large = Prefix::all().map(|prefix| (prefix, 200));
    let small = Prefix::all()
        .chain(Prefix::all())
        .map(|prefix| (prefix, 20));
    let mut walks = Vec::new();
    for (prefix, most) in whole.chain(large).chain(small) {
        let limit = if walks.is_empty() {
            most
        } else {
            rng.usize(1..=most)
        };
        let mut users = Vec::new();
        let mut next = Some(query(prefix, limit));
        for _ in 0..MAX_PAGES {
            let Some(query) = next.take() else { break };
            let reply = lister.invoke(Event::list(&query), TIMEOUT).await;
            let answer = reply.into_answer();
            contract::check("get", &answer);
            assert_eq!(answer.status, 200, "without faults: {answer:?}");
            users.extend(users_of(&answer));
            next = answer.next_query();
        }
        walks.push(Walk {
            prefix: prefix.key.to_owned(),
            limit,
            users,
        });
    }
    lister.stop_with_output().await;
    walks
}

async fn items(table_url: &str) -> Vec<StoredItem> {
    let table = connect(table_url);
    let scan = table.client().scan().table_name(table.name());
    let items = scan.into_paginator().items().send().try_collect().await;
    let items = items
        .expect("without faults, the engine answers")
        .into_iter();
    let text = |value: AttributeValue| match value {
        AttributeValue::S(text) => text,
        other => format!("{other:?}"),
    };
    let is_kept = |(name, value): &(String, AttributeValue)| name != "request" || !value.is_b();
    items
        .map(|item| {
            let attributes = item.into_iter().filter(is_kept);
            attributes
                .map(|(name, value)| (name, text(value)))
                .collect()
        })
        .collect()
}

fn query(prefix: Prefix, limit: usize) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("limit", &limit.to_string())
        .append_pair("prefix", prefix.spelling)
        .finish()
}

fn users_of(page: &Answer) -> Vec<ShownUser> {
    serde_json::from_str(&page.body).expect("a page is an array of users")
}

/// A pool of processes that run one function.
struct Pool {
    function: &'static str,
    table_url: String,
    max_age: u64,
    give: mpsc::UnboundedSender<Sandbox>,
    take: Mutex<mpsc::UnboundedReceiver<Sandbox>>,
}

impl Pool {
    async fn start(function: &'static str, table_url: &str, max_age: u64, size: usize) -> Self {
        let (give, take) = mpsc::unbounded_channel();
        let pool = Self {
            function,
            table_url: table_url.to_owned(),
            max_age,
            give,
            take: Mutex::new(take),
        };
        for _ in 0..size {
            pool.add().await;
        }
        pool
    }

    async fn add(&self) {
        let max_age = self.max_age.to_string();
        let mut environment = environment(&self.table_url).to_vec();
        environment.push(("LIST_MAX_AGE_SECONDS", &max_age));
        self.put(Sandbox::start(&binary_of(self.function), &environment).await);
    }

    fn put(&self, sandbox: Sandbox) {
        self.give
            .send(sandbox)
            .expect("the pool has its own receiver");
    }

    async fn take(&self) -> Sandbox {
        let sandbox = self.take.lock().await.recv().await;
        sandbox.expect("the pool has its own sender")
    }

    /// Stops all processes, and checks that each process was still running.
    async fn stop(self) {
        let Self { give, take, .. } = self;
        drop(give);
        let mut take = take.into_inner();
        while let Some(sandbox) = take.recv().await {
            sandbox.stop_with_output().await;
        }
    }
}

struct Client {
    number: usize,
    world: Arc<World>,
}

impl Client {
    async fn work(self, tasks: Vec<Rng>) {
        for (number, mut rng) in tasks.into_iter().enumerate() {
            self.disturb(&mut rng).await;
            match rng.u8(..10) {
                0..6 => self.create(&mut rng, number).await,
                6..9 => {
                    let limit = rng.choice([1, 2, 5, 20, 100, 1000]);
                    self.walk(&mut rng, limit.expect("there are some"), 1).await;
                }
                _ => {
                    let limit = rng.usize(5..50);
                    self.walk(&mut rng, limit, MAX_PAGES).await;
                }
            }
        }
    }

    async fn disturb(&self, rng: &mut Rng) {
        let world = &self.world;
        if rng.u8(..5) == 0 {
            let faults: Vec<WireFault> = (0..rng.usize(1..=4)).map(|_| fault(rng)).collect();
            world.proxy.inject(faults);
        }
        if rng.u8(..64) == 0 {
            let pause = Duration::from_millis(rng.u64(..200));
            world.kill_engine(pause).await;
        }
    }

    async fn create(&self, rng: &mut Rng, task: usize) {
        // Each username ends in a number. Later tasks use larger numbers, because otherwise all
        // usernames would soon be taken.
        let number = task / 4 + rng.usize(..3);
        let mut create = Create {
            caller: rng.choice(CALLERS).flatten().map(ToOwned::to_owned),
            key: rng.choice(KEYS).flatten().map(ToOwned::to_owned),
            name: Name::choose(rng, number),
        };
        for _ in 0..4 {
            let outcome = self.create_once(rng, &create).await;
            // Sometimes the client repeats a request although it knows the outcome. Sometimes it
            // leaves out the key when it repeats a request.
            let repeats = outcome.is_unknown() || rng.u8(..8) == 0;
            if !repeats || rng.u8(..8) == 0 {
                return;
            }
            if rng.u8(..8) == 0 {
                create.key = None;
            }
        }
    }

    async fn create_once(&self, rng: &mut Rng, create: &Create) -> Outcome {
        let mut event = Event::create_user(&create.name.spelling);
        event = match &create.caller {
            Some(caller) => event.by(caller),
            None => event.by_nobody(),
        };
        if let Some(key) = &create.key {
            event = event.with_header("idempotency-key", key);
        }
        let request = Request::Create(create.clone());
        let pool = &self.world.creators;
        let (_, outcome) = self.ask(rng, pool, "post", event, request).await;
        outcome
    }

    async fn walk(&self, rng: &mut Rng, limit: usize, pages: usize) {
        let prefix = Prefix::choose(rng);
        let mut list = List {
            query: query(prefix, limit),
            prefix: prefix.key.to_owned(),
            limit,
            after: None,
            walk: self.world.walks.fetch_add(1, Ordering::Relaxed),
        };
        for _ in 0..pages {
            let event = Event::list(&list.query);
            let request = Request::List(list.clone());
            let pool = &self.world.listers;
            let (answer, outcome) = self.ask(rng, pool, "get", event, request).await;
            let Outcome::Page { users, .. } = outcome else {
                // The next iteration requests the same page again.
                continue;
            };
            if let Some(user) = users.last() {
                list.after = Some(user.username.clone());
            }
            match answer.and_then(|answer| answer.next_query()) {
                Some(next) => list.query = next,
                None => return,
            }
        }
    }

    /// Sends an event to a function, and records the request and its outcome.
    async fn ask(
        &self,
        rng: &mut Rng,
        pool: &Pool,
        method: &str,
        event: Event,
        request: Request,
    ) -> (Option<Answer>, Outcome) {
        let kill = (rng.u8(..25) == 0).then(|| Duration::from_micros(rng.u64(..20_000)));
        let mut sandbox = pool.take().await;
        let start = self.world.now();
        let reply = if let Some(after) = kill {
            let reply = sandbox.invoke_and_kill(event, TIMEOUT, after).await;
            pool.add().await;
            reply
        } else {
            let reply = sandbox.invoke(event, TIMEOUT).await;
            pool.put(sandbox);
            Some(reply)
        };
        let end = self.world.now();
        let answer = reply.map(Reply::into_answer);
        let outcome = match &answer {
            None => Outcome::Killed,
            Some(answer) => {
                contract::check(method, answer);
                outcome(answer).unwrap_or_else(|| panic!("{request:?} got {answer:?}"))
            }
        };
        let operation = Operation {
            client: self.number,
            start,
            end,
            request,
            outcome: outcome.clone(),
        };
        let mut operations = self.world.operations.lock().expect("no holder panics");
        operations.push(operation);
        (answer, outcome)
    }
}

/// Maps an answer to the outcome that the history records. Returns `None` if no answer in a run may
/// have this status.
fn outcome(answer: &Answer) -> Option<Outcome> {
    Some(match answer.status {
        200 => Outcome::Page {
            users: users_of(answer),
            has_next: answer.next_query().is_some(),
        },
        201 => Outcome::Created {
            user: serde_json::from_str(&answer.body).expect("a user"),
            replayed: answer.header("idempotent-replayed").is_some(),
        },
        409 => Outcome::Taken,
        503 => Outcome::Unavailable,
        _ => return None,
    })
}

fn fault(rng: &mut Rng) -> WireFault {
    let error = |exception: &str| {
        let exception = format!("com.amazonaws.dynamodb.v20120810#{exception}");
        json!({ "__type": exception }).to_string()
    };
    let at = |rng: &mut Rng| {
        let at = rng.choice([Break::Head, Break::Body, Break::LastByte]);
        at.expect("there are some")
    };
    match rng.u8(..38) {
        0..6 => WireFault::Delay(Duration::from_millis(rng.u64(..50))),
        6..9 => WireFault::LoseRequest,
        9..12 => WireFault::ResetBefore,
        12..17 => WireFault::LoseAnswer,
        17..21 => WireFault::ResetAfter,
        21..25 => WireFault::TruncateAnswer(at(rng)),
        25..27 => WireFault::Answer("400 Bad Request", error("ThrottlingException")),
        27..29 => WireFault::Answer("500 Internal Server Error", error("InternalServerError")),
        29..31 => WireFault::Answer("503 Service Unavailable", String::new()),
        // An empty 200, as if a proxy had answered instead of the table.
        31..33 => WireFault::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        33 => WireFault::ContentType("text/html"),
        // The last four faults are rare, because each of them delays a request by more than a
        // second: the function waits 1.2 s before it abandons an attempt.
        34 => WireFault::Stall,
        35 => WireFault::StallAnswer,
        36 => WireFault::StallWithinAnswer(at(rng)),
        _ => WireFault::Delay(Duration::from_millis(rng.u64(1200..1600))),
    }
}
