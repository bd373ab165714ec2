//! `make seed`: fills the running service with users.

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fake::{
    Fake,
    faker::name::raw::{FirstName, LastName},
    locales::{AR_SA, DE_DE, EN, FR_FR, IT_IT, JA_JP, NL_NL, PT_BR, TR_TR, ZH_CN, ZH_TW},
};
use indicatif::{ProgressBar, ProgressStyle};
use local::{http, settings};
use ureq::Agent;

const WORKERS: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match seed() {
        Ok(message) => {
            println!("{message}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("make seed: {message}");
            ExitCode::FAILURE
        }
    }
}

fn seed() -> Result<String, String> {
    let wanted = std::env::var("N").unwrap_or_default();
    let wanted: u64 = wanted.parse().map_err(|_| {
        format!("N={wanted} is not a number of users; write for example `make seed N=1000`")
    })?;
    let url = http::users_url(settings::port()?);
    let client = http::client(TIMEOUT);

    let started = Instant::now();
    let bar = ProgressBar::new(wanted).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} users, {eta} left")
            .expect("the template is valid"),
    );
    let taken = AtomicU64::new(0);
    let failure = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                // The workers share one counter, so that all workers together create `wanted` users.
                while taken.fetch_add(1, Ordering::Relaxed) < wanted {
                    if let Err(error) = create_one(&client, &url) {
                        // Makes the other workers stop too.
                        taken.store(wanted, Ordering::Relaxed);
                        let mut failure = failure.lock().expect("no holder panics");
                        failure.get_or_insert(error);
                        return;
                    }
                    bar.inc(1);
                }
            });
        }
    });
    let created = bar.position();
    bar.finish_and_clear();
    if let Some(error) = failure.into_inner().expect("no holder panicked") {
        return Err(format!("{error} ({created} users were created)"));
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(format!("Created {created} users in {seconds:.1} s."))
}

fn create_one(client: &Agent, url: &str) -> Result<(), String> {
    loop {
        let body = serde_json::json!({ "username": a_username() }).to_string();
        let response = client
            .post(url)
            .content_type("application/json")
            .send(&body)
            .map_err(|error| format!("{url} does not answer: {error}; is `make run` running?"))?;
        match response.status().as_u16() {
            201 => return Ok(()),
            409 | 422 => {}
            status => return Err(format!("{url} answered {status}")),
        }
    }
}

fn a_username() -> String {
    macro_rules! name {
        ($locale:expr) => {
            (
                FirstName($locale).fake::<String>(),
                LastName($locale).fake::<String>(),
            )
        };
    }
    let (first, last) = match (0..11).fake::<u8>() {
        0 => name!(AR_SA),
        1 => name!(DE_DE),
        2 => name!(FR_FR),
        3 => name!(IT_IT),
        4 => name!(JA_JP),
        5 => name!(NL_NL),
        6 => name!(PT_BR),
        7 => name!(TR_TR),
        8 => name!(ZH_CN),
        9 => name!(ZH_TW),
        _ => name!(EN),
    };
    let username = match (0..4).fake::<u8>() {
        0 => format!("{first}{last}"),
        1 => format!("{first}.{last}"),
        2 => format!("{first}_{last}"),
        _ => format!("{first}{}", (1..10_000).fake::<u16>()),
    };
    username.split_whitespace().collect()
}
