//! Identifies the caller of a request.

use lambda_http::Request;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// The caller of a request. Two different callers never compare equal.
///
/// The API's JWT authorizer has already checked the token. The first of these claims that is present names the caller:
///
/// 1. `sub`, the subject ([RFC 9068 §2.2](https://www.rfc-editor.org/rfc/rfc9068#section-2.2)
///    requires it in an access token);
/// 2. `client_id` ([RFC 8693 §4.3](https://www.rfc-editor.org/rfc/rfc8693#section-4.3)), `azp`
///    (`OpenID` Connect Core §2), `cid` (Okta), `appid` (Entra ID). They name the client in a
///    machine's token that has no `sub`.
///
/// A claim may be a string, a number, or an array or object that contains one. A claim that is null, a boolean, blank
/// or empty names nobody and is skipped. The issuer and the name of the claim are part of the caller, because a value
/// is unique only within them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Anyone who can reach the API, because it has no authorizer, as in the local run.
    Anyone,
    /// The caller that a token names.
    Named {
        /// The claim `iss`, if the token has one.
        issuer: Option<Claim>,
        /// The name of the claim that names the caller.
        claim: &'static str,
        /// The value of that claim.
        value: Claim,
    },
}

impl Caller {
    /// Reads the caller from the `authorizer` field of an event. Returns `None` if it names nobody.
    pub(crate) fn of(authorizer: Option<&RawValue>) -> Option<Self> {
        let Some(authorizer) = authorizer else {
            return Some(Self::Anyone);
        };
        // Another kind of authorizer, such as IAM's, has no claims.
        let Authorizer { jwt } = serde_json::from_str(authorizer.get()).ok()?;
        let Claims {
            iss,
            sub,
            client_id,
            azp,
            cid,
            appid,
        } = jwt.claims;
        let in_order = [
            ("sub", sub),
            ("client_id", client_id),
            ("azp", azp),
            ("cid", cid),
            ("appid", appid),
        ];
        let mut named = in_order
            .into_iter()
            .filter_map(|(claim, value)| Some((claim, Claim::read(value?)?)));
        let (claim, value) = named.next()?;
        Some(Self::Named {
            issuer: iss.and_then(Claim::read),
            claim,
            value,
        })
    }

    /// Returns the caller's name for the log: the value of the claim.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Anyone => None,
            Self::Named { value, .. } => Some(&value.text),
        }
    }
}

/// The value of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The content of a string, or the JSON of any other value.
    pub text: String,
    /// Whether the value is a string. It makes the number 1 and the string "1" differ.
    pub is_string: bool,
}

impl Claim {
    /// Reads a value. Returns `None` if it can't name anybody.
    fn read(json: &RawValue) -> Option<Self> {
        let json = json.get();
        let value: Value = serde_json::from_str(json).ok()?;
        if !names_somebody(&value) {
            return None;
        }
        Some(match value {
            Value::String(text) => Self {
                text,
                is_string: true,
            },
            _ => Self {
                text: json.to_owned(),
                is_string: false,
            },
        })
    }
}

/// Whether a value is or contains a number or a string that is not blank.
fn names_somebody(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(_) => true,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(values) => values.iter().any(names_somebody),
        Value::Object(members) => members.values().any(names_somebody),
    }
}

#[derive(Deserialize)]
struct Authorizer<'a> {
    #[serde(borrow)]
    jwt: Jwt<'a>,
}

#[derive(Deserialize)]
struct Jwt<'a> {
    #[serde(borrow)]
    claims: Claims<'a>,
}

/// The claims that may name a caller, unparsed, so that a claim of any type leaves the event valid.
#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    iss: Option<&'a RawValue>,
    #[serde(borrow)]
    sub: Option<&'a RawValue>,
    #[serde(borrow)]
    client_id: Option<&'a RawValue>,
    #[serde(borrow)]
    azp: Option<&'a RawValue>,
    #[serde(borrow)]
    cid: Option<&'a RawValue>,
    #[serde(borrow)]
    appid: Option<&'a RawValue>,
}

/// Returns the caller of a request, or `None` if its token names nobody.
#[must_use]
pub fn caller(request: &Request) -> Option<&Caller> {
    request.extensions().get()
}
