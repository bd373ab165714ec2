//! Who makes a request.

use lambda_http::Request;

/// The `sub` claim of the token that the API's JWT authorizer checked
/// ([RFC 7519 §4.1.2](https://www.rfc-editor.org/rfc/rfc7519#section-4.1.2)), as an extension of the
/// request.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) String);

/// Who makes a request; `None` where there is no authorizer, as in the local run.
#[must_use]
pub fn caller(request: &Request) -> Option<&str> {
    let Caller(sub) = request.extensions().get()?;
    Some(sub)
}
