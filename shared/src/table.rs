//! Configures the client for the table (endpoint, trusted certificates, timeouts, retries) and classifies the client's
//! errors.

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

/// How long one attempt may take, including the time to connect.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1200);
/// How long a request to the table may take with all its attempts. The Lambda function's timeout must be longer, so
/// that the function can still respond.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(4);
/// The maximum number of attempts: the first attempt and two retries. If every attempt and every wait is as long
/// as possible, a request takes 3.75 s, less than [`OPERATION_TIMEOUT`].
const MAX_ATTEMPTS: u32 = 3;
/// The maximum wait before the first retry. The maximum wait before the second retry is twice as long. The SDK waits
/// for a random time up to the maximum.
const INITIAL_BACKOFF: Duration = Duration::from_millis(50);

/// How long start-up waits for the response to the warm-up request. After this time, start-up cancels the warm-up
/// request, and the first real request opens the connection.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// The root certificates of all public AWS endpoints, as
/// [Amazon Trust Services](https://www.amazontrust.com/repository/) publishes them. To compare their fingerprints with
/// that page, run `sha256sum shared/certificates/*`. Reading all certificates that the operating system trusts would
/// lengthen every cold start.
const AMAZON_TRUST_SERVICES: [&[u8]; 5] = [
    include_bytes!("../certificates/AmazonRootCA1.cer"),
    include_bytes!("../certificates/AmazonRootCA2.cer"),
    include_bytes!("../certificates/AmazonRootCA3.cer"),
    include_bytes!("../certificates/AmazonRootCA4.cer"),
    include_bytes!("../certificates/SFSRootCAG2.cer"),
];
/// The environment variable that names a file of certificates to trust instead of Amazon's. The AWS CLI and SDKs read
/// this variable too.
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";
/// The environment variables with the credentials of the function's role. Lambda sets them.
const CREDENTIALS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// A client and the name of the table. Cloning a `Table` is cheap, but creating one is expensive.
#[derive(Clone, Debug)]
pub struct Table {
    client: Client,
    name: String,
}

impl Table {
    /// Creates a client for the table that the environment variables name.
    ///
    /// # Errors
    /// Fails if a required variable is missing, or a variable is invalid.
    pub fn from_env() -> Result<Self, ConfigError> {
        let name = config::table_name()?;
        let region = Region::new(config::region()?);
        for variable in CREDENTIALS {
            config::required(variable)?;
        }
        let endpoint_url = config::endpoint_url()?;
        let credentials =
            SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new());
        let mut config = sdk_config()?
            .push_auth_scheme(Signer::new(region.to_string()))
            .region(region)
            .credentials_provider(credentials);
        config.set_endpoint_url(endpoint_url);
        Ok(Self::new(Client::from_conf(config.build()), name))
    }

    /// Creates a `Table` from a client and the table's name.
    #[must_use]
    pub fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Returns the client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the table's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Returns the client's configuration without the region, the endpoint, the credentials and the signer. Both functions
/// and the tests share it.
///
/// This function does not call `aws_config::load_defaults`, which would also search for a developer's configuration
/// files and for credential services that Lambda does not have. The code for that search would be a fifth of the
/// binary.
///
/// # Errors
/// Fails if `AWS_CA_BUNDLE` names a file that can't be read, contains no certificate or contains an invalid
/// certificate.
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
        // `ATTEMPT_TIMEOUT` also ends stalled responses.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Ok(ConfigBuilder::from(&config)
        .retry_classifier(RetryTransactionConflicts)
        .interceptor(Attempts))
}

/// Retries a write that fails because another client's transaction is writing the same item. The transaction ends
/// within milliseconds, but the SDK does not retry this error by default.
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

fn trusted_certificates() -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = env::var_os(CA_BUNDLE) else {
        for certificate in AMAZON_TRUST_SERVICES {
            let certificate = CertificateDer::from_slice(certificate);
            roots
                .add(certificate)
                .expect("Amazon's certificates are valid");
        }
        return Ok(roots);
    };
    let invalid = |problem| ConfigError {
        variable: CA_BUNDLE,
        problem,
    };
    let not_valid =
        || invalid("names a file without a certificate, or with an invalid one".to_owned());
    let pem = fs::read(path)
        .map_err(|error| invalid(format!("names a file that can't be read: {error}")))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots
            .add(certificate.map_err(|_| not_valid())?)
            .map_err(|_| not_valid())?;
    }
    if roots.is_empty() {
        return Err(not_valid());
    }
    Ok(roots)
}

