//! Reads a page of users with a single `Query`.

use aws_sdk_dynamodb::{operation::query::builders::QueryFluentBuilder, types::AttributeValue};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lambda_http::http::HeaderValue;
use sha2::{Digest, Sha256};
use shared::{
    item::{self, KIND_USER, KIND_WARM_UP},
    table::{Table, TableError},
    user::User,
};

use crate::{
    cursor,
    items::{self, UserItem},
    request::PageRequest,
};

/// The number of hash bytes in an entity tag. With 16, two different pages practically never have the same tag.
const ETAG_BYTES: usize = 16;

/// The number of bytes that the body reserves for each user: enough for a comma and the JSON of a user whose username
/// has 28 bytes.
const USER_BYTES: usize = 128;

/// A page, ready to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The users as a JSON array.
    pub body: String,
    /// The strong entity tag, computed from `body` and `next`.
    pub etag: HeaderValue,
    /// The `Link` header to the next page. `None` on the last page.
    pub next: Option<HeaderValue>,
}

/// Reads a page in one round trip.
///
/// The `Query` requests one item more than the page holds. The extra item shows whether there is a next page, so the
/// last page does not link to an empty page.
///
/// # Errors
/// Fails if the table can't be read, or an item of the page is not a valid user.
pub async fn query(
    table: &Table,
    wanted: &PageRequest,
    consistent: bool,
) -> Result<Page, TableError> {
    let limit = usize::from(wanted.limit);
    let mut query = query_kind(table, KIND_USER)
        .limit(i32::from(wanted.limit) + 1)
        .consistent_read(consistent);
    if !wanted.prefix.as_str().is_empty() {
        let prefix = AttributeValue::S(wanted.prefix.as_str().to_owned());
        query = query
            .key_condition_expression("kind = :kind AND begins_with(username_key, :prefix)")
            .expression_attribute_values(":prefix", prefix);
    }
    if let Some(after) = &wanted.after {
        query = query.set_exclusive_start_key(Some(item::primary_key(after.clone())));
    }
    let found = items::send(query).await?;
    let has_more = found.items.len() > limit;
    let users: Vec<User> = found
        .items
        .into_iter()
        .take(limit)
        .map(UserItem::user)
        .collect::<Result<_, _>>()?;
    let next = if has_more {
        users.last().map(|user| link(wanted, user.username.key()))
    } else {
        // DynamoDB may stop before the limit, for example after 1 MB. It then returns the last key that it read.
        let stopped = found.last_evaluated_key.map(UserItem::key).transpose()?;
        stopped.map(|key| link(wanted, &key))
    };
    let mut body = Vec::with_capacity(users.len() * USER_BYTES);
    serde_json::to_writer(&mut body, &users).expect("strings can be written as JSON");
    let body = String::from_utf8(body).expect("JSON is UTF-8");
    Ok(Page {
        etag: etag(&body, next.as_ref()),
        body,
        next,
    })
}

/// Opens the connection and initializes the lazy parts of the SDK before the first request.
///
/// The warm-up sends a `Query`, because the function's role allows no other operation on the table. The `Query` is for
/// a partition key without items.
pub async fn warm_up(table: &Table) {
    let query = query_kind(table, KIND_WARM_UP).limit(1);
    shared::table::warm_up(items::send(query)).await;
}

fn query_kind(table: &Table, kind: &str) -> QueryFluentBuilder {
    table
        .client()
        .query()
        .table_name(table.name())
        .key_condition_expression("kind = :kind")
        .expression_attribute_values(":kind", AttributeValue::S(kind.to_owned()))
        .projection_expression("username_key, username, id")
}

/// Builds the `Link` header ([RFC 8288](https://www.rfc-editor.org/rfc/rfc8288)) to the page after `last_key`. The link
/// is relative to the request's URL, so that it works behind any domain and base path.
fn link(wanted: &PageRequest, last_key: &str) -> HeaderValue {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("cursor", &cursor::encode(&wanted.prefix, last_key))
        .append_pair("limit", &wanted.limit.to_string());
    if let Some(prefix) = &wanted.raw_prefix {
        query.append_pair("prefix", prefix);
    }
    let link = format!("<?{}>; rel=\"next\"", query.finish());
    HeaderValue::try_from(link).expect("percent-encoded text is a header value")
}

/// Computes the strong entity tag of a page. The tag covers the link too. If the last page is full, and
/// someone creates a user whose key comes after it, the page gets a link, but its body does not change.
fn etag(body: &str, next: Option<&HeaderValue>) -> HeaderValue {
    let mut hash = Sha256::new();
    hash.update(body);
    hash.update(next.map_or(&[][..], HeaderValue::as_bytes));
    let hash = URL_SAFE_NO_PAD.encode(&hash.finalize()[..ETAG_BYTES]);
    HeaderValue::try_from(format!("\"{hash}\"")).expect("base64 is a header value")
}
