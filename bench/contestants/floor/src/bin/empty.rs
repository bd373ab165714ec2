//! A function that does nothing. It shows the minimum cost of a call with AWS's own Rust runtime.

use std::convert::Infallible;

use lambda_http::{Body, Error, Request, Response, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(async |_: Request| {
        Ok::<_, Infallible>(Response::new(Body::Empty))
    }))
    .await
}
