//! Serves the web page on which a person can try the service. The page and the API have different
//! origins.

use std::convert::Infallible;

use axum::{
    Router,
    extract::Request,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};

use crate::port::{self, Port};

const HTML: &str = include_str!("../page/index.html");
const STYLE: &str = include_str!("../page/page.css");
const SCRIPT: &str = include_str!("../page/page.js");

const USERS_URL: &str = "{users_url}";

/// The page's origin as browsers write it: without a path, and without the default port 80.
#[must_use]
pub fn origin(port: u16) -> String {
    match port {
        80 => "http://127.0.0.1".to_owned(),
        port => format!("http://127.0.0.1:{port}"),
    }
}

/// Serves the page, which calls the API at `users_url`.
pub async fn serve(port: Port, users_url: &str) -> Infallible {
    let number = port.number();
    let html = HTML.replace(USERS_URL, users_url);
    // The last two directives stop the script from inserting text as HTML.
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
         connect-src {users_url}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    );
    let policy: HeaderValue = policy.parse().expect("a URL of ours is ASCII");
    let file = |media_type: &'static str, text: String| {
        get(async move || ([(CONTENT_TYPE, media_type)], text))
    };
    let routes = Router::new()
        .route("/", file("text/html; charset=utf-8", html))
        .route(
            "/page.css",
            file("text/css; charset=utf-8", STYLE.to_owned()),
        )
        .route(
            "/page.js",
            file("text/javascript; charset=utf-8", SCRIPT.to_owned()),
        )
        .layer(middleware::from_fn(move |request, next| {
            answer(number, policy.clone(), request, next)
        }));
    let ended = axum::serve(port, routes).await;
    unreachable!("axum serves forever: {ended:?}")
}

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// Serves the page only at the origin `http://127.0.0.1:{number}`. Redirects requests for
/// `localhost` or `[::1]` to this origin, because the API refuses requests from pages of all other
/// origins.
async fn answer(number: u16, policy: HeaderValue, request: Request, next: Next) -> Response {
    if !port::is_asked_for(&request, number) {
        return StatusCode::MISDIRECTED_REQUEST.into_response();
    }
    let origin = origin(number);
    let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
    if host != origin.strip_prefix("http://").map(str::as_bytes) {
        return Redirect::temporary(&origin).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(
        CROSS_ORIGIN_RESOURCE_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_origin_is_written_as_browsers_write_it() {
        assert_eq!(super::origin(9001), "http://127.0.0.1:9001");
        assert_eq!(super::origin(80), "http://127.0.0.1");
    }
}
