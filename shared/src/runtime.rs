//! The main loop of both functions. It starts the function once, then answers one event after another.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime},
};

use futures_util::FutureExt;
use lambda_http::{Request, aws_lambda_events::apigw::ApiGatewayV2httpResponse};
use lambda_runtime::{Context, LambdaEvent, service_fn};
use serde_json::value::RawValue;

use crate::{
    caller::{Caller, caller},
    config::ConfigError,
    event::{self, HttpApiEvent},
    problem::Problem,
    response::LoggedResponse,
    telemetry::{self, RequestLine},
    trace::{self, Agent},
};

/// How long before the event's deadline [`handle`] stops a slow handler. The function needs this time to send a
/// response.
const DEADLINE_MARGIN: Duration = Duration::from_millis(200);

/// Starts the function, then serves events until Lambda ends the process.
///
/// `start` does the expensive work in Lambda's INIT phase and returns the handler. If the handler panics or takes too
/// long, the function answers with a problem document, not with an error report to Lambda.
pub async fn run<S, H, F>(route: &'static str, start: S) -> ExitCode
where
    S: AsyncFnOnce() -> Result<H, ConfigError>,
    H: Fn(Request) -> F + Copy + Send + Sync + 'static,
    F: Future<Output = Result<LoggedResponse, Problem>> + Send + 'static,
{
    telemetry::init();
    let handler = match start().await {
        Ok(handler) => handler,
        Err(error) => {
            telemetry::write_fatal(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    let agent: Option<&Agent> = Agent::from_env().map(|agent| &*Box::leak(Box::new(agent)));
    let serve = service_fn(move |event| async move {
        Ok::<_, Infallible>(answer(route, handler, agent, event).await)
    });
    match lambda_runtime::run(serve).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = telemetry::chain(&*error);
            telemetry::write_fatal(&format!("Lambda's Runtime API is gone: {cause}"));
            ExitCode::FAILURE
        }
    }
}

/// Answers one event and writes a log line. If the event's trace is sampled, also sends the spans.
async fn answer<H, F>(
    route: &'static str,
    handler: H,
    agent: Option<&'static Agent>,
    event: LambdaEvent<Box<RawValue>>,
) -> ApiGatewayV2httpResponse
where
    H: Fn(Request) -> F,
    F: Future<Output = Result<LoggedResponse, Problem>>,
{
    static WARM: AtomicBool = AtomicBool::new(false);
    let cold_start = !WARM.swap(true, Ordering::Relaxed);
    let started = Instant::now();

    let LambdaEvent { payload, context } = event;
    // Despite its name, `xray_trace_id` holds the whole tracing header.
    let trace_header = context.xray_trace_id.as_deref();
    let mut recording = agent.and_then(|agent| agent.record(trace_header));
    let (result, caller) = match HttpApiEvent::parse(payload.get()) {
        Ok(event) => {
            let request = event.into_request();
            let caller = caller(&request).and_then(Caller::name);
            let caller = caller.map(ToOwned::to_owned);
            let handling = handle(handler, request, &context);
            (trace::within(&mut recording, handling).await, caller)
        }
        // The function can't read the event. The problem document tells the client why. If the function reported an
        // error to Lambda instead, the client would get a 5xx without a reason.
        Err(error) => (Err(Problem::unsupported_event(error.to_string())), None),
    };
    let LoggedResponse {
        response,
        metrics,
        cause,
    } = result.unwrap_or_else(|problem| problem.into_response(&context.request_id));

    let line = RequestLine {
        request_id: &context.request_id,
        trace_id: trace_header.and_then(trace::trace_id),
        function: &context.env_config.function_name,
        version: &context.env_config.version,
        route,
        caller: caller.as_deref(),
        status: response.status().as_u16(),
        duration: started.elapsed(),
        cold_start,
        metrics: &metrics,
        cause: cause.as_deref(),
    };
    line.write();
    if let Some(recording) = recording {
        recording.send(&context, &line);
    }
    event::from_response(response)
}

/// Runs the handler. Returns a problem if the handler panics, or if it is stopped because the event's deadline is near.
async fn handle<H, F>(
    handler: H,
    request: Request,
    context: &Context,
) -> Result<LoggedResponse, Problem>
where
    H: Fn(Request) -> F,
    F: Future<Output = Result<LoggedResponse, Problem>>,
{
    let handling = AssertUnwindSafe(async { handler(request).await }).catch_unwind();
    let result = match time_left(context) {
        Some(time) => tokio::time::timeout(time, handling).await,
        None => Ok(handling.await),
    };
    match result {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Problem::internal_error(telemetry::take_panic())),
        Err(_) => Err(Problem::unavailable("the event's deadline was near")),
    }
}

/// Returns how long the handler may run: until [`DEADLINE_MARGIN`] before the event's deadline. Returns `None`, which
/// means no limit, if the deadline is in the past. For example, cargo-lambda sends a deadline in 1970.
fn time_left(context: &Context) -> Option<Duration> {
    let left = context.deadline().duration_since(SystemTime::now()).ok()?;
    Some(left.saturating_sub(DEADLINE_MARGIN))
}
