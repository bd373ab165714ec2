//! The Lambda function behind `GET /api/users`.

use std::process::ExitCode;

use list_users::{Lister, freshness, handle, page};
use shared::{runtime, table::Table};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    runtime::run("GET /api/users", async || {
        let max_age = freshness::max_age()?;
        let table = Table::from_env()?;
        page::warm_up(&table).await;
        let lister: &Lister = Box::leak(Box::new(Lister::new(table, max_age)));
        Ok(|request| handle(lister, request))
    })
    .await
}