/// Sends `request`, so that the first real request finds an open connection. `request` must not change the table. If it
/// fails or takes more than a second, this function only logs a warning, because the first real request may still
/// succeed.
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

/// Why a request to the table failed, with the whole chain of causes for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableError {
    /// DynamoDB throttled the request because there is too much traffic.
    Throttled {
        /// The error and its whole chain of causes.
        cause: String,
        /// `true` if the traffic reached the limit of a key range, `false` if it reached the limit of the table or the
        /// account. All users are in one item collection, so `true` means that this collection has too much traffic
        /// ([key range throttling](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/throttling-key-range-limit-exceeded-mitigation.html)).
        key_range: bool,
    },
    /// DynamoDB failed, was unreachable or did not respond in time. DynamoDB may still have executed the request.
    Unavailable {
        /// The error and its whole chain of causes.
        cause: String,
    },
    /// The SDK could not send the request, or DynamoDB rejected it or sent an item that is not a user. The cause is a
    /// bug or a wrong deployment.
    Unexpected {
        /// The error and its whole chain of causes.
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
    /// Checks that a response comes from DynamoDB, which gives each response a request id. A proxy that terminates TLS
    /// may send a 200 response of its own. Without this check, a proxy's empty response would look like a successful
    /// create, because DynamoDB's response to a create has no content. A proxy's response with an empty array `Items`
    /// would look like an empty list of users.
    ///
    /// # Errors
    /// Fails if the response has no request id.
    pub fn check_origin(answer: &impl RequestId) -> Result<(), Self> {
        if answer.request_id().is_some() {
            return Ok(());
        }
        Err(Self::Unavailable {
            cause: "a response without a request id, which DynamoDB never sends".to_owned(),
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
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Self::Unavailable { cause },
            // If the connection fails, for example because of an untrusted certificate, one of the first three
            // conditions is true. If the response is not HTTP, only `is_no_http` is true. If the SDK fails to sign the
            // request or to resolve the endpoint, no condition is true. Such a failure comes from a wrong deployment,
            // so the last arm of this match returns `Unexpected`.
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
                // A response without an error code (`None`) is not from DynamoDB or can't be read. The errors named
                // in this arm are temporary: a transaction or another region is writing the same item, or a part of the
                // request arrived too late.
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
            // The SDK could not build the request, sign it or resolve the endpoint. This arm also covers the variants
            // that a newer SDK may add to `SdkError`.
            _ => Self::Unexpected { cause },
        }
    }
}

/// Whether the error is about a response that is not HTTP. Such a response comes from another service or a broken
/// proxy.
fn is_no_http(error: &(dyn Error + 'static)) -> bool {
    iter::successors(Some(error), |&error| error.source())
        .filter_map(|error| error.downcast_ref::<hyper::Error>())
        .any(hyper::Error::is_parse)
}

/// Reads DynamoDB's reasons for throttling from an operation's error. This is a trait, because each operation has its
/// own error type.
pub trait ThrottlingReasons {
    /// Returns the reasons, or an empty slice if the error is not about throttling.
    fn throttling_reasons(&self) -> &[ThrottlingReason];

    /// Returns whether DynamoDB throttled the request because a key range reached its limit.
    fn key_range_throttled(&self) -> bool {
        let is_key_range = |reason: &ThrottlingReason| {
            let reason = reason.reason().unwrap_or_default();
            reason.ends_with("KeyRangeThroughputExceeded")
        };
        self.throttling_reasons().iter().any(is_key_range)
    }
}

/// Implements [`ThrottlingReasons`] for each operation's error type. The SDK has no trait that reads the reasons from
/// all these types. But their throttling variants have the same names, so this macro can write the same code for each
/// type.
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
