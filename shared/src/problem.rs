//! Renders error responses as problem documents ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
//!
//! This is the only module that maps an error to an HTTP status.

use std::borrow::Cow;

use lambda_http::http::{
    HeaderValue, StatusCode,
    header::{ACCEPT, RETRY_AFTER},
};
use serde::Serialize;

use crate::{
    response::{self, LoggedResponse},
    table::TableError,
    telemetry::Metric,
};

/// How many seconds a caller should wait before a retry if the table is busy: one, because DynamoDB refills a table's
/// throughput every second.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// The media types that `POST /api/users` accepts. A 415 response lists them
/// ([RFC 9110 §15.5.16](https://www.rfc-editor.org/rfc/rfc9110#section-15.5.16)).
const ACCEPTED: HeaderValue = HeaderValue::from_static("application/json, application/*+json");

/// The kinds of problems, each with its own `type` and title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemType {
    /// The body is not a JSON object in UTF-8, or the object has the username more than once.
    InvalidBody,
    /// The Idempotency-Key is empty, too long, wrongly quoted or repeated, or contains invalid characters.
    InvalidIdempotencyKey,
    /// The request has an Idempotency-Key, but the access token does not name a caller.
    UnknownCaller,
    /// The query string has an unknown, repeated or invalid parameter.
    InvalidQuery,
    /// Somebody has the username.
    UsernameTaken,
    /// The body exceeds the maximum size.
    BodyTooLarge,
    /// The Content-Type is missing or not JSON in UTF-8.
    UnsupportedMediaType,
    /// The JSON object in the body is not a valid user.
    InvalidUser,
    /// The table is busy, unreachable or too slow. The caller may retry.
    Unavailable,
    /// The service has a bug or is wrongly deployed, or the event is not an HTTP API event.
    InternalError,
}

impl ProblemType {
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidBody
            | Self::InvalidIdempotencyKey
            | Self::UnknownCaller
            | Self::InvalidQuery => StatusCode::BAD_REQUEST,
            Self::UsernameTaken => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidUser => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn uri(self) -> &'static str {
        match self {
            Self::InvalidBody => "urn:problem-type:users:invalid-body",
            Self::InvalidIdempotencyKey => "urn:problem-type:users:invalid-idempotency-key",
            Self::UnknownCaller => "urn:problem-type:users:unknown-caller",
            Self::InvalidQuery => "urn:problem-type:users:invalid-query",
            Self::UsernameTaken => "urn:problem-type:users:username-taken",
            Self::BodyTooLarge => "urn:problem-type:users:body-too-large",
            Self::UnsupportedMediaType => "urn:problem-type:users:unsupported-media-type",
            Self::InvalidUser => "urn:problem-type:users:invalid-user",
            Self::Unavailable => "urn:problem-type:users:unavailable",
            Self::InternalError => "urn:problem-type:users:internal-error",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::InvalidBody => "The body is not a user in JSON",
            Self::InvalidIdempotencyKey => "The Idempotency-Key is malformed",
            Self::UnknownCaller => "The access token does not name a caller",
            Self::InvalidQuery => "The query is invalid",
            Self::UsernameTaken => "The username is taken",
            Self::BodyTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The media type is not supported",
            Self::InvalidUser => "The user is invalid",
            Self::Unavailable => "The service is busy or cannot reach its table",
            Self::InternalError => "The service failed",
        }
    }

    fn header(self) -> Option<(lambda_http::http::HeaderName, HeaderValue)> {
        match self {
            Self::Unavailable => Some((RETRY_AFTER, RETRY_AFTER_SECONDS)),
            Self::UnsupportedMediaType => Some((ACCEPT, ACCEPTED)),
            Self::InvalidBody
            | Self::InvalidIdempotencyKey
            | Self::UnknownCaller
            | Self::InvalidQuery
            | Self::UsernameTaken
            | Self::BodyTooLarge
            | Self::InvalidUser
            | Self::InternalError => None,
        }
    }
}

