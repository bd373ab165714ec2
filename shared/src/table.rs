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
/// How long a request may take with all its attempts. The function's own timeout must be longer, so that the caller
/// gets an answer.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(4);
/// One attempt and two retries. With the longest waits between them, they take 3.75 s and so end before the
/// operation's timeout.
const MAX_ATTEMPTS: u32 = 3;
/// The SDK waits for a random time before each retry: up to this before the first, up to twice this before the second.
const INITIAL_BACKOFF: Duration = Duration::from_millis(50);

/// How long start-up waits for the warm-up. Then it cuts the warm-up off, and the first request does the work.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// The root certificates of all public AWS endpoints, as [Amazon Trust
/// Services](https://www.amazontrust.com/repository/) publishes them. `sha256sum shared/certificates/*` prints the
/// published fingerprints. To read all certificates that the system trusts would lengthen every cold start.
const AMAZON_TRUST_SERVICES: [&[u8]; 5] = [
    include_bytes!("../certificates/AmazonRootCA1.cer"),
    include_bytes!("../certificates/AmazonRootCA2.cer"),
    include_bytes!("../certificates/AmazonRootCA3.cer"),
    include_bytes!("../certificates/AmazonRootCA4.cer"),
    include_bytes!("../certificates/SFSRootCAG2.cer"),
];
/// The variable that names a file of certificates to trust instead. The AWS CLI and SDKs read it too.
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";
/// The variables with the credentials of the function's role. Lambda sets them.
const CREDENTIALS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// The table and a client for it. To clone it is cheap, to make it is expensive.
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
        // Lambda puts the role's credentials into the environment.
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

/// The client's configuration without the endpoint and the credentials. Both functions and the tests use it.
///
/// This code sets each value itself. `aws_config::load_defaults` would look for a developer's files and for services
/// that Lambda does not have. The code for that would be a fifth of the binary.
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
        // The attempt's timeout also ends an answer that stalls.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Ok(ConfigBuilder::from(&config)
        .retry_classifier(RetryTransactionConflicts)
        .interceptor(Attempts))
}

/// Retries a write to an item that another client's transaction holds. The transaction ends within milliseconds, but
/// the SDK does not retry this error by itself.
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
    let pem = fs::read(path)
        .map_err(|error| invalid(format!("names a file that can't be read: {error}")))?;
    let all_valid = CertificateDer::pem_slice_iter(&pem)
        .all(|certificate| certificate.is_ok_and(|certificate| roots.add(certificate).is_ok()));
    if !all_valid || roots.is_empty() {
        return Err(invalid(
            "names a file that is not all valid PEM certificates".to_owned(),
        ));
    }
    Ok(roots)
}

/// Sends a request that changes nothing, so that the first real request finds an open connection. Waits for it at most
/// a second. A failure is only logged, because the first real request may still succeed.
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
    /// The table refuses more requests for now.
    Throttled {
        /// What happened.
        cause: String,
        /// Whether a key range reached its limit, not the table or the account. If so, the item collection of all
        /// users has too much traffic
        /// ([key range throttling](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/throttling-key-range-limit-exceeded-mitigation.html)).
        key_range: bool,
    },
    /// The table did not answer in time, or failed. The request may have taken effect.
    Unavailable {
        /// What happened.
        cause: String,
    },
    /// The table rejected the request as invalid, or its answer is invalid. The cause is a bug or a wrong deployment.
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
    /// Checks that an answer comes from DynamoDB, which gives each answer an id. A proxy that ends TLS may answer 200
    /// by itself. The SDK reads an empty body as an empty result, so that a user would seem created, or a list empty.
    ///
    /// # Errors
    /// The answer has no id.
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
            // No attempt got a valid answer.
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Self::Unavailable { cause },
            // Every fault of the connection has a kind, even an untrusted certificate, except an answer that is not
            // HTTP. A failure to resolve the endpoint or to sign has no kind either, but comes from a wrong deployment.
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
                // An answer without a code is not from DynamoDB. The other errors are temporary: a transaction or
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
            // The request could not be built. The SDK may also add variants.
            _ => Self::Unexpected { cause },
        }
    }
}

/// Whether the answer is not HTTP, because another service or a broken proxy sent it.
fn is_no_http(error: &(dyn Error + 'static)) -> bool {
    iter::successors(Some(error), |&error| error.source())
        .filter_map(|error| error.downcast_ref::<hyper::Error>())
        .any(hyper::Error::is_parse)
}

/// Reads DynamoDB's reasons for throttling. The error of each operation has them in types of its own.
pub trait ThrottlingReasons {
    /// The reasons. Empty if the error is not about throttling.
    fn throttling_reasons(&self) -> &[ThrottlingReason];

    /// Whether a key range reached its limit.
    fn key_range_throttled(&self) -> bool {
        let is_key_range = |reason: &ThrottlingReason| {
            let reason = reason.reason().unwrap_or_default();
            reason.ends_with("KeyRangeThroughputExceeded")
        };
        self.throttling_reasons().iter().any(is_key_range)
    }
}

/// Implements [`ThrottlingReasons`] for the errors of operations. Their variants for throttling look alike but have
/// different types.
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
