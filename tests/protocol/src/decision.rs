//! What the create-user function decides after the condition of its write failed.

use create_user::insert::{Insertion, judge};
use shared::{caller::Caller, item::Fingerprint, user::UserId};

use crate::{Item, Protocol, State, Without};

/// What the service's [`judge`] decides. Unlike [`Insertion`], a decision contains no user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// 201.
    Created,
    /// 201 with the existing user, as a replay.
    Replayed,
    /// 409.
    Taken,
}

impl Protocol {
    /// Calls the service's [`judge`]. If the model leaves out a rule of `judge`, this method
    /// changes the two users before the call, so that the rule has no effect.
    pub(crate) fn judge(&self, state: &State, new: Item, found: Item) -> Decision {
        let mut new = self.stored(state, new);
        let mut found = self.stored(state, found);
        match self.without {
            Some(Without::OwnId) => new.user.id = UserId::new(),
            Some(Without::Fingerprint) if new.fingerprint.is_some() => {
                found.fingerprint = new.fingerprint;
            }
            Some(Without::Key) => {
                // Leaves out the rule that only a request with a key gets a replay. A user
                // has a fingerprint only if its request had a key. So this code gives users without
                // a fingerprint the fingerprint of an empty key.
                for user in [&mut new, &mut found] {
                    user.fingerprint
                        .get_or_insert_with(|| Fingerprint::new(&Caller::Anyone, ""));
                }
            }
            Some(Without::Spelling) => found.user.username = new.user.username.clone(),
            _ => {}
        }
        Decision::of(&judge(&new, found))
    }
}

impl Decision {
    fn of(insertion: &Insertion) -> Self {
        match insertion {
            Insertion::Created => Self::Created,
            Insertion::Replayed(_) => Self::Replayed,
            Insertion::Taken => Self::Taken,
        }
    }
}
