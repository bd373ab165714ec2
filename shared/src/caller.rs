//! Who makes a request.

use lambda_http::{Request, RequestExt, request::RequestContext};

/// The `sub` claim of the token that the API's JWT authorizer checked
/// ([RFC 7519 §4.1.2](https://www.rfc-editor.org/rfc/rfc7519#section-4.1.2)); `None` where there is
/// no authorizer, as in the local run.
#[must_use]
pub fn caller(request: &Request) -> Option<&str> {
    let RequestContext::ApiGatewayV2(context) = request.request_context_ref()? else {
        return None;
    };
    let jwt = context.authorizer.as_ref()?.jwt.as_ref()?;
    jwt.claims.get("sub").map(String::as_str)
}
