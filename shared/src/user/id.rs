//! The user's id, which also contains the time of creation.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Serialize, Serializer};
use uuid::{Uuid, Variant, fmt::Hyphenated};

/// The latest time that RFC 3339 can express, in Unix milliseconds: 9999-12-31T23:59:59.999Z. A UUID version 7 can hold
/// later times, which [`UserId::parse`] refuses.
const LAST_MILLIS: u128 = 253_402_300_799_999;

/// A UUID version 7 ([RFC 9562 §5.7](https://www.rfc-editor.org/rfc/rfc9562#section-5.7)).
///
/// The first 48 bits are the time of creation in Unix milliseconds, so the table needs no attribute for that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserId(Uuid);

impl UserId {
    /// Creates an id with the current time.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Parses a hyphenated UUID version 7 whose time is before the year 10000. Returns `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let id = text.parse::<Hyphenated>().ok()?.into_uuid();
        let is_id = id.get_version_num() == 7
            && id.get_variant() == Variant::RFC4122
            && unix_millis(id) <= LAST_MILLIS;
        is_id.then_some(Self(id))
    }

    /// Returns the time of creation, with millisecond precision.
    #[must_use]
    pub fn created_at(self) -> CreatedAt {
        let millis = u64::try_from(unix_millis(self.0)).expect("48 bits fit in 64");
        CreatedAt(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
    }
}

fn unix_millis(id: Uuid) -> u128 {
    id.as_u128() >> 80
}

impl Default for UserId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl Serialize for UserId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

/// A time of creation. `Display` writes the time in UTC as [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339) with
/// milliseconds, such as `2026-03-01T12:00:00.123Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedAt(SystemTime);

impl fmt::Display for CreatedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(self.0).fmt(f)
    }
}

impl Serialize for CreatedAt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::UserId;

    #[test]
    fn the_id_carries_its_time_of_creation_in_milliseconds() {
        // The example in RFC 9562, appendix A.6: 2022-02-22 19:22:22 UTC.
        let id = UserId::parse("017F22E2-79B0-7CC3-98C4-DC0C0C07398F").unwrap();
        assert_eq!(id.created_at().to_string(), "2022-02-22T19:22:22.000Z");
        assert_eq!(id.to_string(), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    }

    #[test]
    fn only_a_hyphenated_uuid_of_version_7_is_a_valid_id() {
        let id = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
        for text in [
            "",
            "ada",
            "919108f7-52d1-4320-9bac-f847db4148a8",
            &id.replace('-', ""),
            &format!("{{{id}}}"),
            // This UUID has version 7, but not the variant that RFC 9562 defines.
            "017f22e2-79b0-7cc3-d8c4-dc0c0c07398f",
        ] {
            assert_eq!(UserId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_id_with_a_time_after_the_year_9999_is_refused() {
        let last = UserId::parse("e677d21f-dbff-7000-8000-000000000000").unwrap();
        assert_eq!(last.created_at().to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(UserId::parse("e677d21f-dc00-7000-8000-000000000000"), None);
    }

    #[test]
    fn ids_made_in_one_process_ascend() {
        let ids: Vec<String> = (0..1000).map(|_| UserId::new().to_string()).collect();
        assert!(ids.is_sorted());
    }
}
