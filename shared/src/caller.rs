//! Identifies the caller of a request.

use lambda_http::Request;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// The caller of a request.
///
/// The API's JWT authorizer checks the token before the gateway calls the function. The first claim in this list that
/// has a usable value names the caller:
///
/// 1. `sub`, the subject ([RFC 9068 §2.2](https://www.rfc-editor.org/rfc/rfc9068#section-2.2)
///    requires it in an access token);
/// 2. `client_id` ([RFC 8693 §4.3](https://www.rfc-editor.org/rfc/rfc8693#section-4.3)), `azp`
///    (`OpenID` Connect Core §2), `cid` (Okta), `appid` (Entra ID).
///    A machine's token without `sub` names its client with one of these claims.
///
/// A usable value is a number, a string that is not blank, or an array or object that contains a usable value.
///
/// Two issuers, or two claims, may use one value for different callers, so the issuer and the claim's name are part of
/// a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The API has no authorizer, as in the local run.
    Anyone,
    /// The caller that a token names.
    Named {
        /// The value of the claim `iss`, if the token has this claim.
        issuer: Option<Claim>,
        /// The name of the claim that identifies the caller, such as `sub`.
        claim: &'static str,
        /// The value of the claim that identifies the caller.
        value: Claim,
    },
}

impl Caller {
    /// Reads the caller from the `authorizer` field of an event. Returns `None` if the field is present but names no
    /// caller.
    pub(crate) fn of(authorizer: Option<&RawValue>) -> Option<Self> {
        let Some(authorizer) = authorizer else {
            return Some(Self::Anyone);
        };
        // Only a JWT authorizer passes claims. For other kinds of authorizers, such as IAM, parsing fails.
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

    /// Returns the value of the claim that identifies the caller, for the log.
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
    /// The content of a JSON string, or the JSON text of any other value.
    pub text: String,
    /// Whether the value is a string. Without this field, the number 1 and the string "1" would be equal.
    pub is_string: bool,
}

impl Claim {
    /// Reads the value of a claim. Returns `None` if the value is not usable (see [`Caller`]).
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

/// Whether the value is usable (see [`Caller`]).
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

/// The issuer and the claims that may name a caller. Each value stays raw JSON, because a claim may have any type.
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

/// Returns the caller of a request, or `None` if the request's token names no caller.
#[must_use]
pub fn caller(request: &Request) -> Option<&Caller> {
    request.extensions().get()
}
