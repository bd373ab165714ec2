"""Tests of the template: expands and lints it under every combination of parameters that matters.

`make verify` runs them. To run only them, after `tools/install sam`:

    .tools/sam/bin/python -m unittest discover -s deploy -p test_template.py
"""

from __future__ import annotations

import json
import re
import shlex
import unittest
from typing import Any

from cfnlint.api import lint
from cfnlint.config import ManualArgs
from emulator import REGION, ROOT, expand, functions, source
from samcli.cli.types import CfnParameterOverridesType

COMBINATIONS: dict[str, dict[str, str]] = {
    "the defaults": {},
    "x86_64": {"Architecture": "x86_64"},
    "another issuer": {"JwtIssuer": "https://issuer.example", "JwtAudience": "one,two"},
    "web pages": {"CorsAllowOrigins": "https://example.com,https://example.org"},
    "reserved concurrency": {"ReservedConcurrency": "10"},
    "old pages": {"ListMaxAgeSeconds": "60"},
    "all at once": {"DeploymentType": "AllAtOnce"},
    "a limit of writes": {"MaxWriteRequestUnits": "100"},
    "a limit of reads": {"MaxReadRequestUnits": "100"},
    "a key of one's own": {"TableKeyArn": f"arn:aws:kms:{REGION}:123456789012:key/1234"},
    "contributor insights": {"ContributorInsights": "true"},
    "no traces": {"Tracing": "PassThrough"},
    "an e-mail address": {"AlarmEmail": "operator@example.com"},
    "events": {"PublishUserCreated": "true", "EventBusName": "company"},
}
COMBINATIONS["everything"] = {
    name: value for parameters in COMBINATIONS.values() for name, value in parameters.items()
}
# The combination "everything" can't contain a restored table, because the template rejects
# RestoredTableName together with PublishUserCreated=true.
COMBINATIONS["a restored table"] = {"RestoredTableName": "users-restored-1"}


# Maps each function's logical ID, without "Function", to the name of the function's binary.
FUNCTIONS = {
    name.removesuffix("Function"): binary
    for binary, function in functions(source()).items()
    for name, resource in source()["Resources"].items()
    if resource == function
}

# Maps the message of each rule of the template to parameters that this rule rejects.
REJECTED: dict[str, dict[str, str]] = {
    "Set JwtAudience too if you set JwtIssuer.": {"JwtIssuer": "https://issuer.example"},
    "The UserCreated pipe can't read a restored table. Set PublishUserCreated to false.": {
        "RestoredTableName": "users-restored-1",
        "PublishUserCreated": "true",
    },
    "To stop a function, use aws lambda put-function-concurrency (docs/operations.md), which needs "
    "no deployment.": {"ReservedConcurrency": "0"},
}


# The properties of a function that Lambda does not copy into the function's published versions
# (aws/serverless-application-model#3281).
NOT_IN_A_VERSION = {"CodeSigningConfigArn", "ReservedConcurrentExecutions", "Tags"}


def evaluate(value: Any, template: dict[str, Any]) -> Any:
    """Evaluates a condition with the parameters' default values, which `expanded` sets."""
    if not isinstance(value, dict):
        return value
    [(function, argument)] = value.items()
    if function == "Ref":
        parameter = template["Parameters"][argument]
        is_list = parameter["Type"] == "CommaDelimitedList"
        return str(parameter["Default"]).split(",") if is_list else str(parameter["Default"])
    if function == "Condition":
        return evaluate(template["Conditions"][argument], template)
    if function == "Fn::Join":
        return argument[0].join(evaluate(argument[1], template))
    arguments = [evaluate(it, template) for it in argument]
    if function == "Fn::Equals":
        return str(arguments[0]) == str(arguments[1])
    return {
        "Fn::And": all(arguments),
        "Fn::Not": not arguments[0],
        "Fn::Or": any(arguments),
    }[function]


