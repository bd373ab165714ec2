//! The user, the only resource of this service.

pub mod id;
mod spelling;
pub mod username;

use serde::ser::{Serialize, SerializeStruct, Serializer};

pub use id::UserId;
pub use username::Username;

/// A user. Serde serializes a user to the JSON that the API returns: `{"id", "username", "created_at"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The permanent id, which contains the time of creation.
    pub id: UserId,
    /// The unique username. The API returns its display form.
    pub username: Username,
}

impl User {
    /// Creates a user with a new id and the current time.
    #[must_use]
    pub fn new(username: Username) -> Self {
        Self {
            id: UserId::new(),
            username,
        }
    }
}

impl Serialize for User {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut user = serializer.serialize_struct("User", 3)?;
        user.serialize_field("id", &self.id)?;
        user.serialize_field("username", self.username.as_str())?;
        user.serialize_field("created_at", &self.id.created_at())?;
        user.end()
    }
}