/// A validation error: one entry in the `errors` field of a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The invalid part of the request.
    #[serde(flatten)]
    pub location: Location,
    /// A stable code, by which programs can recognize the error.
    pub code: &'static str,
    /// A sentence that explains the error to people.
    pub detail: Cow<'static, str>,
}

/// Locates the invalid part of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// A JSON pointer into the body, as a URI fragment
    /// ([RFC 6901 §6](https://www.rfc-editor.org/rfc/rfc6901#section-6)).
    Pointer(&'static str),
    /// The name of a query parameter, percent-decoded. The name of an unknown parameter is cut after 40 characters.
    Parameter(String),
}

/// A failed request: the problem for the caller, and the metrics and cause for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    kind: ProblemType,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    metrics: Vec<Metric>,
    cause: Option<String>,
}

impl Problem {
    /// Creates a problem. `detail` says what is wrong with this request and what to do about it.
    #[must_use]
    pub fn new(kind: ProblemType, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            metrics: Vec::new(),
            cause: None,
        }
    }

    /// Sets the validation errors.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// Adds a metric that counts the problem.
    #[must_use]
    pub fn counted(mut self, metric: Metric) -> Self {
        self.metrics.push(metric);
        self
    }

    /// Sets the cause. It is written to the log and never sent to the caller.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Creates the problem for a bug or a wrong deployment. The caller learns only the request's id, not the cause.
    #[must_use]
    pub fn internal_error(cause: impl Into<String>) -> Self {
        Self::new(
            ProblemType::InternalError,
            "Something failed on our side. If it happens again, report it with this problem's instance.",
        )
        .counted(Metric::InternalErrors)
        .caused_by(cause)
    }

    /// Creates the problem for an event that is not an HTTP API event.
    ///
    /// The metric `InternalErrors` does not count this problem. Otherwise a stray event, which is the sender's fault,
    /// could set off the alarm that rolls back a deployment.
    #[must_use]
    pub fn unsupported_event(cause: impl Into<String>) -> Self {
        Self::new(
            ProblemType::InternalError,
            "This function only accepts HTTP API events (payload format 2.0).",
        )
        .caused_by(cause)
    }

    /// Creates the problem for a table that is busy, unreachable or too slow.
    #[must_use]
    pub fn unavailable(cause: impl Into<String>) -> Self {
        Self::new(
            ProblemType::Unavailable,
            "Try again after the time in the Retry-After header. If this was a create, it may have \
             taken effect: repeat it with the same Idempotency-Key.",
        )
        .caused_by(cause)
    }

    /// Renders the response. `request_id` is the id that Lambda gave the request.
    #[must_use]
    pub fn into_response(self, request_id: &str) -> LoggedResponse {
        #[derive(Serialize)]
        struct Document<'a> {
            #[serde(rename = "type")]
            uri: &'static str,
            title: &'static str,
            status: u16,
            detail: &'a str,
            instance: String,
            #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
            errors: &'a [FieldError],
        }

        let status = self.kind.status();
        let document = Document {
            uri: self.kind.uri(),
            title: self.kind.title(),
            status: status.as_u16(),
            detail: &self.detail,
            instance: format!("urn:request:{request_id}"),
            errors: &self.errors,
        };
        let body = serde_json::to_string(&document).expect("strings can be written as JSON");
        let mut response = response::json(
            status,
            HeaderValue::from_static("no-store"),
            "application/problem+json",
            body,
        );
        if let Some((name, value)) = self.kind.header() {
            response.headers_mut().insert(name, value);
        }
        LoggedResponse {
            response,
            metrics: self.metrics,
            cause: self.cause,
        }
    }
}

impl From<TableError> for Problem {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Throttled { cause, key_range } => {
                let problem = Self::unavailable(cause).counted(Metric::Throttles);
                if key_range {
                    problem.counted(Metric::KeyRangeThrottles)
                } else {
                    problem
                }
            }
            TableError::Unavailable { cause } => Self::unavailable(cause),
            TableError::Unexpected { cause } => Self::internal_error(cause),
        }
    }
}
