"""What a deployment costs: from the clouds' price lists and from what terraform/ makes.

Nothing here was measured in a cloud. `docs/deploy.md` writes the arithmetic out, and says where each price is from.
"""

from __future__ import annotations

from dataclasses import dataclass

import store_costs

SECONDS_PER_REQUEST = store_costs.SECONDS_PER_REQUEST
SECONDS_PER_MONTH = store_costs.SECONDS_PER_MONTH
AT_A_TIME = 20
"""`concurrency`, as terraform/*/variables.tf has it unless told otherwise."""
GIGABYTES = 0.5
"""`memory_mb`, likewise."""
VCPUS = 1
"""Of an instance on Google Cloud: available_cpu in terraform/gcp/function.tf."""

AWS_GB_SECOND_USD = 0.0000133334
AWS_REQUESTS_USD_PER_MILLION = 0.20
AWS_READY_GB_SECOND_USD = 0.0000033334
"""https://aws.amazon.com/lambda/pricing/, arm64, us-east-1."""
AWS_SECRET_USD_PER_MONTH = 0.40
"""https://aws.amazon.com/secrets-manager/pricing/"""
AWS_ALARM_USD_PER_MONTH = 0.10
AWS_ALARMS = 3
AWS_LOG_GB_USD = 0.50
"""https://aws.amazon.com/cloudwatch/pricing/"""

AZURE_GB_SECOND_USD = 0.000026
AZURE_REQUESTS_USD_PER_MILLION = 0.40
AZURE_READY_GB_SECOND_USD = 0.000004
"""https://azure.microsoft.com/pricing/details/functions/, Flex Consumption, East US."""
AZURE_LOG_ALERT_USD_PER_MONTH = 0.50
AZURE_METRIC_ALERT_USD_PER_MONTH = 0.10
AZURE_LOG_GB_USD = 2.30
"""https://azure.microsoft.com/pricing/details/monitor/"""

GOOGLE_VCPU_SECOND_USD = 0.000024
GOOGLE_GB_SECOND_USD = 0.0000025
GOOGLE_REQUESTS_USD_PER_MILLION = 0.40
GOOGLE_READY_VCPU_SECOND_USD = 0.0000025
GOOGLE_READY_GB_SECOND_USD = 0.0000025
"""https://cloud.google.com/run/pricing, request-based, a region of tier 1."""
GOOGLE_SECRET_USD_PER_MONTH = 0.06
GOOGLE_SECRETS = 2
"""https://cloud.google.com/secret-manager/pricing"""
GOOGLE_LOG_GB_USD = 0.50
"""https://cloud.google.com/stackdriver/pricing"""

LOG_KB_PER_REQUEST = {"aws": 1, "azure": 3, "gcp": 1}
"""Assumed: our own line, and what the platform writes beside it. Application Insights keeps several records."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a million requests, in dollars."""

    compute: float
    requests: float
    store: float
    logs: float

    @property
    def total(self) -> float:
        return self.compute + self.requests + self.store + self.logs


def of_a_million(cloud: str, at_a_time: int) -> Cost:
    """If an instance always serves so many at a time, and the million is spread over a month."""
    standing = store_costs.standing(1_000_000 / SECONDS_PER_MONTH)
    seconds = 1_000_000 * SECONDS_PER_REQUEST / (1 if cloud == "aws" else at_a_time)
    logs = float(LOG_KB_PER_REQUEST[cloud])  # a million KB are a GB
    match cloud:
        case "aws":
            compute, requests = seconds * GIGABYTES * AWS_GB_SECOND_USD, AWS_REQUESTS_USD_PER_MILLION
            return Cost(compute, requests, store_costs.dynamodb_usd_per_million(standing), logs * AWS_LOG_GB_USD)
        case "azure":
            compute, requests = seconds * GIGABYTES * AZURE_GB_SECOND_USD, AZURE_REQUESTS_USD_PER_MILLION
            return Cost(compute, requests, store_costs.cosmos_usd_per_million(standing), logs * AZURE_LOG_GB_USD)
        case _:
            compute = seconds * (VCPUS * GOOGLE_VCPU_SECOND_USD + GIGABYTES * GOOGLE_GB_SECOND_USD)
            store = store_costs.firestore_usd_per_million()
            return Cost(compute, GOOGLE_REQUESTS_USD_PER_MILLION, store, logs * GOOGLE_LOG_GB_USD)


def idle_usd_per_month(cloud: str) -> float:
    """What is paid if nothing is asked."""
    return {
        "aws": AWS_SECRET_USD_PER_MONTH + AWS_ALARMS * AWS_ALARM_USD_PER_MONTH,
        "azure": AZURE_LOG_ALERT_USD_PER_MONTH + AZURE_METRIC_ALERT_USD_PER_MONTH,
        "gcp": GOOGLE_SECRETS * GOOGLE_SECRET_USD_PER_MONTH,
    }[cloud]


def ready_instance_usd_per_month(cloud: str) -> float:
    """What each of `min_instances` costs beside, while it waits."""
    per_second = {
        "aws": GIGABYTES * AWS_READY_GB_SECOND_USD,
        "azure": GIGABYTES * AZURE_READY_GB_SECOND_USD,
        "gcp": VCPUS * GOOGLE_READY_VCPU_SECOND_USD + GIGABYTES * GOOGLE_READY_GB_SECOND_USD,
    }[cloud]
    return SECONDS_PER_MONTH * per_second
