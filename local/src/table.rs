//! The table as `template.yaml` declares it: the one declaration there is.

use std::fmt;

use dynoxide::actions::create_table::CreateTableRequest;
use serde_json::{Map, Value};

use crate::template::Resources;

/// The type of the resource.
const TABLE: &str = "AWS::DynamoDB::Table";

/// The properties that make a table what it is. The engine gets them as they stand.
const PASSED_ON: [&str; 3] = ["AttributeDefinitions", "KeySchema", "BillingMode"];

/// The properties that only matter in an account, which the engine would refuse or ignore.
const LEFT_OUT: [&str; 7] = [
    "ContributorInsightsSpecification",
    "DeletionProtectionEnabled",
    "OnDemandThroughput",
    "PointInTimeRecoverySpecification",
    "SSESpecification",
    "StreamSpecification",
    "Tags",
];

/// Makes the request that creates the template's one table, under this name.
///
/// # Errors
/// The template is no YAML, does not declare exactly one table, or gives it a property that
/// nobody has decided about here.
pub fn create_request(template: &str, table_name: &str) -> Result<CreateTableRequest, TableError> {
    let resources = Resources::parse(template).map_err(TableError)?;
    let tables = resources.of_type(TABLE);
    let [table] = tables[..] else {
        let count = tables.len();
        return Err(TableError(format!(
            "it declares {count} tables instead of one"
        )));
    };
    let properties = table["Properties"].as_mapping();
    let mut request = Map::from_iter([("TableName".to_owned(), Value::from(table_name))]);
    for (name, value) in properties.into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        if PASSED_ON.contains(&name) {
            let value = serde_norway::from_value(value.clone());
            let value = value.map_err(|error| TableError(format!("its {name}: {error}")))?;
            request.insert(name.to_owned(), value);
        } else if !LEFT_OUT.contains(&name) {
            return Err(TableError(format!(
                "its table has the property {name}, of which the local run does not know whether \
                 to pass it on; add it to local/src/table.rs"
            )));
        }
    }
    serde_json::from_value(Value::Object(request)).map_err(|error| TableError(error.to_string()))
}

/// The template does not declare the table as the local run needs it.
#[derive(Debug)]
pub struct TableError(String);

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TableError {}
