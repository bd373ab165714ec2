//! Converts users to and from table items, and defines the table's key schema.
//!
//! | attribute | type | role |
//! |---|---|---|
//! | `kind` | S | partition key, always [`KIND_USER`] |
//! | `username_key` | S | sort key: the username's key |
//! | `username` | S | the username's display form |
//! | `id` | S | the user's id, which contains the time of creation |
//! | `request` | B | the [`Fingerprint`] of the request that created the user, if the request had an Idempotency-Key |

use std::{collections::HashMap, fmt};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use sha2::{Digest, Sha256};

use crate::{
    caller::{Caller, Claim},
    user::{User, UserId, Username},
};

/// The name of the attribute with the partition key.
pub const KIND: &str = "kind";
/// The name of the attribute with the sort key.
pub const USERNAME_KEY: &str = "username_key";
/// The name of the attribute with the username's display form.
pub const USERNAME: &str = "username";
/// The name of the attribute with the user's id.
pub const ID: &str = "id";
/// The name of the attribute with the create request's fingerprint.
pub const REQUEST: &str = "request";

/// The partition key of every user. So all users form one item collection, which is sorted by `username_key`.
pub const KIND_USER: &str = "user";
/// The partition key in warm-up requests. No item ever has this key.
pub const KIND_WARM_UP: &str = "warm-up";

/// An item as the SDK represents it.
pub type Item = HashMap<String, AttributeValue>;

/// Identifies a create request, so that the function can tell a retry from a different request for the same username.
///
/// A fingerprint is the SHA-256 hash of the caller and the Idempotency-Key. The table stores only this hash, not the
/// two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Hashes the caller and the Idempotency-Key of a create request.
    #[must_use]
    pub fn new(caller: &Caller, idempotency_key: &str) -> Self {
        let mut hash = Sha256::new();
        // Without the lengths, the parts `ab` and `c` would have the same hash as `a` and `bc`.
        let mut add = |part: &str| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        if let Caller::Named {
            issuer,
            claim,
            value,
        } = caller
        {
            for Claim { text, is_string } in issuer.iter().chain([value]) {
                add(if *is_string { "string" } else { "json" });
                add(text);
            }
            add(claim);
        }
        add(idempotency_key);
        Self(hash.finalize().into())
    }
}

/// A user as the table stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredUser {
    /// The user.
    pub user: User,
    /// The fingerprint of the request that created the user, if that request had an Idempotency-Key.
    pub fingerprint: Option<Fingerprint>,
}

/// Builds the primary key of a user's item.
#[must_use]
pub fn primary_key(username_key: String) -> Item {
    HashMap::from([
        (KIND.to_owned(), AttributeValue::S(KIND_USER.to_owned())),
        (USERNAME_KEY.to_owned(), AttributeValue::S(username_key)),
    ])
}

/// Builds the item of a user.
#[must_use]
pub fn to_item(stored: &StoredUser) -> Item {
    let StoredUser { user, fingerprint } = stored;
    let mut item = primary_key(user.username.key().to_owned());
    let username = user.username.as_str().to_owned();
    item.insert(USERNAME.to_owned(), AttributeValue::S(username));
    item.insert(ID.to_owned(), AttributeValue::S(user.id.to_string()));
    if let Some(Fingerprint(bytes)) = fingerprint {
        let bytes = AttributeValue::B(Blob::new(bytes));
        item.insert(REQUEST.to_owned(), bytes);
    }
    item
}

/// Reads a user from its item.
///
/// # Errors
/// Fails if an attribute other than `request` is missing, or if an attribute has the wrong type or an invalid value. The
/// error names the attribute.
pub fn from_item(mut item: Item) -> Result<StoredUser, ItemError> {
    let mut text = |name| match item.remove(name) {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    };
    let user = user(text(USERNAME_KEY), text(USERNAME), text(ID).as_deref())?;
    let fingerprint = match item.remove(REQUEST) {
        None => None,
        Some(AttributeValue::B(blob)) => {
            let bytes = blob.into_inner().try_into();
            Some(Fingerprint(bytes.map_err(|_| ItemError(REQUEST))?))
        }
        Some(_) => return Err(ItemError(REQUEST)),
    };
    Ok(StoredUser { user, fingerprint })
}

/// Makes a user from the strings of its attributes.
///
/// # Errors
/// Fails if a string is missing, or the id is invalid. The error names the attribute.
pub fn user(
    username_key: Option<String>,
    username: Option<String>,
    id: Option<&str>,
) -> Result<User, ItemError> {
    let key = username_key.ok_or(ItemError(USERNAME_KEY))?;
    let display = username.ok_or(ItemError(USERNAME))?;
    let id = id.and_then(UserId::parse).ok_or(ItemError(ID))?;
    let username = Username::from_table(display, key);
    Ok(User { id, username })
}

/// An attribute of an item is missing or invalid. This error contains the name of the attribute but not its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemError(pub &'static str);

impl fmt::Display for ItemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "in an item of the table, the attribute `{}` is missing or invalid",
            self.0
        )
    }
}

impl std::error::Error for ItemError {}
