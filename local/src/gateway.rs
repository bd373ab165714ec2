//! Stands in for API Gateway: converts each request on a route of `template.yaml` to an event, invokes
//! the route's function through cargo-lambda, and refuses all other requests. The local run has no
//! login, so the gateway also refuses requests from web pages of other origins.

use std::{
    convert::Infallible,
    error::Error,
    iter,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
            ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, ORIGIN, VARY,
        },
    },
    response::{IntoResponse, Response},
    serve::ListenerExt,
};
use http_body_util::LengthLimitError;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    event,
    port::{self, Port},
    template::Resources,
};

/// How long the gateway waits for a function: the maximum integration timeout of API Gateway.
/// cargo-lambda has no timeout. If it restarts a function after an edit, a request that waits for
/// this function would wait forever without this limit.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>
const INTEGRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause between two attempts to connect to cargo-lambda while it starts.
const PAUSE: Duration = Duration::from_millis(50);

/// The largest event that Lambda accepts in a synchronous invocation, in bytes.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const EVENT_LIMIT: usize = 6 * 1024 * 1024;

/// The largest request body that the gateway reads, in bytes. Many clients read a response only
/// after they have sent the whole body. So the gateway also reads bodies far above [`EVENT_LIMIT`]
/// to their end, and then answers 413.
const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// The header in which a browser says where a request comes from: from a page of the API's origin,
/// of the API's site or of another site, or from no page, because a person typed the address
/// ([Fetch Metadata](https://www.w3.org/TR/fetch-metadata/)). A page can neither set nor omit this
/// header.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// The API as `template.yaml` declares it.
#[derive(Debug)]
pub struct Api {
    routes: Vec<Route>,
    cors: Cors,
}

impl Api {
    /// Reads a template. Only web pages of `origin` may call the API.
    ///
    /// # Errors
    /// Fails if the template lacks the API or a CORS setting, or has a route that the local run can't serve.
    pub fn from_template(template: &str, origin: &str) -> Result<Self, String> {
        let api = Resources::parse(template).and_then(|resources| {
            let routes = resources.of_type("AWS::ApiGatewayV2::Route");
            let routes = routes.iter().map(|route| Route::of(&resources, route));
            Ok(Self {
                routes: routes.collect::<Result<_, _>>()?,
                cors: Cors::of(&resources, origin)?,
            })
        });
        api.map_err(|error| format!("template.yaml: {error}"))
    }

    /// The route of a request, and the values of its path parameters. Prefers the route with the
    /// fewest parameters, [as API Gateway
    /// does](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html#http-api-develop-routes.evaluation).
    fn route(&self, method: &Method, path: &str) -> Option<(&Route, Map<String, Value>)> {
        let routes = self.routes.iter().filter(|route| route.method == *method);
        let routes = routes.filter_map(|route| Some((route, route.parameters(path)?)));
        routes.min_by_key(|(_, parameters)| parameters.len())
    }
}

#[derive(Debug)]
struct Route {
    /// The method and the path, such as `GET /api/users`.
    key: String,
    method: Method,
    path: String,
    /// The name of the function's binary.
    function: String,
}

impl Route {
    fn of(resources: &Resources, route: &serde_norway::Value) -> Result<Self, String> {
        let properties = &route["Properties"];
        let key = properties["RouteKey"].as_str().unwrap_or_default();
        let failed = |what: &str| format!("the route `{key}` {what}");
        let known = key.split_once(' ').filter(|(method, path)| {
            *method != "ANY" && path.starts_with('/') && !path.ends_with("+}")
        });
        let (method, path) = known.ok_or_else(|| {
            failed("has no method, or its path has a wildcard; add support for such routes in local/src/gateway.rs")
        })?;
        // Follows the references from the route to the binary. For example, the route refers to
        // `integrations/${CreateUserIntegration}`. The integration refers to
        // `CreateUserFunction.Alias`. The function names the binary.
        let target = properties["Target"].as_str().unwrap_or_default();
        let integration = target.trim_start_matches("integrations/${");
        let integration = resources.get(integration.trim_end_matches('}'));
        let alias = &integration["Properties"]["IntegrationUri"];
        let function = alias.as_str().unwrap_or_default();
        let function = resources.get(function.trim_end_matches(".Alias"));
        let binary = function["Metadata"]["BuildProperties"]["Binary"].as_str();
        Ok(Self {
            key: key.to_owned(),
            method: method.parse().map_err(|_| failed("has no method"))?,
            path: path.to_owned(),
            function: binary.ok_or_else(|| failed("has no function"))?.to_owned(),
        })
    }

