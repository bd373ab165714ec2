//! The Lambda function behind `GET /api/users`.

use std::process::ExitCode;

use list_users::{Lister, handle};
use shared::{runtime, table::Table};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    runtime::run("GET /api/users", async || {
        let max_age = list_users::freshness::max_age()?;
        let lister = Lister::new(Table::from_env()?, max_age);
        lister.warm_up().await;
        let lister: &Lister = Box::leak(Box::new(lister));
        Ok(|request| handle(lister, request))
    })
    .await
}
