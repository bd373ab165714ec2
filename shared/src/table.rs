//! The table's client: endpoint, trust, timeouts, retries, and what its errors mean.

use std::{env, error::Error, fmt, fs, iter, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableCredentialsProvider,
};
use aws_sdk_dynamodb::{
    Client,
    config::{
        Builder as ConfigBuilder, SharedCredentialsProvider, StalledStreamProtectionConfig,
        interceptors::InterceptorContext,
        retry::{ClassifyRetry, RetryAction, RetryConfig},
        timeout::TimeoutConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
    operation::{RequestId, put_item::PutItemError},
    types::ThrottlingReason,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{
    config::{self, ConfigError},
    connection::Connection,
    item::ItemError,
    signing::Signer,
    telemetry::chain,
    trace::Attempts,
};

/// How long one attempt may take, the handshake included.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1200);
/// How long a request may take with all its attempts. The function's own timeout must be longer,
/// so that the caller gets an answer.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(4);
/// The first attempt and two retries: with the longest waits between them they take 3.75 s, which
/// fits into the operation's timeout.
const MAX_ATTEMPTS: u32 = 3;
/// The SDK waits a random part of this before the first retry, and of twice as much before the
/// second.
const INITIAL_BACKOFF: Duration = Duration::from_millis(50);

/// How long the warm-up may hold up start-up. The first request then finds what is ready.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// The certificates that vouch for DynamoDB's public endpoints. Reading all that the system trusts
/// would lengthen every cold start.
const AMAZON_TRUST_SERVICES: &[u8] = include_bytes!("../certificates/amazon-trust-services.pem");
/// A file of certificates to trust instead, in the AWS CLI's and SDKs' own variable.
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";
/// The credentials of the function's role, which Lambda sets itself.
const CREDENTIALS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// The table and a client for it. Cheap to share, expensive to make: make it once.
#[derive(Clone, Debug)]
pub struct Table {
    client: Client,
    name: String,
}

impl Table {
    /// The table that the environment names.
    ///
    /// # Errors
    /// A variable is missing or invalid.
    pub fn from_env() -> Result<Self, ConfigError> {
        let name = config::table_name()?;
        let region = Region::new(config::region()?);
        for variable in CREDENTIALS {
            config::required(variable)?;
        }
        let endpoint_url = config::endpoint_url()?;
        // Lambda hands the role's credentials over in the environment.
        let credentials =
            SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new());
        let mut config = sdk_config()?
            .push_auth_scheme(Signer::new(region.to_string()))
            .region(region)
            .credentials_provider(credentials);
        config.set_endpoint_url(endpoint_url);
        Ok(Self::new(Client::from_conf(config.build()), name))
    }

    /// The table of this name, through this client.
    #[must_use]
    pub fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// The client, for the function's one operation.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The client's configuration as both functions use it: everything but where the table is and with
/// which credentials it is asked.
///
/// It is made in full here rather than loaded: `aws_config::load_defaults` would look for a
/// developer's files and for services that are not there, and brings all the code that could, which
/// is a fifth of the binary.
///
/// # Errors
/// `AWS_CA_BUNDLE` names a file without valid certificates.
pub fn sdk_config() -> Result<ConfigBuilder, ConfigError> {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(INITIAL_BACKOFF);
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(Connection::new(trusted_certificates()?))
        .timeout_config(timeouts)
        .retry_config(retries)
        // An answer is at most 1 MB; the attempt's timeout bounds a stalled one.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Ok(ConfigBuilder::from(&config)
        .retry_classifier(RetryTransactionConflicts)
        .interceptor(Attempts))
}

/// Retries a write whose item somebody else's transaction holds. That passes within milliseconds, and
/// the SDK does not retry it by itself.
#[derive(Debug)]
struct RetryTransactionConflicts;

impl ClassifyRetry for RetryTransactionConflicts {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.output_or_error().and_then(Result::err);
        let error = error.and_then(|error| error.as_operation_error()?.downcast_ref());
        if error.is_some_and(PutItemError::is_transaction_conflict_exception) {
            RetryAction::transient_error()
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "transaction conflicts"
    }
}

/// The certificates to trust.
fn trusted_certificates() -> Result<RootCertStore, ConfigError> {
    let Some(path) = env::var_os(CA_BUNDLE) else {
        return Ok(roots(AMAZON_TRUST_SERVICES).expect("Amazon's certificates are valid"));
    };
    let invalid = |problem| ConfigError {
        variable: CA_BUNDLE,
        problem,
    };
    let pem = fs::read(path)
        .map_err(|error| invalid(format!("names a file that can't be read: {error}")))?;
    roots(&pem)
        .filter(|roots| !roots.is_empty())
        .ok_or_else(|| invalid("names a file that is not all valid PEM certificates".to_owned()))
}

/// The certificates in PEM, unless one is invalid.
fn roots(pem: &[u8]) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.ok()?).ok()?;
    }
    Some(roots)
}

/// Sends a request that does nothing before the first real one needs its connection, and waits
/// for it at most a second. A failure is logged and otherwise ignored: the first real
/// request will meet it, or not.
pub async fn warm_up<T, E>(request: impl Future<Output = Result<T, E>>)
where
    E: std::error::Error,
{
    match tokio::time::timeout(WARM_UP_TIMEOUT, request).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(
            cause = chain(&error),
            "the warm-up of the table's client failed"
        ),
        Err(_) => tracing::warn!("the warm-up of the table's client took too long"),
    }
}

