//! Limits how many crates each function is built from, and how many memory allocations it makes.
//! Unlike times, these numbers are the same on a busy machine.
//!
//! Each budget is slightly above the value that was measured. Raise a budget only for a change that
//! is worth the extra cost. Lower it when a change reduces the measured value.

use std::{net::UdpSocket, time::Duration};

use allocation_counter::{AllocationInfo, measure};
use aws_sdk_dynamodb::Client;
use harness::{
    Event, Service,
    agent::SAMPLED,
    runtime_api::TRACE_HEADER,
    workspace::{crates_of, functions},
};
use lambda_http::Context;
use list_users::Lister;
use shared::{
    table::sdk_config,
    telemetry::RequestLine,
    trace::{self, Agent},
};
use tokio::runtime::{Builder, Runtime};

/// The maximum number of crates in a function.
const CRATES: usize = 175;
/// The maximum number of memory allocations when a DynamoDB client is made.
const START_ALLOCATIONS: u64 = 770;
/// The maximum number of memory allocations in a warm create, including the SDK's.
const CREATE_ALLOCATIONS: u64 = 380;
/// The maximum number of memory allocations that spans add to a warm create.
const SPANS_ALLOCATIONS: u64 = 8;
/// The maximum number of memory allocations in a warm list of 100 users.
const LIST_ALLOCATIONS: u64 = 715;

#[test]
fn the_crates_of_a_function_keep_within_their_budget() {
    for function in functions() {
        let crates = crates_of(&function);
        assert!(crates.len() <= CRATES, "{function}: {}", crates.len());
    }
}

#[test]
fn making_the_tables_client_keeps_within_its_budget() {
    let make = || {
        Client::from_conf(sdk_config().unwrap().build());
    };
    // The first client in a process also fills static tables of the SDK, which `measure` should not
    // count.
    make();
    assert_allocations("creating the client", &measure(make), START_ALLOCATIONS);
}

#[test]
fn a_warm_create_keeps_within_its_budget() {
    let runtime = runtime();
    let service = Service::start();
    let create = |username: &str| {
        let request = Event::create_user(username).into_request();
        measure(|| {
            let response = runtime.block_on(create_user::handle(service.table(), request));
            assert_eq!(response.unwrap().response.status(), 201);
        })
    };
    for username in ["ada", "grace", "edsger"] {
        create(username);
    }
    assert_allocations("a create", &create("barbara"), CREATE_ALLOCATIONS);
}

#[test]
fn the_spans_of_a_create_keep_within_their_budget() {
    let runtime = runtime();
    let service = Service::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let agent: &Agent = Box::leak(Box::new(Agent::connect(&address).unwrap()));
    let context = Context::default();
    let create = |username: &str, trace_header: &str| {
        let request = Event::create_user(username).into_request();
        measure(|| {
            let mut recording = agent.record(Some(trace_header));
            let handling = create_user::handle(service.table(), request);
            let answer = runtime.block_on(trace::within(&mut recording, handling));
            assert_eq!(answer.unwrap().response.status(), 201);
            if let Some(recording) = recording {
                recording.send(&context, &LINE);
            }
        })
    };
    for username in ["ada", "grace", "edsger"] {
        create(username, SAMPLED);
    }
    let without = create("barbara", TRACE_HEADER).count_total;
    let with = create("margaret", SAMPLED).count_total;
    println!(
        "a create request makes {without} memory allocations without spans, and {with} with spans"
    );
    assert!(with <= without + SPANS_ALLOCATIONS, "{without}, {with}");
}

const LINE: RequestLine<'_> = RequestLine {
    request_id: "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
    trace_id: None,
    function: "function",
    version: "1",
    route: "POST /api/users",
    caller: None,
    status: 201,
    duration: Duration::ZERO,
    cold_start: false,
    metrics: &[],
    cause: None,
};

#[test]
fn a_warm_list_of_100_users_keeps_within_its_budget() {
    let runtime = runtime();
    let service = Service::start();
    for number in 0..101 {
        runtime.block_on(service.create(&format!("user-{number:03}")));
    }
    let lister = Lister::new(service.table().clone(), Duration::ZERO);
    let list = || {
        let request = Event::list("").into_request();
        measure(|| {
            let response = runtime.block_on(list_users::handle(&lister, request));
            assert_eq!(response.unwrap().response.status(), 200);
        })
    };
    for _ in 0..3 {
        list();
    }
    assert_allocations("a list", &list(), LIST_ALLOCATIONS);
}

#[track_caller]
fn assert_allocations(of: &str, info: &AllocationInfo, budget: u64) {
    assert!(info.count_total <= budget, "{of}: {info:?}");
}

/// Makes a runtime that, like the functions' runtime, runs all tasks on the calling thread.
/// `measure` counts only the allocations of this thread.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
