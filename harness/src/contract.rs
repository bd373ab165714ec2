//! Checks answers against the contract, `openapi.yaml`.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::{answer::Answer, workspace};

/// The path of the users resource.
pub const PATH: &str = "/api/users";

static CONTRACT: LazyLock<Value> = LazyLock::new(|| {
    let contract = workspace::read("openapi.yaml");
    serde_norway::from_str(&contract).expect("the contract is YAML")
});

/// The contract as JSON.
#[must_use]
pub fn contract() -> &'static Value {
    &CONTRACT
}

/// Asserts that the contract allows this answer for this method of [`PATH`].
///
/// # Panics
/// Panics if the contract does not allow the answer.
#[track_caller]
pub fn check(method: &str, answer: &Answer) {
    check_at(PATH, method, answer);
}

/// Like [`check`], but for any path.
///
/// # Panics
/// Panics if the contract does not allow the answer.
#[track_caller]
pub fn check_at(path: &str, method: &str, answer: &Answer) {
    let status = answer.status.to_string();
    let response = resolve(&CONTRACT["paths"][path][method]["responses"][&status]);
    assert!(response.is_object(), "no {status} for {method}: {answer:?}");

    let headers = response["headers"].as_object();
    let documented: HashMap<String, &'static Value> = headers
        .into_iter()
        .flatten()
        .map(|(name, header)| (name.to_ascii_lowercase(), resolve(header)))
        .collect();
    for name in answer.headers.keys() {
        let is_documented = documented.contains_key(name) || name == "content-type";
        assert!(
            is_documented,
            "the contract has no header {name} for {method} {status}"
        );
    }
    for (name, header) in &documented {
        let Some(value) = answer.header(name) else {
            let is_required = header["required"] == true;
            assert!(
                !is_required,
                "{method} {status} requires {name}: {answer:?}"
            );
            continue;
        };
        let schema = &header["schema"];
        let is_number = resolve(schema)["type"] == "integer";
        let value = match value.parse::<i64>() {
            Ok(number) if is_number => number.into(),
            _ => value.into(),
        };
        assert_valid(schema, &value);
    }

    let content = response["content"].as_object();
    let Some(media_type) = answer.header("content-type") else {
        assert!(content.is_none() && answer.body.is_empty(), "{answer:?}");
        return;
    };
    let content = content.and_then(|content| content.get(media_type));
    let content = content.unwrap_or_else(|| panic!("no {media_type} for {method} {status}"));
    assert_valid(&content["schema"], &answer.json());
}

/// Follows the `$ref` if this part of the contract is one.
///
/// # Panics
/// Panics if the reference has no target.
#[must_use]
pub fn resolve(part: &'static Value) -> &'static Value {
    let Some(reference) = part["$ref"].as_str() else {
        return part;
    };
    let pointer = reference.trim_start_matches('#');
    let target = CONTRACT.pointer(pointer);
    resolve(target.unwrap_or_else(|| panic!("the contract has no {reference}")))
}

#[track_caller]
fn assert_valid(schema: &'static Value, value: &Value) {
    /// A cache, because a test checks hundreds of answers.
    static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> =
        LazyLock::new(Mutex::default);
    let key = schema.to_string();
    let known = VALIDATORS
        .lock()
        .expect("no check panics here")
        .get(&key)
        .cloned();
    let validator = known.unwrap_or_else(|| {
        let components = &CONTRACT["components"];
        let schema = json!({ "allOf": [schema], "components": components });
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap_or_else(|error| panic!("{key}: {error}"));
        let validator = Arc::new(validator);
        let mut validators = VALIDATORS.lock().expect("no check panics here");
        validators.insert(key.clone(), Arc::clone(&validator));
        validator
    });
    if let Err(error) = validator.validate(value) {
        panic!("the contract does not allow {value}: {error}\n{key}");
    }
}