/// Why the table did not do what it was asked, with the whole chain of causes for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableError {
    /// The table refuses more requests for now.
    Throttled {
        /// What happened.
        cause: String,
        /// Whether the limit met was that of a key range, not of the table or the account: the
        /// sign that the one item collection is too hot
        /// ([key range throttling](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/throttling-key-range-limit-exceeded-mitigation.html)).
        key_range: bool,
    },
    /// The table could not be reached in time, or failed on its side. The request may have taken
    /// effect.
    Unavailable {
        /// What happened.
        cause: String,
    },
    /// The request was refused for what it is, or the answer makes no sense: a bug, or a wrong
    /// deployment.
    Unexpected {
        /// What happened.
        cause: String,
    },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throttled { cause, .. }
            | Self::Unavailable { cause }
            | Self::Unexpected { cause } => f.write_str(cause),
        }
    }
}

impl std::error::Error for TableError {}

impl TableError {
    /// Checks that an answer comes from DynamoDB, which gives each an id. What stands between, such
    /// as a proxy that ends TLS, may answer 200 for itself, and the SDK takes an empty body for an
    /// empty result: a user as created, or a list as empty.
    ///
    /// # Errors
    /// It has no id.
    pub fn check_origin(answer: &impl RequestId) -> Result<(), Self> {
        if answer.request_id().is_some() {
            return Ok(());
        }
        Err(Self::Unavailable {
            cause: "an answer without a request id, which is not DynamoDB's".to_owned(),
        })
    }
}

impl From<ItemError> for TableError {
    fn from(error: ItemError) -> Self {
        Self::Unexpected {
            cause: error.to_string(),
        }
    }
}

impl<E> From<SdkError<E>> for TableError
where
    E: std::error::Error + ProvideErrorMetadata + ThrottlingReasons + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        let cause = chain(&error);
        match &error {
            // Nothing that makes sense came back, in all attempts.
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Self::Unavailable { cause },
            // The SDK gives a fault of the connection a kind, a certificate that is not trusted
            // included, but for an answer that is no HTTP. It gives none either to a failure to
            // resolve the endpoint or to sign: that is a wrong deployment.
            SdkError::DispatchFailure(failure)
                if failure.is_io()
                    || failure.is_timeout()
                    || failure.as_other().is_some()
                    || is_no_http(&error) =>
            {
                Self::Unavailable { cause }
            }
            SdkError::ServiceError(failure) => match failure.err().code() {
                Some(
                    "ProvisionedThroughputExceededException"
                    | "RequestLimitExceeded"
                    | "ThrottlingException",
                ) => Self::Throttled {
                    cause,
                    key_range: failure.err().key_range_throttled(),
                },
                // An answer without a code is not DynamoDB's own. The others pass: a transaction or
                // another region writes the item, or a part of the request came too late.
                None
                | Some(
                    "ReplicatedWriteConflictException"
                    | "RequestTimeoutException"
                    | "TransactionConflictException"
                    | "TransactionInProgressException",
                ) => Self::Unavailable { cause },
                Some(_) if failure.raw().status().is_server_error() => Self::Unavailable { cause },
                Some(_) => Self::Unexpected { cause },
            },
            // Building the request failed, and whatever the SDK may add.
            _ => Self::Unexpected { cause },
        }
    }
}

/// Whether what came over the connection is no HTTP: some other service's or a broken proxy's.
fn is_no_http(error: &(dyn Error + 'static)) -> bool {
    iter::successors(Some(error), |&error| error.source())
        .filter_map(|error| error.downcast_ref::<hyper::Error>())
        .any(hyper::Error::is_parse)
}

/// The reasons that DynamoDB gives for throttling, which every operation's error holds in its own
/// types.
pub trait ThrottlingReasons {
    /// The reasons, if the error is one of throttling.
    fn throttling_reasons(&self) -> &[ThrottlingReason];

    /// Whether a key range met its limit.
    fn key_range_throttled(&self) -> bool {
        let is_key_range = |reason: &ThrottlingReason| {
            let reason = reason.reason().unwrap_or_default();
            reason.ends_with("KeyRangeThroughputExceeded")
        };
        self.throttling_reasons().iter().any(is_key_range)
    }
}

/// Implements [`ThrottlingReasons`] for operation errors, whose throttling variants are alike but
/// of different types.
macro_rules! throttling_reasons {
    ($($error:ty),+) => {$(
        impl ThrottlingReasons for $error {
            fn throttling_reasons(&self) -> &[ThrottlingReason] {
                match self {
                    Self::ProvisionedThroughputExceededException(error) => error.throttling_reasons(),
                    Self::RequestLimitExceeded(error) => error.throttling_reasons(),
                    Self::ThrottlingException(error) => error.throttling_reasons(),
                    _ => &[],
                }
            }
        }
    )+};
}

throttling_reasons!(
    aws_sdk_dynamodb::operation::put_item::PutItemError,
    aws_sdk_dynamodb::operation::query::QueryError
);
