//! Draws docs/waterfall.svg: the spans of one create, whose first write is throttled. Run
//! `cargo run --locked --package tests --bin waterfall` after `cargo build --workspace`.

use std::{fmt::Write as _, fs, time::Duration};

use harness::{
    Event, Service,
    agent::{Agent, SAMPLED},
    runtime_api::{Sandbox, environment},
    wire::{Proxy, WireFault},
    workspace::{binary_of, root},
};
use local::spans::{Span, values};
use serde_json::json;

const TIMEOUT: Duration = Duration::from_secs(10);

const WIDTH: f64 = 820.0;
/// The left end of the longest bar.
const LEFT: f64 = 170.0;
/// The length of the longest bar.
const LONGEST: f64 = 520.0;
const ROW: f64 = 56.0;

#[tokio::main]
async fn main() {
    let service = Service::start();
    let proxy = Proxy::start(&service.engine().url()).await;
    let agent = Agent::start().await;
    let (url, address) = (proxy.url(), agent.address());
    let mut environment = environment(&url).to_vec();
    environment.push(("AWS_XRAY_DAEMON_ADDRESS", &*address));
    let mut create = Sandbox::start(&binary_of("create-user"), &environment).await;
    create.trace(SAMPLED);
    // The first create after the start is slower, so the picture shows the second.
    let first = create.invoke(Event::create_user("grace"), TIMEOUT).await;
    assert_eq!(first.into_answer().status, 201);
    agent.spans().await;
    let throttled = json!({ "__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException" });
    proxy.inject([WireFault::Answer("400 Bad Request", throttled.to_string())]);
    let created = create.invoke(Event::create_user("ada"), TIMEOUT).await;
    assert_eq!(created.into_answer().status, 201);
    let spans = agent.spans().await.spans;
    create.stop().await;

    let file = root().join("docs/waterfall.svg");
    fs::write(&file, draw(&spans)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    println!("{} shows the spans of this run", file.display());
}

fn draw(spans: &[Span]) -> String {
    let begun = spans[0].start_time_unix_nano;
    let all = milliseconds(begun, spans[0].end_time_unix_nano);
    let at = |time: u64| LEFT + milliseconds(begun, time) / all * LONGEST;
    let rows = f64::from(u32::try_from(spans.len()).expect("few spans"));
    let height = rows * ROW + 24.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let mut y = 20.0;
    for span in spans {
        let (from, to) = (at(span.start_time_unix_nano), at(span.end_time_unix_nano));
        let took = milliseconds(span.start_time_unix_nano, span.end_time_unix_nano);
        let attributes = values(&span.attributes);
        let status = match &attributes["http.response.status_code"] {
            serde_json::Value::Null => String::new(),
            status => format!(", {status}"),
        };
        let (name, width, text, label) = (&span.name, to - from, y + 15.0, to + 8.0);
        let _ = writeln!(
            svg,
            "<text x=\"8\" y=\"{text}\">{name}</text>\n\
             <rect x=\"{from:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"22\" fill=\"#5b8dd9\"/>\n\
             <text x=\"{label:.1}\" y=\"{text}\">{took:.1} ms{status}</text>"
        );
        for event in &span.events {
            let (x, top, bottom, below) = (at(event.time_unix_nano), y - 3.0, y + 26.0, y + 40.0);
            let told = values(&event.attributes);
            // The label is centered at the event, but stays within the picture.
            let middle = x.clamp(140.0, WIDTH - 140.0);
            let (name, error) = (&event.name, told["error.type"].as_str().unwrap_or_default());
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#c0392b\" \
                 stroke-width=\"2\"/>\n\
                 <text x=\"{middle:.1}\" y=\"{below}\" text-anchor=\"middle\" fill=\"#c0392b\">{name} \
                 after {error}, +{:.1} ms</text>",
                milliseconds(begun, event.time_unix_nano)
            );
        }
        y += ROW;
    }
    svg.push_str("</svg>\n");
    svg
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an f64 can hold the nanoseconds of a request"
)]
fn milliseconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}
