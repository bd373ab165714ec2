//! What a function may take: crates and allocations, neither of which depends on how busy the machine is.
//! `released.rs` has the budgets of its bytes, and the benchmark (`make bench`) the times.
//!
//! Each budget is a little above what is reached. Raise one only for a gain that is worth it, and
//! lower it after one.

use allocation_counter::{AllocationInfo, measure};
use aws_sdk_dynamodb::Client;
use harness::{
    Event, Service,
    workspace::{crates_of, functions},
};
use list_users::Lister;
use shared::table::sdk_config;
use tokio::runtime::{Builder, Runtime};

/// The crates that a function is built of.
const CRATES: usize = 185;

/// The allocations that the table's client takes once, before its first request.
const START_ALLOCATIONS: u64 = 950;
/// The allocations of a create, from the request to the answer, the SDK's included.
const CREATE_ALLOCATIONS: u64 = 400;
/// The allocations of a page of 100 users.
const LIST_ALLOCATIONS: u64 = 1_150;

#[test]
fn a_function_is_built_of_no_more_crates_than_its_budget() {
    for function in functions() {
        let crates = crates_of(&function);
        assert!(crates.len() <= CRATES, "{function}: {}", crates.len());
    }
}

#[test]
fn making_the_tables_client_keeps_within_its_budget() {
    let info = measure(|| {
        Client::from_conf(sdk_config().unwrap().build());
    });
    assert_allocations("the start", &info, START_ALLOCATIONS);
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
fn a_warm_list_of_100_users_keeps_within_its_budget() {
    let runtime = runtime();
    let service = Service::start();
    for number in 0..101 {
        runtime.block_on(service.create(&format!("user-{number:03}")));
    }
    let lister = Lister::new(service.table().clone(), std::time::Duration::ZERO);
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

/// A runtime as the functions have it: everything happens in this thread, and is counted.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
