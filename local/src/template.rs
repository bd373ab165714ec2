//! Reads the parts of `template.yaml` that the local run needs.

use std::fmt;

use dynoxide::actions::create_table::CreateTableRequest;
use serde_json::{Map, Value as Json};
use serde_norway::Value;

pub(crate) struct Resources(Value);

impl Resources {
    pub(crate) fn parse(template: &str) -> Result<Self, String> {
        let template: Value =
            serde_norway::from_str(template).map_err(|error| error.to_string())?;
        Ok(Self(template["Resources"].clone()))
    }

    /// The resource with this logical ID, or null if there is none.
    pub(crate) fn get(&self, id: &str) -> &Value {
        &self.0[id]
    }

    pub(crate) fn of_type(&self, kind: &str) -> Vec<&Value> {
        let resources = self.0.as_mapping().into_iter().flatten();
        let resources = resources.map(|(_, resource)| resource);
        resources
            .filter(|resource| resource["Type"] == kind)
            .collect()
    }
}

const TABLE: &str = "AWS::DynamoDB::Table";

/// The table properties that the engine gets unchanged.
const PASSED_ON: [&str; 3] = ["AttributeDefinitions", "KeySchema", "BillingMode"];

/// The table properties that matter only in an AWS account. The engine would refuse or ignore them.
const LEFT_OUT: [&str; 7] = [
    "ContributorInsightsSpecification",
    "DeletionProtectionEnabled",
    "OnDemandThroughput",
    "PointInTimeRecoverySpecification",
    "SSESpecification",
    "StreamSpecification",
    "Tags",
];

/// Builds the request that creates the template's only table under the name `table_name`.
///
/// # Errors
/// Fails if the template is not YAML, does not declare exactly one table, or gives the table a property that is
/// invalid or that this module does not know.
pub fn create_table_request(
    template: &str,
    table_name: &str,
) -> Result<CreateTableRequest, TemplateError> {
    let resources = Resources::parse(template).map_err(TemplateError)?;
    let tables = resources.of_type(TABLE);
    let [table] = tables[..] else {
        let count = tables.len();
        return Err(TemplateError(format!(
            "it declares {count} tables instead of one"
        )));
    };
    let properties = table["Properties"].as_mapping();
    let mut request = Map::from_iter([("TableName".to_owned(), Json::from(table_name))]);
    for (name, value) in properties.into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        if PASSED_ON.contains(&name) {
            let value = serde_norway::from_value(value.clone());
            let value = value.map_err(|error| TemplateError(format!("its {name}: {error}")))?;
            request.insert(name.to_owned(), value);
        } else if !LEFT_OUT.contains(&name) {
            return Err(TemplateError(format!(
                "its table has the property {name}, which the local run does not know; add it to \
                 PASSED_ON or LEFT_OUT in local/src/template.rs"
            )));
        }
    }
    serde_json::from_value(Json::Object(request)).map_err(|error| TemplateError(error.to_string()))
}

/// Why the local run can't create the template's table.
#[derive(Debug)]
pub struct TemplateError(String);

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateError {}
