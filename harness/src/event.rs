//! Real events of an HTTP API (payload format 2.0).

use lambda_http::Request;
use serde_json::{Value, json};
use shared::event::HttpApiEvent;

/// An event, as API Gateway sends it to a function.
#[derive(Clone, Debug)]
pub struct Event(Value);

impl Event {
    /// The event of a `POST /api/users` with this body.
    #[must_use]
    pub fn create(body: &str) -> Self {
        let event = include_str!("../events/create_user.json");
        let mut event = Self::from_json(event);
        event.0["body"] = body.into();
        event
    }

    /// The event of a `POST /api/users` that creates a user with this username.
    #[must_use]
    pub fn create_user(username: &str) -> Self {
        Self::create(&json!({ "username": username }).to_string())
    }

    /// The event of a `GET /api/users` with this query string. The string does not begin with `?`.
    #[must_use]
    pub fn list(query: &str) -> Self {
        let event = include_str!("../events/list_users.json");
        let mut event = Self::from_json(event);
        event.0["rawQueryString"] = query.into();
        event
    }

    fn from_json(event: &str) -> Self {
        Self(serde_json::from_str(event).expect("the event is JSON"))
    }

    /// The same event with this base64 body. API Gateway encodes every body that is not text.
    #[must_use]
    pub fn with_base64_body(mut self, base64: &str) -> Self {
        self.0["body"] = base64.into();
        self.0["isBase64Encoded"] = true.into();
        self
    }

    /// The same event with a header. `name` is in lower case, as API Gateway sends all names.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.0["headers"][name] = value.into();
        self
    }

    /// The same event without the header of this name.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        let headers = self.0["headers"].as_object_mut();
        headers.expect("an event has headers").remove(name);
        self
    }

    /// The same event with this caller in the token's claim `sub`.
    #[must_use]
    pub fn by(mut self, caller: &str) -> Self {
        self.0["requestContext"]["authorizer"]["jwt"]["claims"]["sub"] = caller.into();
        self
    }

    /// The same event with exactly these claims in the token.
    #[must_use]
    pub fn with_claims(self, claims: &Value) -> Self {
        self.with_authorizer(&json!({ "jwt": { "claims": claims, "scopes": ["users/write"] } }))
    }

    /// The same event with this `authorizer` object, which describes the caller.
    #[must_use]
    pub fn with_authorizer(mut self, authorizer: &Value) -> Self {
        self.0["requestContext"]["authorizer"] = authorizer.clone();
        self
    }

    /// The same event without an `authorizer` object, as in a local run (`make run`).
    #[must_use]
    pub fn by_nobody(mut self) -> Self {
        let context = self.0["requestContext"].as_object_mut();
        context
            .expect("an event has a context")
            .remove("authorizer");
        self
    }

    /// Converts the event to the request that the runtime passes to the handler.
    #[must_use]
    pub fn into_request(self) -> Request {
        let event = self.0.to_string();
        let event = HttpApiEvent::parse(&event);
        event.expect("an HTTP API event").into_request()
    }

    /// The event as Lambda sends it, in JSON.
    #[must_use]
    pub fn into_json(self) -> String {
        self.0.to_string()
    }
}
