//! Encodes and decodes the cursor, an opaque token that says where the next page begins.
//!
//! A cursor consists of these bytes, encoded as base64url without padding:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | the version, currently 1 |
//! | 4 | in big-endian order, the CRC-32 checksum of the version, the prefix, the byte 0xff and the key |
//! | 1 to [`Username::MAX_KEY_BYTES`] | the key of the last user on the previous page |
//!
//! The checksum shows whether a cursor is damaged or was made for another prefix. The cursor needs no signature,
//! because every caller who may list users may start at any key.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use shared::user::{Username, username::UsernamePrefix};

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
const HEADER_BYTES: usize = 1 + CHECKSUM_BYTES;

/// The maximum length of a cursor, in characters. Base64 encodes three bytes as four characters.
pub const MAX_CHARS: usize = ((HEADER_BYTES + Username::MAX_KEY_BYTES) * 4).div_ceil(3);

/// Encodes a cursor. Its page begins after `last_key` and lists only users whose keys begin with `prefix`.
#[must_use]
pub fn encode(prefix: &UsernamePrefix, last_key: &str) -> String {
    let checksum = checksum(prefix, last_key).to_be_bytes();
    URL_SAFE_NO_PAD.encode([&[VERSION], &checksum[..], last_key.as_bytes()].concat())
}

/// Decodes a cursor and returns the key after which its page begins.
///
/// # Errors
/// Fails if the cursor is not one that [`encode`] makes for this prefix.
pub fn decode(cursor: &str, prefix: &UsernamePrefix) -> Result<String, CursorError> {
    if cursor.len() > MAX_CHARS {
        return Err(CursorError);
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| CursorError)?;
    let (&version, rest) = bytes.split_first().ok_or(CursorError)?;
    let (sum, key) = rest
        .split_first_chunk::<CHECKSUM_BYTES>()
        .ok_or(CursorError)?;
    let key = str::from_utf8(key).map_err(|_| CursorError)?;
    // A client can forge the checksum, so this code also checks that the key begins with the prefix. DynamoDB rejects
    // any other start key, and the client would get a 500.
    let is_sound = version == VERSION
        && !key.is_empty()
        && key.starts_with(prefix.as_str())
        && u32::from_be_bytes(*sum) == checksum(prefix, key);
    if is_sound {
        Ok(key.to_owned())
    } else {
        Err(CursorError)
    }
}

fn checksum(prefix: &UsernamePrefix, key: &str) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[VERSION]);
    hasher.update(prefix.as_str().as_bytes());
    // UTF-8 never contains this byte, so the byte shows where the prefix ends. Without the byte, the prefix `a` with
    // the key `aaaa` would have the same checksum as the prefix `aa` with the key `aaa`.
    hasher.update(&[0xff]);
    hasher.update(key.as_bytes());
    hasher.finalize()
}

/// The error for a cursor that is damaged, was made for another prefix, or has another version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorError;

impl fmt::Display for CursorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "The cursor is invalid or was made for another prefix. Follow the Link header unchanged, \
             or start without a cursor.",
        )
    }
}

impl std::error::Error for CursorError {}
