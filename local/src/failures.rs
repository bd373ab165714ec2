//! What the embedded DynamoDB fails to do.

use std::{fmt, sync::Arc};

use tokio::sync::Notify;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt},
    util::SubscriberInitExt,
};

/// Where the engine tells of the answers that are errors.
const TARGET: &str = "dynoxide::server";

/// Notifies of each request that the engine failed at, for a reason of its own: it does not tell
/// why, nor in any other way.
///
/// # Panics
/// The process listens to its own events already.
#[must_use]
pub fn listen() -> Arc<Notify> {
    let failed = Arc::new(Notify::new());
    let listener = Listener(Arc::clone(&failed));
    tracing_subscriber::registry().with(listener).init();
    failed
}

struct Listener(Arc<Notify>);

impl<S: Subscriber> Layer<S> for Listener {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == TARGET && *metadata.level() == Level::WARN
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut status = Status::default();
        event.record(&mut status);
        if status.0.starts_with('5') {
            self.0.notify_one();
        }
    }
}

/// The status code of an answer.
#[derive(Default)]
struct Status(String);

impl Visit for Status {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "status" {
            self.0 = format!("{value:?}");
        }
    }
}
