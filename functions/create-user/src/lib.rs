//! Creates a user: `POST /api/users`.

pub mod insert;
mod media_type;
pub mod request;

use lambda_http::{
    Request,
    http::{HeaderValue, StatusCode},
};
use shared::{
    item::StoredUser,
    problem::{Problem, ProblemType},
    response::{self, LoggedResponse},
    table::Table,
    telemetry::Metric,
    user::User,
};

use crate::insert::Insertion;

/// The header that marks a response as replayed: an earlier attempt of the same request created the user. The header
/// is not standardized yet, but other public APIs use the same name.
const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";

/// Handles one request.
///
/// # Errors
/// Returns the problem to send as the response.
pub async fn handle(table: &Table, request: Request) -> Result<LoggedResponse, Problem> {
    let new_user = request::parse(&request)?;
    let stored = StoredUser {
        user: User::new(new_user.username),
        fingerprint: new_user.fingerprint,
    };
    match insert::insert(table, &stored).await? {
        Insertion::Created => Ok(created(&stored.user, Metric::UsersCreated)),
        Insertion::Replayed(user) => {
            let mut answer = created(&user, Metric::CreatesReplayed);
            let replayed = HeaderValue::from_static("true");
            let headers = answer.response.headers_mut();
            headers.insert(IDEMPOTENT_REPLAYED, replayed);
            Ok(answer)
        }
        Insertion::Taken => Err(Problem::new(
            ProblemType::UsernameTaken,
            "Another user has this username, or one that differs from it only in case or width. \
             Choose another one.",
        )
        .counted(Metric::Conflicts)),
    }
}

fn created(user: &User, metric: Metric) -> LoggedResponse {
    let body = serde_json::to_string(user).expect("strings can be written as JSON");
    let response = response::json(
        StatusCode::CREATED,
        HeaderValue::from_static("no-store"),
        "application/json",
        body,
    );
    LoggedResponse::counted(response, metric)
}
