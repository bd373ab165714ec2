//! Signs the requests to the table with AWS's
//! [Signature Version 4](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
//!
//! The SDK's own signer derives the day's signing key again for every request. With that signer, signing would take a
//! quarter of the processor instructions of a create request. The signer in this file keeps the day's signing key. It
//! supports only the requests that the table's client sends: a `POST` to `/`, without a query, with the body in memory.

use std::{
    fmt::{self, Write as _},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::{ConfigBag, RuntimeComponents};
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        auth::{AuthScheme, AuthSchemeEndpointConfig, AuthSchemeId, Sign},
        identity::{Identity, SharedIdentityResolver},
        orchestrator::HttpRequest,
        runtime_components::GetIdentityResolver,
    },
};
use sha2::{Digest, Sha256};

const SERVICE: &str = "dynamodb";
const DATE: &str = "x-amz-date";
const TOKEN: &str = "x-amz-security-token";

/// Signs requests to DynamoDB in one region.
#[derive(Debug)]
pub struct Signer {
    region: String,
    key: Mutex<Option<DayKey>>,
}

/// A signing key, with the day and the secret access key from which it was derived.
struct DayKey {
    day: String,
    secret: String,
    key: Vec<u8>,
}

// `Debug` hides the secret and the signing key, because they must not appear in a log.
impl fmt::Debug for DayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DayKey")
            .field("day", &self.day)
            .finish_non_exhaustive()
    }
}

/// The parts of a request that the signature covers.
#[derive(Clone, Copy, Debug)]
pub struct Signable<'a> {
    /// The header `Host`.
    pub host: &'a str,
    /// `Content-Type` and all `X-Amz-…` headers, with names in lower case. AWS refuses a request if one of its
    /// `X-Amz-…` headers is not signed. The date and the session token are not in this list, because signing adds them.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// The signature of a request, as the values of two headers. With temporary credentials, the request also needs the
/// header with the session token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The header `X-Amz-Date`.
    pub date: String,
    /// The header `Authorization`.
    pub authorization: String,
}

impl Signer {
    /// Creates a signer for this region.
    #[must_use]
    pub fn new(region: String) -> Self {
        Self {
            region,
            key: Mutex::new(None),
        }
    }

    /// Signs a request. `time` becomes the time of signing.
    #[must_use]
    pub fn sign(
        &self,
        request: Signable<'_>,
        credentials: &Credentials,
        time: SystemTime,
    ) -> Signature {
        let date = humantime::format_rfc3339_seconds(time).to_string();
        let date = date.replace(['-', ':'], "");
        let day = &date[..8];
        let Signable {
            host,
            headers,
            body,
        } = request;

        let mut headers = headers.to_vec();
        headers.extend([("host", host), (DATE, &*date)]);
        headers.extend(credentials.session_token().map(|token| (TOKEN, token)));
        headers.sort_unstable();
        let mut canonical = "POST\n/\n\n".to_owned();
        for (name, value) in &headers {
            write!(canonical, "{name}:").expect("a string accepts any text");
            // Signature Version 4 removes the spaces at both ends of a value, and replaces several spaces in a row with
            // one space.
            let mut words = value.split(' ').filter(|word| !word.is_empty());
            canonical.extend(words.next());
            for word in words {
                canonical.push(' ');
                canonical.push_str(word);
            }
            canonical.push('\n');
        }
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        writeln!(canonical, "\n{names}").expect("a string accepts any text");
        push_hash(&mut canonical, body);

        let scope = format!("{day}/{}/{SERVICE}/aws4_request", self.region);
        let mut text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n");
        push_hash(&mut text, canonical.as_bytes());
        let signature = self.authenticate(&text, day, credentials.secret_access_key(), time);
        let id = credentials.access_key_id();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        Signature {
            date,
            authorization,
        }
    }

    fn authenticate(&self, text: &str, day: &str, secret: &str, time: SystemTime) -> String {
        let mut kept = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take_if(|kept| kept.day != day || kept.secret != secret);
        let kept = kept.get_or_insert_with(|| DayKey {
            day: day.to_owned(),
            secret: secret.to_owned(),
            key: generate_signing_key(secret, time, &self.region, SERVICE)
                .as_ref()
                .to_vec(),
        });
        calculate_signature(&kept.key, text.as_bytes())
    }
}

fn push_hash(text: &mut String, bytes: &[u8]) {
    for byte in Sha256::digest(bytes) {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
}

impl Sign for Signer {
    fn sign_http_request(
        &self,
        request: &mut HttpRequest,
        identity: &Identity,
        _: AuthSchemeEndpointConfig<'_>,
        _: &RuntimeComponents,
        _: &ConfigBag,
    ) -> Result<(), BoxError> {
        let credentials: &Credentials = identity.data().ok_or("an identity without credentials")?;
        let (_, host) = request.uri().split_once("://").ok_or("a relative URL")?;
        let host = host.strip_suffix('/').unwrap_or(host).to_owned();
        let is_signed = |(name, _): &(&str, &str)| {
            *name == "content-type" || name.starts_with("x-amz-") && *name != DATE && *name != TOKEN
        };
        let headers: Vec<(&str, &str)> = request.headers().iter().filter(is_signed).collect();
        let signable = Signable {
            host: &host,
            headers: &headers,
            body: request.body().bytes().ok_or("a body that streams")?,
        };
        let Signature {
            date,
            authorization,
        } = self.sign(signable, credentials, SystemTime::now());
        let headers = request.headers_mut();
        // `try_insert` fails if a credential contains characters that a header can't hold.
        headers.try_insert("host", host)?;
        headers.try_insert(DATE, date)?;
        headers.try_insert("authorization", authorization)?;
        if let Some(token) = credentials.session_token() {
            headers.try_insert(TOKEN, token.to_owned())?;
        }
        Ok(())
    }
}

impl AuthScheme for Signer {
    fn scheme_id(&self) -> AuthSchemeId {
        AuthSchemeId::new("sigv4")
    }

    fn identity_resolver(
        &self,
        resolvers: &dyn GetIdentityResolver,
    ) -> Option<SharedIdentityResolver> {
        resolvers.identity_resolver(self.scheme_id())
    }

    fn signer(&self) -> &dyn Sign {
        self
    }
}
