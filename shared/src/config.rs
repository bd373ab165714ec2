//! Reads the configuration from environment variables, once at start-up.

use std::{env, fmt, str::FromStr};

use lambda_http::http::Uri;

/// The environment variable with the name of the table.
pub const TABLE_NAME: &str = "TABLE_NAME";

const REGION: &str = "AWS_REGION";

/// The environment variables with the table's endpoint. The first one that is set replaces the region's default
/// endpoint ([AWS SDKs reference](https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html)).
const ENDPOINT_URLS: [&str; 2] = ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"];

/// An environment variable is missing or invalid, so the function can't start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The variable's name.
    pub variable: &'static str,
    /// What is wrong, as a phrase that follows the variable's name, such as "is not set".
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variable, problem } = self;
        write!(
            f,
            "{variable} {problem}; set it in the function's environment"
        )
    }
}

impl std::error::Error for ConfigError {}

/// Reads a variable that must be set.
///
/// # Errors
/// Fails if the variable is not set, is empty, or is not UTF-8.
pub fn required(variable: &'static str) -> Result<String, ConfigError> {
    let problem = match env::var(variable) {
        Ok(value) if value.is_empty() => "is empty",
        Ok(value) => return Ok(value),
        Err(env::VarError::NotPresent) => "is not set",
        Err(env::VarError::NotUnicode(_)) => "is not UTF-8",
    };
    Err(ConfigError {
        variable,
        problem: problem.to_owned(),
    })
}

/// Reads the name of the table.
///
/// # Errors
/// Fails if the variable is not set, or the name breaks DynamoDB's [naming
/// rules](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html): 3 to
/// 255 letters, digits, `_`, `-` or `.`.
pub fn table_name() -> Result<String, ConfigError> {
    let name = required(TABLE_NAME)?;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if (3..=255).contains(&name.len()) && name.bytes().all(is_allowed) {
        return Ok(name);
    }
    Err(ConfigError {
        variable: TABLE_NAME,
        problem: "is not a table name: 3 to 255 letters, digits, `_`, `-` or `.`".to_owned(),
    })
}

/// Reads the region from the variable that Lambda sets. The SDK builds the endpoint's host name from the region.
///
/// # Errors
/// Fails if the variable is not set, or its value is not valid in a host name. A valid value has 1 to 63 letters,
/// digits or `-`.
pub fn region() -> Result<String, ConfigError> {
    let region = required(REGION)?;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if region.len() <= 63 && region.bytes().all(is_allowed) {
        return Ok(region);
    }
    Err(ConfigError {
        variable: REGION,
        problem: "is not the name of a region, such as eu-central-1".to_owned(),
    })
}

/// Reads the URL of the table's endpoint from `AWS_ENDPOINT_URL_DYNAMODB` or `AWS_ENDPOINT_URL`, if one is set.
///
/// # Errors
/// Fails if the variable that takes precedence does not contain an http or https URL, or the URL has a path, a query or
/// a user.
pub fn endpoint_url() -> Result<Option<String>, ConfigError> {
    for variable in ENDPOINT_URLS {
        let Some(url) = env::var_os(variable) else {
            continue;
        };
        let url = url.into_string().unwrap_or_default();
        let uri = Uri::from_str(&url).unwrap_or_default();
        let is_root = uri.path_and_query().is_some_and(|path| path == "/");
        let has_user = uri
            .authority()
            .is_some_and(|host| host.as_str().contains('@'));
        if !matches!(uri.scheme_str(), Some("http" | "https")) || !is_root || has_user {
            return Err(ConfigError {
                variable,
                problem: "must be an http or https URL that has no path, query or user".to_owned(),
            });
        }
        return Ok(Some(url));
    }
    Ok(None)
}