    /// The values of the path parameters, or `None` if the path does not match this route.
    fn parameters(&self, path: &str) -> Option<Map<String, Value>> {
        let mut parameters = Map::new();
        let mut segments = path.split('/');
        for expected in self.path.split('/') {
            let segment = segments.next()?;
            let name = expected.strip_prefix('{');
            match name.and_then(|name| name.strip_suffix('}')) {
                Some(name) if !segment.is_empty() => {
                    parameters.insert(name.to_owned(), segment.into());
                }
                None if segment == expected => {}
                _ => return None,
            }
        }
        segments.next().is_none().then_some(parameters)
    }
}

/// The CORS settings of `template.yaml`. The local run allows one origin: that of its own page. In
/// a deployment, the template's parameters name the allowed origins.
#[derive(Debug)]
struct Cors {
    origin: HeaderValue,
    preflight: HeaderMap,
    exposed: HeaderValue,
}

impl Cors {
    fn of(resources: &Resources, origin: &str) -> Result<Self, String> {
        let apis = resources.of_type("AWS::ApiGatewayV2::Api");
        // `CorsConfiguration` is `!If [HasCors, {…}, nothing]`, so index 1 holds the settings.
        let api = apis.first().ok_or("it has no API")?;
        let cors = &api["Properties"]["CorsConfiguration"][1];
        let failed = |name| format!("the API's CorsConfiguration has no {name}");
        let list = |name| {
            let values = cors[name].as_sequence();
            let values = values.map(|values| values.iter().filter_map(|value| value.as_str()));
            let list = values.map(|values| values.collect::<Vec<_>>().join(","));
            let list = list.and_then(|list| list.parse::<HeaderValue>().ok());
            list.ok_or_else(|| failed(name))
        };
        let age = cors["MaxAge"].as_u64().ok_or_else(|| failed("MaxAge"))?;
        Ok(Self {
            origin: origin.parse().map_err(|_| "no origin")?,
            preflight: HeaderMap::from_iter([
                (ACCESS_CONTROL_ALLOW_METHODS, list("AllowMethods")?),
                (ACCESS_CONTROL_ALLOW_HEADERS, list("AllowHeaders")?),
                (ACCESS_CONTROL_MAX_AGE, age.into()),
            ]),
            exposed: list("ExposeHeaders")?,
        })
    }

    fn allows(&self, headers: &HeaderMap) -> bool {
        headers.get(ORIGIN) == Some(&self.origin)
    }
}

/// The gateway in front of the functions.
#[derive(Debug)]
pub struct Gateway {
    api: Api,
    functions: SocketAddr,
    client: Client<HttpConnector, Body>,
}

