"""The template itself: expanded and linted under every combination of parameters that matters.

Run by `make test`; alone, when its tools are installed:

    .tools/sam/bin/python -m unittest discover -s deploy -p test_template.py
"""

from __future__ import annotations

import json
import unittest
from typing import Any

from cfnlint.api import lint
from cfnlint.config import ManualArgs
from emulator import REGION, expand

# Each makes one condition of the template true.
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
    "an e-mail address": {"AlarmEmail": "operator@example.com"},
    "events": {"PublishUserCreated": "true", "EventBusName": "company"},
}
COMBINATIONS["everything"] = {
    name: value for parameters in COMBINATIONS.values() for name, value in parameters.items()
}
# The template's rules do not let this one go together with events.
COMBINATIONS["a restored table"] = {"RestoredTableName": "users-restored"}


def evaluate(value: Any, template: dict[str, Any]) -> Any:
    """A condition's value, from the defaults of the parameters."""
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
    return {"Fn::Not": not arguments[0], "Fn::Or": any(arguments)}[function]


class Template(unittest.TestCase):
    def expanded(self, parameters: dict[str, str]) -> dict[str, Any]:
        template = expand(parameters)
        for name, value in parameters.items():
            template["Parameters"][name]["Default"] = value
        return template

    def resources(self, parameters: dict[str, str]) -> dict[str, str]:
        """The types of the resources that there are with these parameters, by their names."""
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
                # W2001: the parameter that SAM used up while it expanded is used no more.
                # W3011: the template has the reason where it ignores it too.
                config = ManualArgs(regions=[REGION], ignore_checks=["W2001", "W3011"])
                faults = lint(template, config=config)
                self.assertEqual([str(fault) for fault in faults], [])

    def test_the_combinations_make_each_condition_true_and_false(self) -> None:
        seen: dict[str, set[bool]] = {}
        for parameters in COMBINATIONS.values():
            template = self.expanded(parameters)
            for condition in template["Conditions"]:
                value = evaluate({"Condition": condition}, template)
                seen.setdefault(condition, set()).add(value)
        for condition, values in seen.items():
            # SAM adds conditions of its own for a deployment's type.
            self.assertEqual(values, {True, False}, condition)

    def test_what_is_optional_is_there_only_when_it_is_asked_for(self) -> None:
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

    def test_what_holds_users_or_logins_outlives_the_stack(
        self,
    ) -> None:
        template = expand({})
        kept = [
            resource["Type"]
            for resource in template["Resources"].values()
            if resource.get("DeletionPolicy") == resource.get("UpdateReplacePolicy") == "Retain"
        ]
        version = "AWS::Lambda::Version"
        self.assertEqual(
            sorted(kept), ["AWS::Cognito::UserPool", "AWS::DynamoDB::Table", version, version]
        )

    def test_every_alarm_tells_the_topic_and_takes_no_data_for_no_trouble(self) -> None:
        alarms = {
            name: resource["Properties"]
            for name, resource in expand({})["Resources"].items()
            if resource["Type"] == "AWS::CloudWatch::Alarm"
        }
        self.assertEqual(
            set(alarms),
            {
                "ApiLatencyAlarm",
                "ApiServerErrorsAlarm",
                "ConcurrencyAlarm",
                "CreateUserErrorsAlarm",
                "CreateUserThrottlesAlarm",
                "ListUsersErrorsAlarm",
                "ListUsersThrottlesAlarm",
                "TableSystemErrorsAlarm",
                "TableThrottlesAlarm",
                "UserCreatedDeadLettersAlarm",
            },
        )
        for properties in alarms.values():
            self.assertEqual(properties["AlarmActions"], [{"Ref": "AlarmTopic"}])
            self.assertEqual(properties["OKActions"], [{"Ref": "AlarmTopic"}])
            self.assertEqual(properties["TreatMissingData"], "notBreaching")

    def test_the_dashboard_is_json(self) -> None:
        body = expand({})["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"][0]
        titles = [widget["properties"]["title"] for widget in json.loads(body)["widgets"]]
        self.assertEqual(len(titles), len(set(titles)))
        self.assertEqual(len(titles), 9)


if __name__ == "__main__":
    unittest.main()
