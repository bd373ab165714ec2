//! What stands in the API gateway's place: cargo-lambda has its routes, and this, in front of it, its
//! answers to the pages of other origins.

use std::{convert::Infallible, error::Error, iter, net::Ipv4Addr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
            ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, CONTENT_TYPE, EXPECT, HOST, ORIGIN, TE,
            TRAILER, TRANSFER_ENCODING, UPGRADE, VARY,
        },
    },
    response::{IntoResponse, Response},
    serve::ListenerExt,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::json;
use serde_norway::Value;
use tokio::{net::TcpListener, time::timeout};

/// The type of the resource that says what the gateway lets pages do.
const API: &str = "AWS::ApiGatewayV2::Api";

/// The headers that belong to one connection and are not passed on to the next, besides those that
/// `Connection` names (RFC 9110, section 7.6.1).
const OF_ONE_CONNECTION: [HeaderName; 8] = [
    CONNECTION,
    EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// How long a function may take, as with API Gateway (its quotas name it the maximum integration
/// timeout). cargo-lambda knows none: a function that an edit ends in the middle of a request never
/// answers it.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>
const INTEGRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// What the page of one other origin may do, as `template.yaml` has it for those that a deployment
/// lets in (CORS). Pages of all others may send nothing but what any form could, and read nothing.
#[derive(Debug)]
pub struct Cors {
    origin: HeaderValue,
    preflight: HeaderMap,
    exposed: HeaderValue,
}

impl Cors {
    /// Takes what is allowed from the template, and allows it to one origin.
    ///
    /// # Errors
    /// The template has no API that lets in pages of other origins.
    pub fn from_template(template: &str, origin: &str) -> Result<Self, String> {
        let failed = |what: &str| format!("template.yaml: {what}");
        let template: Value =
            serde_norway::from_str(template).map_err(|error| failed(&error.to_string()))?;
        let resources = template["Resources"].as_mapping().into_iter().flatten();
        let mut apis = resources.filter(|(_, resource)| resource["Type"] == API);
        // `!If [HasCors, {…}, nothing]`.
        let api = apis
            .next()
            .map(|(_, api)| &api["Properties"]["CorsConfiguration"][1]);
        let cors = api.ok_or_else(|| failed("it has no API"))?;
        let list = |name: &str| {
            let values = cors[name].as_sequence();
            let values = values.map(|values| values.iter().filter_map(Value::as_str));
            let list = values.map(|values| values.collect::<Vec<_>>().join(","));
            let list = list.and_then(|list| list.parse::<HeaderValue>().ok());
            list.ok_or_else(|| failed(&format!("the API's CorsConfiguration has no {name}")))
        };
        let age = cors["MaxAge"].as_u64();
        let age = age.ok_or_else(|| failed("the API's CorsConfiguration has no MaxAge"))?;
        Ok(Self {
            origin: origin.parse().map_err(|_| failed("no origin"))?,
            preflight: HeaderMap::from_iter([
                (ACCESS_CONTROL_ALLOW_METHODS, list("AllowMethods")?),
                (ACCESS_CONTROL_ALLOW_HEADERS, list("AllowHeaders")?),
                (ACCESS_CONTROL_MAX_AGE, age.into()),
            ]),
            exposed: list("ExposeHeaders")?,
        })
    }

    fn lets_in(&self, headers: &HeaderMap) -> bool {
        headers.get(ORIGIN) == Some(&self.origin)
    }
}

struct Gateway {
    client: Client<HttpConnector, Body>,
    port: u16,
    functions_port: u16,
    cors: Cors,
}

/// Passes requests to a port on to the functions' port, and what the functions answer back. Never
/// returns.
pub async fn serve(
    listener: TcpListener,
    port: u16,
    functions_port: u16,
    cors: Cors,
) -> Infallible {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let gateway = Gateway {
        client: Client::builder(TokioExecutor::new()).build(connector),
        port,
        functions_port,
        cors,
    };
    // A body that follows its headers must not wait until they are acknowledged.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let routes = Router::new().fallback(answer).with_state(Arc::new(gateway));
    let ended = axum::serve(listener, routes).await;
    unreachable!("axum serves for ever: {ended:?}")
}

async fn answer(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let Gateway { cors, port, .. } = &*gateway;
    if !is_for_this_machine(request.headers(), *port) {
        return refusal(StatusCode::MISDIRECTED_REQUEST);
    }
    let let_in = cors.lets_in(request.headers());
    let asks = |headers: &HeaderMap| headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let is_preflight = request.method() == Method::OPTIONS && asks(request.headers());
    let mut response = if is_preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        gateway.forward(request).await
    };
    if let_in {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, cors.origin.clone());
        headers.insert(VARY, HeaderValue::from_static("origin"));
        if is_preflight {
            headers.extend(cors.preflight.clone());
        } else {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, cors.exposed.clone());
        }
    }
    response
}

