//! Sends a `Query` and reads the users from its response.
//!
//! The SDK's own deserializer makes a map of each item's attributes. With it, a call for a page of 100 users takes a
//! third more CPU instructions than with this module. So this module deserializes successful responses itself. The SDK
//! still handles errors and retries.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_sdk_dynamodb::{
    config::{ConfigBag, Intercept, interceptors::BeforeSerializationInterceptorContextRef},
    error::BoxError,
    operation::query::{Query, QueryError, QueryOutput, builders::QueryFluentBuilder},
};
use aws_smithy_runtime_api::client::{
    interceptors::context::{Error, Output, OutputOrError},
    orchestrator::{HttpResponse, OrchestratorError},
    runtime_plugin::RuntimePlugin,
    ser_de::{DeserializeResponse, SharedResponseDeserializer},
};
use serde::Deserialize;
use shared::{
    item::{self, ItemError, USERNAME_KEY},
    table::TableError,
    user::User,
};

/// The response to a `Query`
/// ([AWS](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Query.html#API_Query_ResponseSyntax)).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Items {
    /// The items, in the order of their keys. DynamoDB sends this list even if it is empty.
    pub items: Vec<UserItem>,
    /// The key of the last item that DynamoDB read. `None` if DynamoDB has read all matching items.
    pub last_evaluated_key: Option<UserItem>,
}

/// The attributes that a page needs. Each item in [`Items::items`] has all three. The key in
/// [`Items::last_evaluated_key`] has only `username_key`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct UserItem {
    username_key: Text,
    username: Text,
    id: Text,
}

/// An attribute. Its text is `None` if the attribute is missing or not a string.
#[derive(Default, Deserialize)]
struct Text {
    #[serde(rename = "S")]
    text: Option<String>,
}

impl UserItem {
    /// Returns the user.
    ///
    /// # Errors
    /// Fails if an attribute is missing or not a string, or the id is not one that this service makes.
    pub fn user(self) -> Result<User, ItemError> {
        let id = self.id.text.as_deref();
        item::user(self.username_key.text, self.username.text, id)
    }

    /// Returns the username's key.
    ///
    /// # Errors
    /// Fails if the attribute is missing or not a string.
    pub fn key(self) -> Result<String, ItemError> {
        self.username_key.text.ok_or(ItemError(USERNAME_KEY))
    }
}

/// Sends a `Query` and returns the items that it found.
///
/// # Errors
/// Fails if the read failed, or the response is not from DynamoDB.
pub async fn send(query: QueryFluentBuilder) -> Result<Items, TableError> {
    let reader = Reader::default();
    let query = query.customize().interceptor(reader.clone());
    query.send().await?;
    let items = reader.items().take();
    Ok(items.expect("the SDK deserialized a successful response"))
}

/// Makes the SDK deserialize successful responses with [`read`]. The SDK can return only its own types, so the `Reader`
/// keeps the items until [`send`] takes them.
#[derive(Clone, Default)]
struct Reader(Arc<Mutex<Option<Items>>>);

impl Reader {
    fn items(&self) -> MutexGuard<'_, Option<Items>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

impl Intercept for Reader {
    fn name(&self) -> &'static str {
        "reader"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let reader = SharedResponseDeserializer::new(self.clone());
        cfg.interceptor_state().store_put(reader);
        Ok(())
    }
}

impl DeserializeResponse for Reader {
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        cfg: &ConfigBag,
    ) -> OutputOrError {
        if !response.status().is_success() {
            // Let the SDK's own deserializer read the error. `cfg` holds this reader instead of the SDK's deserializer,
            // so get the SDK's deserializer from a new configuration.
            let config = Query::new().config();
            let config = config.expect("the SDK configures each operation");
            let sdk = config.load::<SharedResponseDeserializer>();
            let sdk = sdk.expect("the configuration has a deserializer");
            return sdk.deserialize_nonstreaming_with_config(response, cfg);
        }
        let items = read(response).map_err(|error| {
            OrchestratorError::operation(Error::erase(QueryError::unhandled(error)))
        })?;
        *self.items() = Some(items);
        Ok(Output::erase(QueryOutput::builder().build()))
    }
}

/// Reads the items from the body of a successful response.
fn read(response: &HttpResponse) -> Result<Items, BoxError> {
    TableError::check_origin(response)?;
    let body = response.body().bytes().expect("the SDK has read the body");
    // One UTF-8 check of the whole body is faster than a check of each string.
    let body = str::from_utf8(body).map_err(|_| "not UTF-8")?;
    // serde's error message may quote the body, so the message here contains only the column.
    serde_json::from_str(body)
        .map_err(|error| format!("not a list of items, at column {}", error.column()).into())
}
