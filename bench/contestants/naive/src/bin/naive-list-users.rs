//! A naive `GET /api/users`.

use std::{convert::Infallible, time::Duration};

use lambda_http::{Error, run, service_fn, tracing};
use list_users::{Lister, handle};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let lister = Lister::new(naive::connect().await?, Duration::ZERO);
    run(service_fn(async |request| {
        let result = handle(&lister, request).await;
        let answer = result.unwrap_or_else(|problem| problem.into_response("unknown"));
        Ok::<_, Infallible>(answer.response)
    }))
    .await
}