def resolve(value: Any, template: dict[str, Any]) -> Any:
    """Evaluates `Fn::If`, `Fn::Sub` and references to parameters within a property.

    Like `evaluate`, uses the parameters' default values.
    """
    if isinstance(value, list):
        return [resolve(it, template) for it in value]
    if not isinstance(value, dict):
        return value
    if "Fn::If" in value:
        condition, yes, no = value["Fn::If"]
        return resolve(yes if evaluate({"Condition": condition}, template) else no, template)
    if value.get("Ref") in template["Parameters"]:
        return evaluate(value, template)
    if "Fn::Sub" in value:
        text = value["Fn::Sub"]
        text, names = (text, {}) if isinstance(text, str) else text
        values = {name: {"Ref": name} for name in template["Parameters"]} | names
        for name, it in values.items():
            text = text.replace(f"${{{name}}}", str(resolve(it, template)))
        return text
    return {name: resolve(it, template) for name, it in value.items()}


def refusals(template: dict[str, Any]) -> list[str]:
    """Returns the message of each rule that the parameters' default values violate."""
    return [
        assertion["AssertDescription"]
        for rule in template["Rules"].values()
        if evaluate(rule.get("RuleCondition", True), template)
        for assertion in rule["Assertions"]
        if not evaluate(assertion["Assert"], template)
    ]