impl Gateway {
    /// Creates a gateway. At the address `functions`, cargo-lambda serves Lambda's Invoke API.
    #[must_use]
    pub fn new(api: Api, functions: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            api,
            functions,
            client: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    /// Waits until every function answers: sends a request without a query or a body to each route.
    ///
    /// # Errors
    /// Fails if a function does not answer within a minute, or answers with a server error.
    pub async fn ready(&self) -> Result<(), String> {
        for Route {
            method,
            path,
            function,
            ..
        } in &self.api.routes
        {
            let ask = || {
                let request = Request::builder().method(method).uri(path);
                let request = request.body(Body::empty()).expect("a route has a path");
                self.answer(request, Ipv4Addr::LOCALHOST.into())
            };
            let mut status = ask().await.status();
            // The first request may time out, because it waits until cargo has looked for changed
            // files and has started the function.
            if status == StatusCode::SERVICE_UNAVAILABLE {
                status = ask().await.status();
            }
            if status.is_server_error() {
                let status = status.as_u16();
                return Err(format!("{function} answered {status}; see the lines above"));
            }
        }
        Ok(())
    }

    /// Serves the API.
    pub async fn serve(self, port: Port) -> Infallible {
        let number = port.number();
        // Without TCP_NODELAY, the body of a response waits until the client has acknowledged the
        // headers.
        let port = port.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let routes = Router::new()
            .fallback(answer_client)
            .with_state((Arc::new(self), number));
        let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
        let ended = axum::serve(port, routes).await;
        unreachable!("axum serves forever: {ended:?}")
    }

    /// Answers a request without checking its host. [`answer_client`] checks the host of each client's
    /// request before it calls this method.
    async fn answer(&self, request: Request, source: IpAddr) -> Response {
        if request.method() == Method::POST
            && let Some(function) = invoked(request.uri().path())
        {
            let function = function.to_owned();
            return self.answer_invocation(&function, request).await;
        }
        if !self.api.cors.allows(request.headers()) && is_from_another_page(&request) {
            return refusal(StatusCode::FORBIDDEN);
        }
        let path = decoded(request.uri().path());
        let Some((route, parameters)) = self.api.route(request.method(), &path) else {
            return refusal(StatusCode::NOT_FOUND);
        };
        let (parts, body) = request.into_parts();
        let body = match read(body).await {
            Ok(body) => body,
            Err(status) => return refusal(status),
        };
        let event = event::from_request(&route.key, &path, parameters, &parts, &body, source);
        let event = event.to_string();
        if event.len() > EVENT_LIMIT {
            return refusal(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let Some(answer) = self.call(&route.function, event.into()).await else {
            return refusal(StatusCode::SERVICE_UNAVAILABLE);
        };
        let response = event::into_response(answer.body());
        response.unwrap_or_else(|| refusal(StatusCode::INTERNAL_SERVER_ERROR))
    }

    /// Answers a request to Lambda's Invoke API, through which developers send a function their
    /// own event. Such an event can claim any caller. So no web page may use this API, not even the
    /// local run's.
    async fn answer_invocation(&self, function: &str, request: Request) -> Response {
        let headers = request.headers();
        if headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE) {
            return refusal(StatusCode::FORBIDDEN);
        }
        let invalid =
            |message| invocation_refusal(StatusCode::BAD_REQUEST, "InvalidRequest", message);
        // A function's runtime exits if it can't read a client context or an identity.
        let is_context = |name: &HeaderName| {
            name.as_str().starts_with("lambda-runtime-") || name == "x-amz-client-context"
        };
        if headers.keys().any(is_context) {
            return invalid(
                "The local run does not support a client context or an identity. Leave them out.",
            );
        }
        let invocation_type = headers.get("x-amz-invocation-type");
        if invocation_type.is_some_and(|it| it != "RequestResponse") {
            return invalid("The local run supports only the invocation type RequestResponse.");
        }
        let mut routes = self.api.routes.iter();
        if !routes.any(|route| route.function == function) {
            let names = self.api.routes.iter().map(|route| &*route.function);
            let names = names.collect::<Vec<_>>().join(", ");
            let message = format!("There is no such function. The functions are: {names}.");
            return invocation_refusal(StatusCode::NOT_FOUND, "ResourceNotFound", &message);
        }
        let event = match read(request.into_body()).await {
            Ok(event) if event.len() <= EVENT_LIMIT => event,
            Err(StatusCode::BAD_REQUEST) => {
                return invalid("The event is incomplete.");
            }
            _ => {
                let message = format!("The event is larger than {EVENT_LIMIT} bytes.");
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                return invocation_refusal(status, "RequestTooLarge", &message);
            }
        };
        let Some(answer) = self.call(function, event).await else {
            let message = "The function does not answer. The output of `make run` says why.";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return invocation_refusal(status, "ServiceUnavailable", message);
        };
        let headers = [(CONTENT_TYPE, "application/json")];
        (answer.status(), headers, answer.into_body()).into_response()
    }

    async fn call(&self, function: &str, event: Bytes) -> Option<Response<Bytes>> {
        let failure = match timeout(INTEGRATION_TIMEOUT, self.invoke(function, event)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error,
            Err(_) => format!("no answer in {} seconds", INTEGRATION_TIMEOUT.as_secs()),
        };
        // As with API Gateway, the response does not name the cause.
        eprintln!("make run: {function}: {failure}");
        None
    }

    /// Waits until cargo-lambda listens, and then invokes a function. Does not forward the client's
    /// headers, because cargo-lambda interprets some headers as its own protocol.
    async fn invoke(&self, function: &str, event: Bytes) -> Result<Response<Bytes>, String> {
        let functions = self.functions;
        let url = format!("http://{functions}/2015-03-31/functions/{function}/invocations");
        let answer = loop {
            let request = Request::post(&url).body(Body::from(event.clone()));
            let request = request.map_err(|error| causes(&error))?;
            match self.client.request(request).await {
                Err(error) if error.is_connect() => sleep(PAUSE).await,
                answer => break answer.map_err(|error| causes(&error))?,
            }
        };
        let (parts, body) = answer.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await;
        let body = body.map_err(|error| causes(&error))?;
        Ok(Response::from_parts(parts, body))
    }
}

/// Answers a client's request, and adds the CORS headers.
async fn answer_client(
    State((gateway, port)): State<(Arc<Gateway>, u16)>,
    ConnectInfo(source): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let headers = request.headers();
    if !port::is_asked_for(&request, port) {
        return refusal(StatusCode::MISDIRECTED_REQUEST);
    }
    let cors = &gateway.api.cors;
    let is_allowed = cors.allows(headers);
    let is_preflight =
        request.method() == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        gateway.answer(request, source.ip()).await
    };
    if is_allowed {
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

/// Whether a web page of another origin sends this request. Returns false for a GET whose response
/// becomes the page of a tab, for example because a person followed a link.
///
/// If the header `Sec-Fetch-Site` is missing, this function looks for `Origin` instead. Older
/// browsers send only `Origin`, and send it with every request that could change data, apart from
/// an exception that SECURITY.md names.
fn is_from_another_page(request: &Request) -> bool {
    let headers = request.headers();
    let value = |name| headers.get(name).map(HeaderValue::as_bytes);
    match value(SEC_FETCH_SITE) {
        None => headers.contains_key(ORIGIN),
        Some(b"same-origin" | b"none") => false,
        Some(_) => request.method() != Method::GET || value("sec-fetch-dest") != Some(b"document"),
    }
}

/// Reads a request's body. If this fails, returns the status with which the gateway answers.
async fn read(body: Body) -> Result<Bytes, StatusCode> {
    to_bytes(body, BODY_LIMIT).await.map_err(|error| {
        if error.into_inner().is::<LengthLimitError>() {
            StatusCode::PAYLOAD_TOO_LARGE
        } else {
            StatusCode::BAD_REQUEST
        }
    })
}

/// The function's name in a path of Lambda's Invoke API.
fn invoked(path: &str) -> Option<&str> {
    let function = path.strip_prefix("/2015-03-31/functions/")?;
    function.strip_suffix("/invocations")
}

/// The path that API Gateway compares with the routes: percent-decoded, except for `%25`.
fn decoded(path: &str) -> String {
    let path = path.replace("%25", "%2525");
    let bytes: Vec<u8> = percent_decode_str(&path).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Builds an error response in API Gateway's format.
fn refusal(status: StatusCode) -> Response {
    let message = match status {
        StatusCode::PAYLOAD_TOO_LARGE => Some("Request Entity Too Large"),
        status => status.canonical_reason(),
    };
    json_response(status, &json!({ "message": message }))
}

/// Builds an error response that `cargo lambda invoke` can display.
fn invocation_refusal(status: StatusCode, kind: &str, message: &str) -> Response {
    json_response(
        status,
        &json!({ "errorType": kind, "errorMessage": message }),
    )
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    let headers = [(CONTENT_TYPE, "application/json")];
    (status, headers, body.to_string()).into_response()
}

fn causes(error: &(dyn Error + 'static)) -> String {
    let causes = iter::successors(Some(error), |&error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, time::Instant};

    use super::*;

    fn api() -> Api {
        let template = include_str!("../../template.yaml");
        Api::from_template(template, "http://127.0.0.1:9001").unwrap()
    }

    #[test]
    fn each_route_of_the_template_leads_to_its_function() {
        let api = api();
        let mut routes = api.routes.iter();
        let mut leads = |key, function| {
            assert!(routes.any(|route| route.key == key && route.function == function));
        };
        leads("POST /api/users", "create-user");
        leads("GET /api/users", "list-users");
    }

    #[test]
    fn a_route_with_fewer_parameters_is_preferred() {
        let mut api = api();
        let route = |key: &str| Route {
            key: key.to_owned(),
            method: Method::GET,
            path: key.strip_prefix("GET ").unwrap().to_owned(),
            function: "list-users".to_owned(),
        };
        api.routes = ["GET /a/{b}/{c}", "GET /a/{b}", "GET /a/b"]
            .map(route)
            .into();
        let found = |path: &str| {
            let (route, parameters) = api.route(&Method::GET, &decoded(path))?;
            Some((&*route.key, json!(parameters).to_string()))
        };
        let is = |key, parameters: &str| Some((key, parameters.to_owned()));
        assert_eq!(found("/a/b"), is("GET /a/b", "{}"));
        assert_eq!(found("/%61/%62"), is("GET /a/b", "{}"));
        assert_eq!(found("/a/c%20d"), is("GET /a/{b}", r#"{"b":"c d"}"#));
        assert_eq!(found("/a/100%25"), is("GET /a/{b}", r#"{"b":"100%25"}"#));
        assert_eq!(found("/a/%FF"), is("GET /a/{b}", "{\"b\":\"\u{fffd}\"}"));
        let both = r#"{"b":"c","c":"d"}"#;
        assert_eq!(found("/a/c%2Fd"), is("GET /a/{b}/{c}", both));
        for path in [
            "", "*", "/", "/a", "/a/", "/a//", "//a/b", "/a/b/", "/A/b", "/a/b/c/d",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
        assert!(api.route(&Method::HEAD, "/a/b").is_none());
    }

    #[test]
    fn a_template_that_the_gateway_cannot_serve_is_refused() {
        let template = include_str!("../../template.yaml");
        for (text, by, message) in [
            (
                "RouteKey: GET /api/users",
                "RouteKey: $default",
                "has no method",
            ),
            (
                "RouteKey: GET /api/users",
                "RouteKey: ANY /api",
                "has no method",
            ),
            (
                "RouteKey: GET /api/users",
                "RouteKey: GET /{all+}",
                "has no method",
            ),
            (
                "Binary: list-users",
                "Handler: x",
                "`GET /api/users` has no function",
            ),
            ("MaxAge: 3600", "Other: 1", "has no MaxAge"),
        ] {
            assert!(template.contains(text), "{text}");
            let template = template.replace(text, by);
            let error = Api::from_template(&template, "http://127.0.0.1:9001").unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_to_a_silent_function_gets_503_after_30_seconds() {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let gateway = Gateway::new(api(), silent.local_addr().unwrap());
        let request = Request::get("/api/users").body(Body::empty()).unwrap();
        let asked = Instant::now();
        let response = gateway.answer(request, Ipv4Addr::LOCALHOST.into()).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(asked.elapsed().as_secs(), 30);
    }
}
