//! Tests that the contract, the template and the code agree.

use std::{collections::BTreeSet, time::Duration};

use harness::{
    Answer, Event, Service,
    contract::{PATH, contract, resolve},
    service::{ACCESS_KEY_ID, connect, get, post, unreachable},
    workspace::read,
};
use list_users::{Lister, cursor};
use local::engine::Engine;
use serde_json::{Value, json};
use shared::{
    table::OPERATION_TIMEOUT,
    user::{UserId, Username, username::UsernamePrefix},
};

/// The name and the route of each function, and the only DynamoDB action that the function may call.
const FUNCTIONS: &[(&str, &str, &str)] = &[
    ("create-user", "POST /api/users", "dynamodb:PutItem"),
    ("list-users", "GET /api/users", "dynamodb:Query"),
];

#[test]
fn the_contract_has_the_version_of_the_code() {
    assert_eq!(contract()["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_contract_has_exactly_the_routes_of_the_functions() {
    let mut routes = BTreeSet::new();
    for (path, operations) in contract()["paths"].as_object().expect("paths") {
        for method in operations.as_object().expect("operations").keys() {
            if !matches!(method.as_str(), "summary" | "description" | "parameters") {
                routes.insert(format!("{} {path}", method.to_ascii_uppercase()));
            }
        }
    }
    let expected = FUNCTIONS.iter().map(|(_, route, _)| (*route).to_owned());
    assert_eq!(routes, expected.collect());
}

#[test]
fn the_template_has_exactly_the_routes_of_the_functions() {
    let routes: BTreeSet<(String, String)> = resources("AWS::ApiGatewayV2::Route")
        .iter()
        .map(|(_, route)| {
            let target = text(&route["Target"]);
            let integration = target.trim_start_matches("integrations/${");
            let integration = resource(integration.trim_end_matches('}'));
            let alias = text(&integration["Properties"]["IntegrationUri"]);
            (binary_behind(&alias), text(&route["RouteKey"]))
        })
        .collect();
    assert_eq!(routes, expected_routes());
}

#[test]
fn every_route_has_the_authorizer_a_rate_limit_and_the_scope_in_the_contract() {
    let stages = resources("AWS::ApiGatewayV2::Stage");
    let [(_, stage)] = &stages[..] else {
        panic!("expected one stage: {stages:?}");
    };
    let limits = stage["RouteSettings"].as_object().expect("settings");
    let routes = resources("AWS::ApiGatewayV2::Route");
    assert_eq!(limits.len(), routes.len());
    for (_, route) in routes {
        let key = text(&route["RouteKey"]);
        assert_eq!(route["AuthorizationType"], "JWT", "{key}");
        assert_eq!(route["AuthorizerId"], "Authorizer", "{key}");
        let (method, path) = key.split_once(' ').expect("a method and a path");
        let operation = &contract()["paths"][path][method.to_ascii_lowercase()];
        let scopes = &operation["security"][0]["oauth2"];
        assert_eq!(&route["AuthorizationScopes"], scopes, "{key}");
        for limit in ["ThrottlingRateLimit", "ThrottlingBurstLimit"] {
            assert!(limits[&key][limit].is_string(), "{key} has {limit}");
        }
    }
}

#[test]
fn cors_allows_exactly_the_methods_of_the_routes() {
    // `template()` turns `!If [HasCors, {…}, nothing]` into a list. Its item 1 is the
    // configuration.
    let (_, api) = &resources("AWS::ApiGatewayV2::Api")[0];
    let cors = &api["CorsConfiguration"][1];
    let methods = cors["AllowMethods"].as_array().expect("methods");
    let methods: BTreeSet<String> = methods.iter().map(text).collect();
    let of_routes = FUNCTIONS.iter().map(|(_, route, _)| {
        let (method, _) = route.split_once(' ').expect("a method and a path");
        method.to_owned()
    });
    assert_eq!(methods, of_routes.collect());
}

#[test]
fn a_function_can_be_invoked_only_by_its_own_route() {
    let permissions: BTreeSet<(String, String)> = resources("AWS::Lambda::Permission")
        .iter()
        .map(|(_, permission)| {
            assert_eq!(permission["Principal"], "apigateway.amazonaws.com");
            let arn = text(&permission["SourceArn"]);
            let (_, route) = arn.split_once("${Api}/$default/").expect("an API");
            let alias = text(&permission["FunctionName"]);
            (binary_behind(&alias), route.to_owned())
        })
        .collect();
    let expected = expected_routes().into_iter().map(|(function, route)| {
        // A permission has `*` in place of a path parameter.
        let segments = route.split('/').map(|segment| match segment {
            parameter if parameter.starts_with('{') => "*",
            segment => segment.trim_end(),
        });
        (function, segments.collect::<Vec<_>>().join("/"))
    });
    assert_eq!(permissions, expected.collect());
}

#[test]
fn each_function_may_call_exactly_one_dynamodb_action() {
    for function in functions() {
        let binary = text(&function["Metadata"]["BuildProperties"]["Binary"]);
        let known = FUNCTIONS
            .iter()
            .find(|(function, _, _)| *function == binary);
        let (_, _, action) = known.unwrap_or_else(|| panic!("{binary} is not in FUNCTIONS"));
        let log_group = text(&function["Properties"]["LoggingConfig"]["LogGroup"]);
        assert_eq!(
            resource(&log_group)["Properties"]["LogGroupName"],
            format!("/aws/lambda/${{AWS::StackName}}-{binary}")
        );
        // SAM adds no policies to the role.
        assert_eq!(function["Properties"]["Policies"], Value::Null);
        let role = text(&function["Properties"]["Role"]);
        let role = resource(role.strip_suffix(".Arn").expect("a role"));
        assert_eq!(role["Properties"]["ManagedPolicyArns"], Value::Null);
        let policies = role["Properties"]["Policies"].as_array().expect("policies");
        assert_eq!(policies.len(), 1, "{binary}");
        let statements = &policies[0]["PolicyDocument"]["Statement"];
        assert_eq!(
            statements,
            &json!([
                {
                    "Effect": "Allow",
                    "Action": action,
                    "Resource": [
                        "UsersTable.Arn",
                        "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:\
                         table/${AWS::StackName}-restored-*",
                    ],
                },
                {
                    "Effect": "Allow",
                    "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                    "Resource": format!("{log_group}.Arn"),
                },
                {
                    "Effect": "Allow",
                    "Action": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"],
                    "Resource": "*",
                },
                {
                    "Effect": "Allow",
                    "Action": "kms:Decrypt",
                    "Resource": "arn:${AWS::Partition}:kms:${AWS::Region}:*:key/*",
                    "Condition": {
                        "StringEquals": {
                            "kms:ViaService": "dynamodb.${AWS::Region}.${AWS::URLSuffix}",
                        },
                    },
                },
            ]),
            "{binary}"
        );
    }
}

#[test]
fn the_contract_has_the_limits_of_the_code() {
    let list = &contract()["paths"][PATH]["get"]["parameters"];
    let parameters = list.as_array().expect("parameters").iter().map(resolve);
    let schema = |name: &str| {
        let mut parameters = parameters.clone();
        let parameter = parameters.find(|parameter| parameter["name"] == name);
        resolve(&parameter.unwrap_or_else(|| panic!("no parameter {name}"))["schema"])
    };
    assert_eq!(schema("limit")["minimum"], 1);
    assert_eq!(schema("limit")["maximum"], list_users::request::MAX_LIMIT);
    assert_eq!(
        schema("limit")["default"],
        list_users::request::DEFAULT_LIMIT
    );
    assert_eq!(schema("prefix")["maxLength"], Username::MAX_CHARS);
    assert_eq!(schema("cursor")["maxLength"], list_users::cursor::MAX_CHARS);
    for schema in ["NewUser", "User"] {
        let user = &contract()["components"]["schemas"][schema]["properties"]["username"];
        assert_eq!(resolve(user)["maxLength"], Username::MAX_CHARS);
    }
    let body = &contract()["components"]["requestBodies"]["NewUser"]["description"];
    assert_eq!(create_user::request::MAX_BODY_BYTES, 16_384);
    assert!(text(body).contains("(16,384 bytes)"));
    let key = &contract()["components"]["parameters"]["IdempotencyKey"]["schema"]["pattern"];
    let longest = format!("{{1,{}}}", create_user::request::MAX_IDEMPOTENCY_KEY_CHARS);
    assert!(text(key).contains(&longest));
    let faults = &contract()["components"]["schemas"]["InvalidQueryProblem"]["allOf"][1];
    let faults = &faults["properties"]["errors"];
    assert_eq!(faults["maxItems"], list_users::request::MAX_ERRORS);
}

#[test]
fn the_template_has_the_limits_of_the_code() {
    let template = template();
    let timeout = template["Globals"]["Function"]["Timeout"]
        .as_u64()
        .expect("seconds");
    // The timeout also covers the start, in which the warm-up may take a second.
    assert!(Duration::from_secs(timeout) > OPERATION_TIMEOUT + Duration::from_secs(2));
    let max_age = &template["Parameters"]["ListMaxAgeSeconds"];
    assert_eq!(max_age["MinValue"], 0);
    assert_eq!(max_age["MaxValue"], list_users::freshness::MAX_SECONDS);
}

#[tokio::test]
async fn the_problems_in_the_contract_are_what_the_service_answers() {
    let service = Service::start();
    service.create("ada").await;
    let create = |body: &str| service.post(Event::create(body));
    // The base64 of {"username": "ad\xff"}.
    let not_utf_8 = Event::create("").with_base64_body("eyJ1c2VybmFtZSI6ICJhZP8ifQ==");
    let large = json!({ "username": "ada", "note": "x".repeat(20_480 - 28) }).to_string();
    let malformed_key = Event::create_user("grace").with_header("idempotency-key", "one two");
    let by_no_one = Event::create_user("grace")
        .with_header("idempotency-key", "one")
        .with_claims(&json!({}));
    let form = Event::create("username=grace")
        .with_header("content-type", "application/x-www-form-urlencoded");
    let long_prefix = format!("prefix={}&limit=ten", "a".repeat(81));
    let empty = Engine::in_memory(ACCESS_KEY_ID).unwrap();
    let without_table = Lister::new(connect(&empty.url()), Duration::ZERO);
    let (_socket, nowhere) = unreachable();
    let unreachable = connect(&nowhere);

    let answers: Vec<(&str, Answer)> = vec![
        ("BodyEmpty", create("").await),
        ("BodyNotUtf8", service.post(not_utf_8).await),
        ("BodyNotJson", create(r#"{"username":}"#).await),
        ("BodyNotAnObject", create(r#"["grace"]"#).await),
        (
            "BodyUsernameTwice",
            create(r#"{"username":"a","username":"b"}"#).await,
        ),
        ("BodyTooLarge", create(&large).await),
        ("IdempotencyKeyMalformed", service.post(malformed_key).await),
        ("CallerUnknown", service.post(by_no_one).await),
        ("UnsupportedMediaType", service.post(form).await),
        ("UsernameMissing", create("{}").await),
        ("UsernameNotAString", create(r#"{"username":1}"#).await),
        ("UsernameEmpty", service.create("").await),
        ("UsernameTooLong", service.create(&"a".repeat(81)).await),
        (
            "UsernameDisallowedCharacter",
            service.create("ada lovelace").await,
        ),
        ("UsernameMixedScripts", service.create("аda").await),
        ("UsernameBidi", service.create("1שלום").await),
        ("UsernameTaken", service.create("ada").await),
        ("QueryUnknown", service.list("pefix=ad").await),
        (
            "QuerySeveral",
            service.list("limit=5000&prefix=a&prefix=b").await,
        ),
        ("QueryTooLong", service.list(&long_prefix).await),
        (
            "QueryCursor",
            service.list("prefix=b&cursor=AV7ppv9hZGFt").await,
        ),
        ("InternalError", get(&without_table, Event::list("")).await),
        (
            "Unavailable",
            post(&unreachable, Event::create_user("ada")).await,
        ),
    ];

    let examples = contract()["components"]["examples"]
        .as_object()
        .expect("examples");
    let is_problem = |example: &&Value| example["value"]["type"].is_string();
    assert_eq!(answers.len(), examples.values().filter(is_problem).count());
    for (name, answer) in answers {
        let mut problem = answer.json();
        let mut example = examples[name]["value"].clone();
        assert_eq!(answer.status, example["status"], "{name}");
        // `instance` is the only field that depends on the request.
        for document in [&mut problem, &mut example] {
            let instance = document["instance"].take();
            assert!(
                instance
                    .as_str()
                    .is_some_and(|it| it.starts_with("urn:request:")),
                "{name}"
            );
        }
        assert_eq!(problem, example, "{name}");
    }
}

#[test]
fn the_example_users_and_cursors_in_the_contract_are_valid() {
    let components = &contract()["components"];
    let page = &components["examples"]["UsersPage"]["value"];
    let users = page.as_array().expect("a page").iter();
    let single = ["UserAda", "UserOlga"].map(|name| &components["examples"][name]["value"]);
    for user in users.chain(single) {
        let id = UserId::parse(&text(&user["id"])).expect("an id");
        assert_eq!(id.created_at().to_string(), text(&user["created_at"]));
    }

    let ad = UsernamePrefix::parse("ad").unwrap();
    let links = &components["headers"]["Link"]["examples"];
    let parameter = text(&components["parameters"]["Cursor"]["examples"]["next"]["value"]);
    for (cursor, prefix, key) in [
        (parameter, &ad, "adam"),
        (cursor_of(&links["prefix"]["value"]), &ad, "adam"),
        (
            cursor_of(&links["all"]["value"]),
            &UsernamePrefix::default(),
            "grace",
        ),
    ] {
        assert_eq!(
            cursor::decode(&cursor, prefix).as_deref(),
            Ok(key),
            "{cursor}"
        );
    }
}

fn cursor_of(link: &Value) -> String {
    let link = text(link);
    let cursor = link.strip_prefix("<?cursor=").expect("a cursor");
    cursor.split('&').next().expect("a cursor").to_owned()
}

fn expected_routes() -> BTreeSet<(String, String)> {
    let route = |(function, route, _): &(&str, &str, &str)| {
        let (function, route) = (*function, *route);
        (function.to_owned(), route.to_owned())
    };
    FUNCTIONS.iter().map(route).collect()
}

fn binary_behind(alias: &str) -> String {
    let function = alias.strip_suffix(".Alias").expect("an alias");
    text(&resource(function)["Metadata"]["BuildProperties"]["Binary"])
}

/// The template, with each CloudFormation tag replaced by its argument.
fn template() -> Value {
    without_tags(serde_norway::from_str(&read("template.yaml")).expect("YAML"))
}

/// The name and the properties of each resource of this type.
fn resources(kind: &str) -> Vec<(String, Value)> {
    let template = template();
    let resources = template["Resources"].as_object().expect("resources");
    let of_kind = resources
        .iter()
        .filter(|(_, resource)| resource["Type"] == kind);
    of_kind
        .map(|(name, resource)| (name.clone(), resource["Properties"].clone()))
        .collect()
}

fn resource(name: &str) -> Value {
    let resource = template()["Resources"][name].take();
    assert!(resource.is_object(), "{name} is a resource");
    resource
}

pub(crate) fn functions() -> Vec<Value> {
    let functions = resources("AWS::Serverless::Function");
    functions.iter().map(|(name, _)| resource(name)).collect()
}

fn without_tags(value: serde_norway::Value) -> Value {
    use serde_norway::Value as Yaml;
    match value {
        Yaml::Tagged(tagged) => without_tags(tagged.value),
        Yaml::Mapping(mapping) => mapping
            .into_iter()
            .map(|(key, value)| {
                (
                    key.as_str().expect("a text").to_owned(),
                    without_tags(value),
                )
            })
            .collect(),
        Yaml::Sequence(values) => values.into_iter().map(without_tags).collect(),
        scalar => serde_norway::from_value(scalar).expect("a scalar"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
