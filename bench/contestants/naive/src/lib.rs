//! The start-up code of both naive functions.

use std::env;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use lambda_http::Error;
use shared::table::Table;

/// Creates the table's client in the first way that the SDK's guide shows.
///
/// # Errors
///
/// Fails if `TABLE_NAME` is not set.
pub async fn connect() -> Result<Table, Error> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    Ok(Table::new(Client::new(&config), env::var("TABLE_NAME")?))
}
