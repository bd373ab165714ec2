//! The Lambda function behind `POST /api/users`.

use std::process::ExitCode;

use create_user::{handle, insert};
use shared::{runtime, table::Table};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    runtime::run("POST /api/users", async || {
        let table: &Table = Box::leak(Box::new(Table::from_env()?));
        insert::warm_up(table).await;
        Ok(|request| handle(table, request))
    })
    .await
}
