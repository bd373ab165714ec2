//! Measures how much processor time create-user's spans cost in warm creates. Run `RELEASED=1
//! cargo run --locked --package tests --bin trace_cost` after `cargo lambda build --release`.

use std::{fs, time::Duration};

use harness::{
    Event,
    agent::{Agent, SAMPLED},
    runtime_api::{Sandbox, TRACE_HEADER, environment},
    service::engine,
    workspace::binary_of,
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// How many processes measure each case. The cases take turns, so that other load on the machine
/// affects all of them alike.
const ROUNDS: usize = 15;
/// How many creates each process handles during the measurement.
const CREATES: usize = 1_000;
/// How many creates each process handles before the measurement.
const WARM_UP: usize = 100;

#[tokio::main]
async fn main() {
    let agent = Agent::start().await;
    let address = agent.address();
    // This program does not read the datagrams that the agent receives. When the queue of the
    // agent's socket is full, the operating system discards further datagrams. create-user does not
    // wait, so the full queue does not change its times.
    let cases = [
        ("no agent", None, TRACE_HEADER),
        ("not sampled", Some(&*address), TRACE_HEADER),
        ("sampled", Some(&*address), SAMPLED),
    ];
    let mut times = [const { Vec::new() }; 3];
    for round in 0..ROUNDS {
        for (case, times) in cases.iter().zip(&mut times) {
            times.push(measure_process(round, case.1, case.2).await);
        }
    }
    for ((name, _, _), times) in cases.iter().zip(&mut times) {
        times.sort_unstable();
        let quartile = |number: usize| times[number * (ROUNDS - 1) / 4].as_secs_f64() * 1e6;
        let [low, median, high] = [1, 2, 3].map(quartile);
        println!("{name:<12} {median:6.1} µs of processor time per create ({low:.1} to {high:.1})");
    }
}

/// Returns the average processor time of one create in a new process.
async fn measure_process(round: usize, agent: Option<&str>, trace_header: &str) -> Duration {
    let engine = engine();
    let url = engine.url();
    let mut environment = environment(&url).to_vec();
    environment.extend(agent.map(|agent| ("AWS_XRAY_DAEMON_ADDRESS", agent)));
    let mut create = Sandbox::start(&binary_of("create-user"), &environment).await;
    create.trace(trace_header);
    let mut before = Duration::ZERO;
    for number in 0..WARM_UP + CREATES {
        if number == WARM_UP {
            before = processor_time(create.process_id());
        }
        let event = Event::create_user(&format!("user-{round}-{number}"));
        let answer = create.invoke(event, TIMEOUT).await.into_answer();
        assert_eq!(answer.status, 201);
    }
    let took = processor_time(create.process_id()).saturating_sub(before);
    create.stop().await;
    took / u32::try_from(CREATES).expect("not that many")
}

/// Returns the processor time that a process has used. The process must have only one thread.
fn processor_time(process: u32) -> Duration {
    let file = format!("/proc/{process}/schedstat");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let nanoseconds = text.split(' ').next().and_then(|time| time.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}