/// Whether a request is to this machine by a name of its own. A page whose name is made to lead here
/// (DNS rebinding) is of the same origin as the API for its browser, and could read all of it.
fn is_for_this_machine(headers: &HeaderMap, port: u16) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default();
    // Who asks port 80 need not say so.
    let (name, its_port) = host.split_once(':').unwrap_or((host, "80"));
    ["127.0.0.1", "localhost"].contains(&name) && its_port.parse() == Ok(port)
}

/// An answer of the gateway's own, in its words.
fn refusal(status: StatusCode) -> Response {
    let message = json!({ "message": status.canonical_reason() }).to_string();
    (status, [(CONTENT_TYPE, "application/json")], message).into_response()
}

/// Takes away what is about the connection that a message came by.
fn end_connection(headers: &mut HeaderMap) {
    let named = headers.get_all(CONNECTION).iter();
    let named = named.filter_map(|names| names.to_str().ok());
    let named = named.flat_map(|names| names.split(','));
    let named: Vec<HeaderName> = named.filter_map(|it| it.trim().parse().ok()).collect();
    for name in named.iter().chain(&OF_ONE_CONNECTION) {
        headers.remove(name);
    }
}

impl Gateway {
    async fn forward(&self, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        let authority = format!("{}:{}", Ipv4Addr::LOCALHOST, self.functions_port);
        let mut uri = Uri::builder().scheme("http").authority(authority);
        if let Some(path) = parts.uri.path_and_query() {
            uri = uri.path_and_query(path.clone());
        }
        let Ok(uri) = uri.build() else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        parts.uri = uri;
        parts.version = Version::HTTP_11;
        end_connection(&mut parts.headers);
        let call = format!("{} {}", parts.method, parts.uri.path());
        let answer = self.client.request(Request::from_parts(parts, body));
        let failure = match timeout(INTEGRATION_TIMEOUT, answer).await {
            Ok(Ok(mut response)) => {
                end_connection(response.headers_mut());
                return response.map(Body::new);
            }
            Ok(Err(error)) => {
                let causes = iter::successors(Some(&error as &dyn Error), |&error| error.source());
                let causes: Vec<_> = causes.map(ToString::to_string).collect();
                causes.join(": ")
            }
            Err(_) => format!("no answer in {} seconds", INTEGRATION_TIMEOUT.as_secs()),
        };
        // The caller is told no more than API Gateway tells.
        eprintln!("make run: {call}: {failure}");
        refusal(StatusCode::SERVICE_UNAVAILABLE)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_request_is_for_this_machine_by_its_own_names_and_port_alone() {
        let is_for = |host: &'static str, port| {
            let host = HeaderValue::from_static(host);
            is_for_this_machine(&HeaderMap::from_iter([(HOST, host)]), port)
        };
        assert!(is_for("127.0.0.1:9000", 9000));
        assert!(is_for("localhost:9000", 9000));
        assert!(is_for("127.0.0.1", 80));
        assert!(is_for("localhost", 80));
        for host in [
            "rebound.example",
            "rebound.example:9000",
            "127.0.0.1",
            "localhost",
            "127.0.0.1:9001",
            "127.0.0.1.rebound.example:9000",
            "",
        ] {
            assert!(!is_for(host, 9000), "{host}");
        }
        assert!(!is_for_this_machine(&HeaderMap::new(), 9000));
    }

    #[test]
    fn what_is_about_one_connection_is_not_passed_on_to_the_next() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Hop"),
            ("connection", "keep-alive,x-other-hop,,not a name"),
            ("expect", "100-continue"),
            ("host", "127.0.0.1:9000"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-hop", "1"),
            ("x-hop", "2"),
            ("x-other", "kept"),
            ("x-other-hop", "1"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        end_connection(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-other"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_function_that_never_answers_is_given_up_after_30_seconds() {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let template = include_str!("../../template.yaml");
        let gateway = Gateway {
            client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
            port: 9000,
            functions_port: silent.local_addr().unwrap().port(),
            cors: Cors::from_template(template, "http://127.0.0.1:9001").unwrap(),
        };
        let asked = Instant::now();
        let response = gateway.forward(Request::new(Body::empty())).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(asked.elapsed().as_secs(), 30);
    }
}
