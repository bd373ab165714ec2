//! Creates responses with the headers that all responses share.

use lambda_http::{
    Body, Response,
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
};

use crate::telemetry::Metric;

/// A response, and what the request's log line says about it: the metrics and the cause.
#[derive(Debug)]
pub struct LoggedResponse {
    /// The response to the caller.
    pub response: Response<Body>,
    /// The metrics that count the request.
    pub metrics: Vec<Metric>,
    /// Why the request failed, with the whole chain of causes. The caller never sees this text.
    pub cause: Option<String>,
}

impl LoggedResponse {
    /// Combines a successful response with the metric that counts it.
    #[must_use]
    pub fn counted(response: Response<Body>, metric: Metric) -> Self {
        Self {
            response,
            metrics: vec![metric],
            cause: None,
        }
    }
}

/// Creates a response without a body.
///
/// The header `X-Content-Type-Options: nosniff` protects the body that [`json`] adds. Without it, a browser might take
/// JSON with usernames for a web page, and run a script that a username contains.
#[must_use]
pub fn empty(status: StatusCode, cache_control: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, cache_control);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Creates a response with a JSON body of the given media type.
#[must_use]
pub fn json(
    status: StatusCode,
    cache_control: HeaderValue,
    media_type: &'static str,
    body: String,
) -> Response<Body> {
    let mut response = empty(status, cache_control);
    *response.body_mut() = Body::Text(body);
    let media_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}
