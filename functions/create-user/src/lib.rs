//! Creates a user: `POST /api/users`.

pub mod insert;
mod media_type;
pub mod request;

use lambda_http::{
    Body, Request, Response,
    http::{HeaderValue, StatusCode},
};
use shared::{
    item::StoredUser,
    problem::{Problem, ProblemType},
    response,
    table::Table,
    telemetry::{Metric, Outcome},
    user::User,
};

use crate::insert::Insertion;

/// Tells a client that its request had created the user before. Not yet a standard header; the
/// name is the one that other public APIs use.
const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";

/// Answers one request.
///
/// # Errors
/// The problem to answer instead.
pub async fn handle(table: &Table, request: Request) -> Result<Response<Body>, Problem> {
    let new_user = request::parse(&request)?;
    let stored = StoredUser {
        user: User::new(new_user.username),
        request: new_user.request,
    };
    match insert::insert(table, &stored).await? {
        Insertion::Created => Ok(created(&stored.user, Metric::UsersCreated)),
        Insertion::Replayed(user) => {
            let mut response = created(&user, Metric::CreatesReplayed);
            let replayed = HeaderValue::from_static("true");
            response.headers_mut().insert(IDEMPOTENT_REPLAYED, replayed);
            Ok(response)
        }
        Insertion::Taken => Err(Problem::new(
            ProblemType::UsernameTaken,
            "Another user has this username, or one that differs from it only in case or width. \
             Choose another one.",
        )
        .counted(Metric::Conflicts)),
    }
}

fn created(user: &User, metric: Metric) -> Response<Body> {
    let body = serde_json::to_string(user).expect("strings can be written as JSON");
    let mut response = response::json(
        StatusCode::CREATED,
        HeaderValue::from_static("no-store"),
        "application/json",
        body,
    );
    response.extensions_mut().insert(Outcome::counted(metric));
    response
}
