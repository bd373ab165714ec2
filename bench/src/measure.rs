//! Measures one run of a function's process.

use std::time::Duration;

use harness::{
    Event,
    process::memory_kib,
    runtime_api::{self, Reply, Sandbox},
};
use nix::{
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use crate::{
    canned_table::Access,
    contestants::{Operation, Program},
    quota::Quota,
};

/// The time limit for an event. Even with a small share of a processor, a function takes far less.
pub const TIMEOUT: Duration = Duration::from_secs(25);

/// The cost of one phase of a [`ProcessRun`].
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The elapsed time.
    pub wall: Duration,
    /// The processor time that all threads of the process used.
    pub cpu: Duration,
}

/// One run of a function's process.
#[derive(Clone, Debug)]
pub struct ProcessRun {
    /// The cost of INIT, from the start of the process until it polls for its first event.
    pub init: Cost,
    /// The cost of the first event: the elapsed time until the reply, and the processor time until
    /// the function polls for the next event.
    pub first: Cost,
    /// The time of each event after the first.
    pub warm: Vec<Duration>,
    /// The average processor time of an event after the first.
    pub warm_cpu: Duration,
    /// The peak memory of the process.
    pub peak_memory_kib: usize,
}

/// Starts a function.
///
/// # Panics
///
/// Panics if the function can't be started.
pub async fn start(program: &Program, table: Access<'_>) -> Sandbox {
    let mut environment = runtime_api::environment(table.url).to_vec();
    environment.extend([
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_SESSION_TOKEN", "test"),
        ("LANG", "C.UTF-8"),
    ]);
    environment.extend(program.environment());
    if let Some(certificates) = table.certificates {
        let (variable, kind) = program.trust();
        environment.push((variable, certificates.path(kind)));
    }
    Sandbox::start_command(program.command(), &environment).await
}

/// An event for an operation, as JSON. The username of a create contains `number`.
#[must_use]
pub fn event(operation: Operation, number: usize) -> String {
    let event = match operation {
        Operation::Create => Event::create_user(&format!("user-{number:05}")),
        Operation::List => Event::list("limit=100"),
    };
    event.into_json()
}

/// Measures one run of a function's process, with `warm` events after the first event.
///
/// # Panics
///
/// Panics if the function fails.
pub async fn process(
    program: &Program,
    table: Access<'_>,
    quota: Option<&Quota>,
    operation: Operation,
    warm: usize,
) -> ProcessRun {
    let mut sandbox = start(program, table).await;
    let process = sandbox.process_id();
    if let Some(quota) = quota {
        quota.apply(process);
    }
    let wall = sandbox.polled().await;
    let cpu = cpu_time_of(process);
    let init = Cost { wall, cpu };

    let wall = call(&mut sandbox, event(operation, 0)).await;
    let first_done = cpu_time_of(process);
    let first = Cost {
        wall,
        cpu: first_done.saturating_sub(cpu),
    };

    let mut times = Vec::with_capacity(warm);
    for number in 1..=warm {
        times.push(call(&mut sandbox, event(operation, number)).await);
    }
    let calls = u32::try_from(warm.max(1)).expect("fewer than 2^32 calls");
    let warm_cpu = cpu_time_of(process).saturating_sub(first_done) / calls;
    let run = ProcessRun {
        init,
        first,
        warm: times,
        warm_cpu,
        peak_memory_kib: memory_kib(process, "VmHWM"),
    };
    sandbox.stop_with_output().await;
    run
}

/// Calls a function and waits until it is ready for the next call. Returns how long the call took.
///
/// # Panics
///
/// Panics if the function fails.
pub async fn call(sandbox: &mut Sandbox, event: String) -> Duration {
    let (reply, took) = sandbox.invoke_timed(event, TIMEOUT).await;
    let status = match &reply {
        Reply::Response(response) => response["statusCode"].as_u64(),
        Reply::Error(_) => None,
    };
    assert!(matches!(status, Some(200 | 201)), "{reply:?}");
    sandbox.polled().await;
    took
}

/// The processor time that a process has used.
///
/// # Panics
///
/// Panics if the process has ended.
#[must_use]
pub fn cpu_time_of(process: u32) -> Duration {
    let clock =
        clock_getcpuclockid(Pid::from_raw(process.cast_signed())).expect("a process has a clock");
    clock_gettime(clock).expect("the process runs").into()
}
