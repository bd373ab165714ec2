//! The local run: the program that `make run` runs, and the processes that it starts.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use local::http;
use serde_json::json;
use ureq::{Agent, http::HeaderValue};

use crate::{
    answer::Answer,
    contract::{self, PATH},
    process::{self, Process},
    workspace::{built, root, target_profile},
};

/// The longest wait of a test: generous, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

/// A running service.
#[derive(Debug)]
pub struct LocalRun {
    process: Child,
    users_url: String,
    page_origin: String,
    data: PathBuf,
    output: Arc<(Mutex<String>, Condvar)>,
    client: Agent,
}

impl LocalRun {
    /// Starts the service on free ports and waits until it is ready.
    ///
    /// # Panics
    /// Panics if the service is not ready within 120 s.
    #[must_use]
    pub fn start(data: &Path) -> Self {
        Self::start_by(program("local"), data)
    }

    /// Starts the service with `command`. The command must pass its environment on to the service.
    ///
    /// # Panics
    /// Panics if the service is not ready within 120 s.
    #[must_use]
    pub fn start_by(mut command: Command, data: &Path) -> Self {
        let mut process = command
            .env("PORT", "0")
            .env("PAGE_PORT", "0")
            .env("DATA_DIR", data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = Arc::<(Mutex<String>, Condvar)>::default();
        let stdout = process.stdout.take().expect("the output is piped");
        let stderr = process.stderr.take().expect("the output is piped");
        collect(stdout, &output);
        collect(stderr, &output);
        let mut run = Self {
            process,
            users_url: String::new(),
            page_origin: String::new(),
            data: data.to_owned(),
            output,
            client: http::client(PATIENCE),
        };
        run.wait_for_output("\nThe users are kept in ");
        let output = run.output();
        let after = |text: &str| {
            let (_, rest) = output.split_once(text).expect("the URL is printed");
            rest.lines().next().unwrap_or_default().to_owned()
        };
        run.users_url = after("The users API is ready at ");
        run.page_origin = after("A page to try it is at ");
        run
    }

    /// The service's port.
    ///
    /// # Panics
    /// Panics if the URL that the service printed has no port.
    #[must_use]
    pub fn port(&self) -> u16 {
        let port = self.users_url.strip_suffix("/api/users");
        let port = port.and_then(|url| url.strip_prefix("http://127.0.0.1:"));
        port.and_then(|port| port.parse().ok()).expect("a port")
    }

    /// The page's origin.
    #[must_use]
    pub fn page_origin(&self) -> &str {
        &self.page_origin
    }

    /// The ID of the first process of the local run.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The first process of the local run, and every process that descends from it.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        Process::all_with("DATA_DIR", self.data.as_os_str())
    }

    /// Everything that the service has printed so far.
    ///
    /// # Panics
    /// Panics if a thread that reads the output panicked.
    #[must_use]
    pub fn output(&self) -> String {
        self.output.0.lock().expect("no reader panics").clone()
    }

    /// Waits until the service has printed this text.
    ///
    /// # Panics
    /// Panics if the service does not print this text within 120 s.
    pub fn wait_for_output(&self, text: &str) {
        self.wait_for_output_after(0, text);
    }

    /// Like [`Self::wait_for_output`], but ignores the first `bytes` bytes of the output.
    ///
    /// # Panics
    /// Panics if the service does not print this text within 120 s.
    pub fn wait_for_output_after(&self, bytes: usize, text: &str) {
        let (output, changed) = &*self.output;
        let output = output.lock().expect("no reader panics");
        let (output, _) = changed
            .wait_timeout_while(output, PATIENCE, |output| !output[bytes..].contains(text))
            .expect("no reader panics");
        let output = &output[bytes..];
        assert!(output.contains(text), "{text:?} was not printed:\n{output}");
    }

