//! A naive `POST /api/users`.

use std::convert::Infallible;

use lambda_http::{Error, run, service_fn, tracing};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let table = naive::connect().await?;
    run(service_fn(async |request| {
        let result = create_user::handle(&table, request).await;
        let answer = result.unwrap_or_else(|problem| problem.into_response("unknown"));
        Ok::<_, Infallible>(answer.response)
    }))
    .await
}
