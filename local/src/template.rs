//! `template.yaml`, as far as the local run reads it.

use serde_norway::Value;

/// The resources of a template.
pub(crate) struct Resources(Value);

impl Resources {
    /// Reads the text of a template.
    ///
    /// # Errors
    /// It is not YAML.
    pub(crate) fn parse(template: &str) -> Result<Self, String> {
        let template: Value =
            serde_norway::from_str(template).map_err(|error| error.to_string())?;
        Ok(Self(template["Resources"].clone()))
    }

    /// The resource with this logical ID; nothing if there is none.
    pub(crate) fn get(&self, id: &str) -> &Value {
        &self.0[id]
    }

    /// All resources of a type.
    pub(crate) fn of_type(&self, kind: &str) -> Vec<&Value> {
        let resources = self.0.as_mapping().into_iter().flatten();
        let resources = resources.map(|(_, resource)| resource);
        resources
            .filter(|resource| resource["Type"] == kind)
            .collect()
    }
}
