//! Who makes a request.

use lambda_http::Request;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// The party that a request comes from. Two parties never count as one.
///
/// The API's JWT authorizer has checked the token, and its claims say who holds it. Of these claims
/// the first that is there names the caller, in this order:
///
/// 1. `sub`, the subject ([RFC 9068 §2.2](https://www.rfc-editor.org/rfc/rfc9068#section-2.2)
///    requires it in an access token);
/// 2. `client_id` ([RFC 8693 §4.3](https://www.rfc-editor.org/rfc/rfc8693#section-4.3)), `azp`
///    (`OpenID` Connect Core §2), `cid` (Okta) and `appid` (Entra ID), by which providers name the
///    client in a machine's token that has no `sub`.
///
/// A claim may be a string, a number, or an array or object that holds one. A claim that is null, a
/// boolean, blank or empty names nobody, and the next one decides. The issuer and the name of the
/// claim are part of the caller, because only they say whose names these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Whoever can reach the API: it has no authorizer, as in the local run.
    Anyone,
    /// The party that a token names.
    Named {
        /// The claim `iss`, if the token has one.
        issuer: Option<Claim>,
        /// The name of the claim that names the party.
        claim: &'static str,
        /// The value of that claim.
        value: Claim,
    },
}

impl Caller {
    /// The caller that the `authorizer` member of an event names, or `None` if it names nobody.
    pub(crate) fn of(authorizer: Option<&RawValue>) -> Option<Self> {
        let Some(authorizer) = authorizer else {
            return Some(Self::Anyone);
        };
        // An authorizer of another kind, such as IAM's, has no claims.
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

    /// How the log names the caller: by the value of the claim.
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
    /// The text of a string, or the JSON of any other value.
    pub text: String,
    /// Whether it is a string. The number 1 and the string "1" are two values.
    pub is_string: bool,
}

impl Claim {
    /// Reads a value that can name somebody.
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

/// Whether a value is, or holds, a number or a string that is not blank.
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

/// The claims that may name a caller, each as it stands: its type must not decide whether the event
/// can be read.
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

/// Who makes a request, or `None` if its token names nobody.
#[must_use]
pub fn caller(request: &Request) -> Option<&Caller> {
    request.extensions().get()
}