    /// Sends a request. Does not check the answer against the contract.
    ///
    /// # Panics
    /// Panics if no answer comes.
    #[must_use]
    pub fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &[u8])],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let url = format!("http://127.0.0.1:{}{target}", self.port());
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value).expect("a header");
            request = request.header(*name, value);
        }
        let request = request.body(body.into()).expect("a request");
        answer(self.client.run(request)).expect("an answer")
    }

    /// Sends a request to [`PATH`]. Returns the answer's status and CORS headers.
    ///
    /// # Panics
    /// Panics if no answer comes.
    #[must_use]
    pub fn cors(&self, method: &str, headers: &[(&str, &str)]) -> (u16, BTreeMap<String, String>) {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        let mut answer = self.send(method, PATH, &headers, "");
        let is_about = |name: &str| name == "vary" || name.starts_with("access-control-");
        answer.headers.retain(|name, _| is_about(name));
        (answer.status, answer.headers)
    }

    /// Lists users with this query string.
    ///
    /// # Panics
    /// Panics if no answer comes, or the contract does not allow the answer.
    #[must_use]
    pub fn list(&self, query: &str) -> Answer {
        let request = self.client.get(format!("{}?{query}", self.users_url));
        let answer = answer(request.call()).expect("an answer");
        contract::check("get", &answer);
        answer
    }

    /// Creates a user. Does not check the answer against the contract.
    ///
    /// # Errors
    /// Fails if no answer comes, for example because the test killed the service.
    pub fn try_create(&self, username: &str) -> Result<Answer, ureq::Error> {
        let request = self.client.post(&self.users_url);
        let request = request.content_type("application/json");
        answer(request.send(json!({ "username": username }).to_string()))
    }

    /// Creates a user.
    ///
    /// # Panics
    /// Panics if no answer comes, or the contract does not allow the answer.
    #[must_use]
    pub fn create(&self, username: &str) -> Answer {
        let answer = self.try_create(username).expect("an answer");
        contract::check("post", &answer);
        answer
    }

    /// Reads all usernames, page by page.
    #[must_use]
    pub fn usernames(&self) -> Vec<String> {
        let mut usernames = Vec::new();
        let mut next = Some("limit=1000".to_owned());
        while let Some(query) = next {
            let page = self.list(&query);
            usernames.extend(page.usernames());
            next = page.next_query();
        }
        usernames
    }

    /// Sends a signal, such as `TERM`, to the first process of the local run.
    ///
    /// # Panics
    /// Panics if there is no such process.
    pub fn signal(&self, signal: &str) {
        process::signal(self.id(), signal);
    }

    /// Stops the service with SIGTERM.
    ///
    /// # Panics
    /// Panics if the service exits with an error or leaves a process behind.
    pub fn stop(self) {
        self.signal("TERM");
        assert!(self.ended().success());
    }

    /// Waits until all processes of the local run have ended. Returns the exit status of the first
    /// process.
    ///
    /// # Panics
    /// Panics if a process does not end within 120 s.
    #[must_use]
    pub fn ended(mut self) -> ExitStatus {
        let started = Instant::now();
        let status = wait(&mut self.process);
        while let left = self.processes()
            && !left.is_empty()
        {
            assert!(started.elapsed() < PATIENCE, "left behind: {left:?}");
            thread::sleep(PAUSE);
        }
        status
    }
}

impl Drop for LocalRun {
    fn drop(&mut self) {
        // A failing test must leave no process behind. The other processes end with the first one.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The command that runs a program of the package `local`, such as `seed`, in the workspace's
/// top-level folder.
///
/// # Panics
/// Panics if the program was not built.
#[must_use]
pub fn program(name: &str) -> Command {
    let mut command = Command::new(built(&target_profile().join(name)));
    command.current_dir(root());
    command
}

/// Runs a command to its end and returns its output.
///
/// # Panics
/// Panics if the command can't be started, does not end within 120 s, or leaves a process behind.
#[must_use]
pub fn output(mut command: Command) -> Output {
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // Reads both streams while the process runs, because a full pipe would block the process.
    let stdout = read(process.stdout.take().expect("the output is piped"));
    let stderr = read(process.stderr.take().expect("the output is piped"));
    let status = wait(&mut process);
    // A process that the command left behind may hold the pipes open.
    let [stdout, stderr] = [stdout, stderr].map(|read| {
        let read = read.recv_timeout(PATIENCE);
        read.unwrap_or_else(|_| panic!("{command:?} left a process behind"))
    });
    Output {
        status,
        stdout,
        stderr,
    }
}

fn read(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (give, take) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("a pipe can be read");
        // Fails only if the test has already ended.
        let _ = give.send(bytes);
    });
    take
}

fn wait(process: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        let status = process.try_wait().expect("the process has a state");
        if let Some(status) = status {
            return status;
        }
        if started.elapsed() >= PATIENCE {
            process.kill().expect("the process can be killed");
            process.wait().expect("the process has a status");
            panic!("a process did not end within {PATIENCE:?}");
        }
        thread::sleep(PAUSE);
    }
}

fn collect(stream: impl Read + Send + 'static, output: &Arc<(Mutex<String>, Condvar)>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut text = output.0.lock().expect("no reader panics");
            text.push_str(&line);
            text.push('\n');
            output.1.notify_all();
        }
    });
}

/// Makes an [`Answer`], without the two headers that the HTTP server adds.
fn answer(
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Answer, ureq::Error> {
    let mut response = response?;
    let body = response.body_mut().read_to_string()?;
    let headers = response.headers().iter();
    let headers = headers.filter(|(name, _)| !matches!(name.as_str(), "content-length" | "date"));
    Ok(Answer {
        status: response.status().as_u16(),
        headers: headers
            .map(|(name, value)| (name.to_string(), value.to_str().expect("ASCII").to_owned()))
            .collect(),
        body,
    })
}
