//! `make run`: runs the whole service on this machine.

use std::{
    convert::Infallible,
    env, fs,
    future::pending,
    io,
    os::unix::process::parent_id,
    path::Path,
    pin::pin,
    process::{ExitCode, ExitStatus},
    sync::Arc,
    time::Duration,
};

use local::{
    data_folder::DataFolder,
    engine::{Engine, EngineError},
    functions::{self, TABLE_NAME},
    gateway::{Api, Gateway},
    http, loopback, page, settings,
    spans::Printer,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task,
};

const PARENT_CHECK_INTERVAL: Duration = Duration::from_millis(500);

const DISK_CHECK_INTERVAL: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("make run: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let mut stop =
        pin!(stop_requested().map_err(|error| format!("can't wait for signals: {error}"))?);
    // Checks as much as possible before the slow build, so that the developer sees errors early.
    let root = env::current_dir().map_err(|error| format!("no current folder: {error}"))?;
    let template = root.join("template.yaml");
    let template = fs::read_to_string(&template).map_err(|error| {
        let template = template.display();
        format!("{template}: {error}; start this in the folder of the project, as `make run` does")
    })?;
    let port = settings::port()?;
    let page_port = settings::page_port(port)?;
    let port = settings::listen("PORT", port).await?;
    let page_port = settings::listen("PAGE_PORT", page_port).await?;
    let trace = settings::trace()?;
    functions::check_cargo_lambda()?;
    let folder = settings::data_folder().unwrap_or_else(|| root.join(".data"));
    let data = Arc::new(DataFolder::open(&folder)?);
    let page_url = page::origin(page_port.number());
    let api = Api::from_template(&template, &page_url)?;
    let access_key_id = loopback::key();
    let mut engine = start_engine(&template, &data, &access_key_id)?;
    let failed = engine.failed();

    println!("Building the functions …");
    let mut building = functions::build(&root).map_err(no_shell)?;
    let built = tokio::select! {
        () = &mut stop => None,
        status = building.ended() => Some(status.map_err(no_shell)?),
    };
    building.stop().await;
    match built {
        None => return Ok(()),
        Some(status) if status.success() => {}
        Some(_) => return Err("the functions can't be built; see the lines above".to_owned()),
    }

    println!("Starting the functions …");
    // The listener closes at once, so that cargo-lambda can use its port.
    let listener = loopback::listen();
    let address = listener.and_then(|listener| listener.local_addr());
    let address = address.map_err(no_port)?;
    let printer = if trace {
        Some(Printer::bind().await.map_err(no_port)?)
    } else {
        None
    };
    let agent = printer.as_ref().map(Printer::address).transpose();
    let agent = agent.map_err(no_port)?;
    let agent = agent.as_deref();
    let watching = functions::watch(&root, address, &engine.url(), &access_key_id, agent);
    let mut watching = watching.map_err(no_shell)?;
    let gateway = Gateway::new(api, address);
    let users_url = http::users_url(port.number());
    let serving = async {
        gateway.ready().await?;
        announce(&users_url, &page_url, data.path());
        Ok(tokio::select! {
            never = gateway.serve(port) => never,
            never = page::serve(page_port, &users_url) => never,
        })
    };
    let result = tokio::select! {
        () = &mut stop => Ok(()),
        status = watching.ended() => Err(ended(status)),
        () = engine.ended() => Err("the embedded DynamoDB ended; see the lines above".to_owned()),
        result = serving => result.map(|never: Infallible| match never {}),
        never = watch_disk(&failed, &data) => match never {},
        never = print_spans(printer.as_ref()) => match never {},
    };
    // Stops the functions before the engine, because the functions use the engine.
    watching.stop().await;
    drop(engine);
    result
}

fn start_engine(template: &str, data: &DataFolder, access_key_id: &str) -> Result<Engine, String> {
    let database = data.database();
    let failed = |error| match error {
        EngineError::Database(error) => {
            let database = database.display();
            format!(
                "{database} is not a database of this service, or is damaged: {error}; choose another \
                 folder, as in `make run DATA_DIR=/tmp/users`"
            )
        }
        error => error.to_string(),
    };
    let engine = Engine::on_file(&database, access_key_id).map_err(failed)?;
    engine
        .create_table_if_missing(template, TABLE_NAME)
        .map_err(failed)?;
    Ok(engine)
}

/// When a request fails in the embedded DynamoDB, checks whether the data folder is the cause.
async fn watch_disk(failed: &Notify, data: &Arc<DataFolder>) -> Infallible {
    loop {
        failed.notified().await;
        let Err(problem) = check(data).await else {
            continue;
        };
        eprintln!("make run: {problem}; creates get 503 until the folder is writable");
        while check(data).await.is_err() {
            tokio::time::sleep(DISK_CHECK_INTERVAL).await;
        }
        eprintln!("make run: the data folder is writable again");
    }
}

/// Checks the folder on another thread. On the current thread, the check would block the gateway.
async fn check(data: &Arc<DataFolder>) -> Result<(), String> {
    let data = Arc::clone(data);
    let checked = task::spawn_blocking(move || data.check()).await;
    checked.expect("a check does not panic")
}

fn announce(users_url: &str, page_url: &str, data: &Path) {
    let data = data.display();
    println!(
        "
The users API is ready at {users_url}
A page to try it is at {page_url}

  curl -i {users_url} -H 'Content-Type: application/json' -d '{{\"username\": \"ada\"}}'
  curl -i '{users_url}?limit=10'

The users are kept in {data}. Saving an edit rebuilds the function. Ctrl-C stops everything.
"
    );
}

/// Waits for a signal or the end of the parent process, `make`: a killed `make` sends no signal.
fn stop_requested() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let parent = parent_id();
    Ok(async move {
        let orphaned = async {
            while parent_id() == parent {
                tokio::time::sleep(PARENT_CHECK_INTERVAL).await;
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            () = orphaned => {}
        }
    })
}

async fn print_spans(printer: Option<&Printer>) -> Infallible {
    match printer {
        Some(printer) => printer.print().await,
        None => pending().await,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` needs it")]
fn no_port(error: io::Error) -> String {
    format!("no free port: {error}")
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` needs it")]
fn no_shell(error: io::Error) -> String {
    format!("the shell `sh` can't be started: {error}")
}

fn ended(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("cargo-lambda ended ({status}); see the lines above"),
        Err(error) => no_shell(error),
    }
}
