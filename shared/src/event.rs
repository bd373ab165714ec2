//! The event of an HTTP API ([payload format 2.0](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html#http-api-develop-integrations-lambda.proxy-format))
//! as a request, and an answer as what the API takes back.
//!
//! `lambda_http` has both too. It serves every kind of gateway, and panics at hosts, queries and
//! bodies that it can't read; this takes what it gets and leaves the judgement to the handlers.

use base64::{Engine, engine::general_purpose::STANDARD};
use lambda_http::{
    Body, Context, Request, RequestExt, Response,
    aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse},
    http::{Uri, uri::PathAndQuery},
    request::RequestContext,
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What a URI's query can't hold as it is ([RFC 3986 §3.4](https://www.rfc-editor.org/rfc/rfc3986#section-3.4)),
/// but for the percent sign, which begins what is encoded already.
const NOT_IN_A_QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The request that an event holds.
#[must_use]
pub fn into_request(event: ApiGatewayV2httpRequest, context: Context) -> Request {
    let body = match event.body {
        None => Body::Empty,
        Some(text) if event.is_base64_encoded => {
            // The gateway encodes what it says it has encoded. Anything else is the body itself.
            STANDARD
                .decode(&text)
                .map_or(Body::Text(text), Body::Binary)
        }
        Some(text) => Body::Text(text),
    };
    let mut request = Request::new(body);
    *request.uri_mut() = uri(event.raw_query_string.as_deref().unwrap_or_default());
    *request.headers_mut() = event.headers;
    request
        .method_mut()
        .clone_from(&event.request_context.http.method);
    request
        .with_request_context(RequestContext::ApiGatewayV2(event.request_context))
        .with_lambda_context(context)
}

/// A URI with this query. Its path is of no use: a function has one route.
fn uri(query: &str) -> Uri {
    // A `#` would end the query unnoticed.
    let plain = (!query.contains('#')).then(|| PathAndQuery::try_from(format!("/?{query}")));
    let parsed = plain.and_then(Result::ok).unwrap_or_else(|| {
        let query = utf8_percent_encode(query, NOT_IN_A_QUERY);
        // What is still too long for a URI has no meaning, and the gateway lets none of it pass.
        PathAndQuery::try_from(format!("/?{query}"))
            .unwrap_or_else(|_| PathAndQuery::from_static("/?query"))
    });
    Uri::from(parsed)
}

/// An answer as the gateway takes it.
#[must_use]
pub fn from_response(response: Response<Body>) -> ApiGatewayV2httpResponse {
    let (parts, body) = response.into_parts();
    let mut answer = ApiGatewayV2httpResponse::default();
    answer.status_code = parts.status.as_u16().into();
    answer.headers = parts.headers;
    answer.body = match body {
        Body::Empty => None,
        body => Some(body),
    };
    answer
}
