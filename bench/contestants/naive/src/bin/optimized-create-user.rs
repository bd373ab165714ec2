//! A naive `POST /api/users` with the optimizations that the variable `OPTIMIZATIONS` names.

use std::{convert::Infallible, env, process::ExitCode};

use lambda_http::{Error, run, service_fn, tracing};
use shared::{config::ConfigError, runtime, table::Table};
use tokio::runtime::Builder;

fn main() -> Result<ExitCode, Error> {
    let optimizations = env::var("OPTIMIZATIONS").unwrap_or_default();
    let has = |name| optimizations.split(',').any(|it| it == name);
    let mut builder = if has("thread") {
        Builder::new_current_thread()
    } else {
        Builder::new_multi_thread()
    };
    builder.enable_all().build()?.block_on(async {
        let start = async || {
            let table = if has("client") {
                Table::from_env()?
            } else {
                naive::connect().await.expect("a table")
            };
            let table: &Table = Box::leak(Box::new(table));
            if has("warm-up") {
                create_user::insert::warm_up(table).await;
            }
            Ok::<_, ConfigError>(table)
        };
        if has("runtime") {
            let start = async || {
                let table = start().await?;
                Ok(move |request| create_user::handle(table, request))
            };
            return Ok(runtime::run("POST /api/users", start).await);
        }
        tracing::init_default_subscriber();
        let table = start().await?;
        run(service_fn(async |request| {
            let result = create_user::handle(table, request).await;
            let answer = result.unwrap_or_else(|problem| problem.into_response("unknown"));
            Ok::<_, Infallible>(answer.response)
        }))
        .await?;
        Ok(ExitCode::SUCCESS)
    })
}