class Template(unittest.TestCase):
    def expanded(self, parameters: dict[str, str]) -> dict[str, Any]:
        template = expand(parameters)
        for name, value in parameters.items():
            template["Parameters"][name]["Default"] = value
        return template

    def resources(self, parameters: dict[str, str]) -> dict[str, str]:
        """Returns the names and types of the resources that exist with these parameters."""
        template = self.expanded(parameters)
        return {
            name: resource["Type"]
            for name, resource in template["Resources"].items()
            if "Condition" not in resource
            or evaluate({"Condition": resource["Condition"]}, template)
        }

    def test_the_expanded_template_has_no_fault_under_any_combination(self) -> None:
        for name, parameters in COMBINATIONS.items():
            with self.subTest(name):
                template = json.dumps(self.expanded(parameters))
                # SAM replaces some parameters with their values, so cfn-lint's check W2001 would
                # report these parameters as unused.
                config = ManualArgs(regions=[REGION], ignore_checks=["W2001"])
                faults = lint(template, config=config)
                self.assertEqual([str(fault) for fault in faults], [])

    def test_the_rules_refuse_incompatible_parameters_and_nothing_else(self) -> None:
        for reason, parameters in REJECTED.items():
            self.assertEqual(refusals(self.expanded(parameters)), [reason])
        for name, parameters in COMBINATIONS.items():
            with self.subTest(name):
                self.assertEqual(refusals(self.expanded(parameters)), [])

    def test_the_combinations_make_each_condition_true_and_false(self) -> None:
        seen: dict[str, set[bool]] = {}
        for parameters in COMBINATIONS.values():
            template = self.expanded(parameters)
            for condition in template["Conditions"]:
                value = evaluate({"Condition": condition}, template)
                seen.setdefault(condition, set()).add(value)
        for condition, values in seen.items():
            # `seen` also contains the conditions that SAM adds for the deployment type.
            self.assertEqual(values, {True, False}, condition)

    def test_optional_resources_exist_only_when_requested(self) -> None:
        default = self.resources({})
        for parameters, added, removed in [
            (COMBINATIONS["events"], {"AWS::Pipes::Pipe", "AWS::SQS::Queue"}, set()),
            (COMBINATIONS["an e-mail address"], {"AWS::SNS::Subscription"}, set()),
            (
                COMBINATIONS["another issuer"],
                set(),
                {
                    "AWS::Cognito::UserPool",
                    "AWS::Cognito::UserPoolClient",
                    "AWS::Cognito::UserPoolDomain",
                    "AWS::Cognito::UserPoolResourceServer",
                },
            ),
        ]:
            resources = self.resources(parameters)
            before, after = set(default.values()), set(resources.values())
            self.assertEqual((after - before, before - after), (added, removed))

    def test_resources_with_users_or_logins_outlive_the_stack(self) -> None:
        resources = expand({})["Resources"].values()
        kept = [it["Type"] for it in resources if it.get("DeletionPolicy") == "Retain"]
        self.assertEqual(sorted(kept), ["AWS::Cognito::UserPool", "AWS::DynamoDB::Table"])

    def test_a_version_stays_unless_its_own_deployment_failed(self) -> None:
        policies = [
            (resource["DeletionPolicy"], resource["UpdateReplacePolicy"])
            for resource in expand({})["Resources"].values()
            if resource["Type"] == "AWS::Lambda::Version"
        ]
        self.assertEqual(policies, [("RetainExceptOnCreate", "Retain")] * len(FUNCTIONS))

    def test_lambda_publishes_every_version_that_cloudformation_asks_for(self) -> None:
        """A changed parameter changes the version's description, so SAM makes a new version. If SAM
        learns to read parameters' values (aws/serverless-application-model#3965), it will make a
        new version whenever any property changes. But Lambda refuses to publish a version that
        would be equal to the newest version."""
        for name, parameters in COMBINATIONS.items():
            for function in FUNCTIONS:
                with self.subTest(name, function=function):
                    before, after = (self.configured(function, it) for it in ({}, parameters))
                    published = before["kept"] != after["kept"]
                    self.assertEqual(published, before["function"] != after["function"])
                    if before["version"] != after["version"]:
                        self.assertTrue(published)
                    # Callers call a published version, so new behavior needs a new version.
                    if before["behavior"] != after["behavior"]:
                        self.assertNotEqual(before["version"], after["version"])

    def configured(self, function: str, parameters: dict[str, str]) -> dict[str, Any]:
        template = self.expanded(parameters)
        [version] = [
            resource["Properties"]
            for name, resource in template["Resources"].items()
            if resource["Type"] == "AWS::Lambda::Version" and name.startswith(function)
        ]
        properties = template["Resources"][f"{function}Function"]["Properties"]
        whole = resolve(properties, template)
        kept = {name: value for name, value in whole.items() if name not in NOT_IN_A_VERSION}
        return {
            "function": whole,
            "kept": kept,
            "behavior": {name: value for name, value in kept.items() if name != "Description"},
            "version": resolve(version, template),
        }

    def test_every_alarm_notifies_the_topic_and_treats_missing_data_as_ok(self) -> None:
        alarms = {
            name: resource["Properties"]
            for name, resource in expand({})["Resources"].items()
            if resource["Type"] == "AWS::CloudWatch::Alarm"
        }
        of_each_function = {
            "ConcurrencyAlarm",
            "ErrorsAlarm",
            "InternalErrorsAlarm",
            "ThrottlesAlarm",
            "VersionErrorsAlarm",
        }
        self.assertEqual(
            set(alarms),
            {
                "ApiLatencyAlarm",
                "ApiServerErrorsAlarm",
                "ConcurrencyAlarm",
                "TableReadSystemErrorsAlarm",
                "TableReadThrottlesAlarm",
                "TableWriteSystemErrorsAlarm",
                "TableWriteThrottlesAlarm",
                "UserCreatedDeadLettersAlarm",
                "UserCreatedPipeAlarm",
            }
            | {function + alarm for function in FUNCTIONS for alarm in of_each_function},
        )
        for properties in alarms.values():
            self.assertEqual(properties["AlarmActions"], [{"Ref": "AlarmTopic"}])
            self.assertEqual(properties["OKActions"], [{"Ref": "AlarmTopic"}])
            self.assertEqual(properties["TreatMissingData"], "notBreaching")

    def test_a_function_has_no_span_agent_if_tracing_is_off(self) -> None:
        for parameters, mode, agents in [
            ({}, "Active", set()),
            (COMBINATIONS["no traces"], "PassThrough", {""}),
        ]:
            template = self.expanded(parameters)
            self.assertEqual(evaluate({"Ref": "Tracing"}, template), mode)
            for name in FUNCTIONS:
                function = template["Resources"][f"{name}Function"]["Properties"]
                self.assertEqual(function["TracingConfig"], {"Mode": {"Ref": "Tracing"}})
                agent = function["Environment"]["Variables"]["AWS_XRAY_DAEMON_ADDRESS"]
                condition, otherwise, empty = agent["Fn::If"]
                traced = evaluate({"Condition": condition}, template)
                self.assertEqual((otherwise, empty), ({"Ref": "AWS::NoValue"}, ""))
                self.assertEqual(set() if traced else {empty}, agents)

    def test_all_functions_have_the_same_alarms(self) -> None:
        resources = json.dumps(expand({})["Resources"])
        # SAM appends a hash to each version's name. Each function has a different hash.
        resources = re.sub(r"FunctionVersion[0-9a-f]{10}", "FunctionVersion", resources)
        alarms = {
            name: resource
            for name, resource in json.loads(resources).items()
            if resource["Type"] == "AWS::CloudWatch::Alarm"
        }
        twins = [name for name in alarms if name.startswith("CreateUser")]
        self.assertEqual(len(twins), 5)
        for name in twins:
            for function, binary in FUNCTIONS.items():
                text = json.dumps(alarms[name])
                text = text.replace("CreateUser", function).replace("create-user", binary)
                self.assertEqual(json.loads(text), alarms[name.replace("CreateUser", function)])

    def test_a_deployment_is_rolled_back_by_failures_of_its_own_version_alone(self) -> None:
        resources = expand({})["Resources"]
        for function in FUNCTIONS:
            group = resources[f"{function}FunctionDeploymentGroup"]["Properties"]
            alarms = [alarm["Name"]["Ref"] for alarm in group["AlarmConfiguration"]["Alarms"]]
            self.assertEqual(
                alarms, [f"{function}VersionErrorsAlarm", f"{function}InternalErrorsAlarm"]
            )
            [version] = [
                name
                for name, resource in resources.items()
                if resource["Type"] == "AWS::Lambda::Version" and name.startswith(function)
            ]
            alias = resources[f"{function}FunctionAliaslive"]["Properties"]
            self.assertEqual(alias["FunctionVersion"], {"Fn::GetAtt": [version, "Version"]})
            for alarm in alarms:
                properties = resources[alarm]["Properties"]
                self.assertIn(f"${{{version}.Version}}", properties["AlarmName"]["Fn::Sub"])
                self.assertEqual(
                    properties["Dimensions"][-1]["Value"], {"Fn::GetAtt": [version, "Version"]}
                )

    def test_sam_reads_every_parameter_that_the_documents_and_samconfig_set(self) -> None:
        known = source()["Parameters"]
        found = []
        for path in [ROOT / "samconfig.toml", *(ROOT / "docs").glob("*.md")]:
            text = path.read_text()
            quoted = re.findall(r'parameter_overrides = "((?:[^"\\]|\\.)*)"', text)
            found += [json.loads(f'"{it}"') for it in quoted]
            # In running text, the documents write a parameter as in samconfig.toml: `\"` stands
            # for a quote.
            words = re.findall(r"`([A-Z][a-z]\w+=[^` ]*)", text)
            found += [it.replace('\\"', '"') for it in words]
            arguments = re.findall(r"--parameter-overrides ([^`\n]+)", text)
            found += [" ".join(shlex.split(it)) for it in arguments]
        self.assertGreater(len(found), 5)
        for overrides in found:
            with self.subTest(overrides):
                read = CfnParameterOverridesType().convert(overrides, None, None)
                self.assertEqual(set(read), {word.split("=")[0] for word in overrides.split()})
                self.assertLessEqual(set(read), set(known))

    def test_the_dashboard_is_json(self) -> None:
        body = expand({})["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"][0]
        titles = [widget["properties"]["title"] for widget in json.loads(body)["widgets"]]
        self.assertEqual(len(titles), len(set(titles)))
        self.assertEqual(len(titles), 9)


if __name__ == "__main__":
    unittest.main()
